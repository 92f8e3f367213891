"""Many configurations at once: those that differ only in traced numbers train as one program."""

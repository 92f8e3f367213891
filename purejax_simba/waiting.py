"""Words for those who wait: what takes long says so again and again, in a terminal or a log."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from threading import Event, Thread

from tqdm import tqdm

# Nobody waits for longer without a word.
SECONDS = 10.0


def say(line: str) -> None:
    """Prints a line for the user, who may keep the output proper in a file; above a live bar."""
    tqdm.write(line, file=sys.stderr)


@contextlib.contextmanager
def still(doing: str, say: Callable[[str], None] = say) -> Iterator[None]:
    """Says every `SECONDS` of what is done inside that it goes on, and for how long.

    Args:
      doing: what that is: `compiling`.
      say: prints a line; called from another thread.
    """
    begin, is_over = time.monotonic(), Event()

    def repeat() -> None:
        while not is_over.wait(SECONDS):
            say(f"still {doing}, {time.monotonic() - begin:.0f} s so far")

    thread = Thread(target=repeat, name=doing, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()

"""Words for those who wait: what takes long says so again and again, in a terminal or a log."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import TextIO

from tqdm import tqdm

# Nobody waits for longer without a word.
SECONDS = 10.0

_under_way: list[str] = []


def say(line: str) -> None:
    """Prints a line for the user, who may keep the output proper in a file; above a live bar.

    Where nobody reads any more (`2>&1 | head`), that is a request to end. A disk that is full, or a
    terminal that is gone, is none.
    """
    try:
        tqdm.write(line, file=sys.stderr)
    except BrokenPipeError:
        silence(sys.stderr)
        signal.raise_signal(signal.SIGTERM)
    except OSError:
        pass


def silence(stream: TextIO) -> None:
    """Drops all that is still to be written there, which would fail again at every attempt."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def count_of(number: int, thing: str) -> str:
    """`3 runs`, `1 run`."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def doing() -> str:
    """What takes long and is under way; empty if nothing is."""
    return _under_way[-1] if _under_way else ""


@contextlib.contextmanager
def still(doing: str, say: Callable[[str], None] = say) -> Iterator[Callable[[str], None]]:
    """Says every `SECONDS` of what is done inside that it goes on, and for how long.

    Args:
      doing: what that is: `compiling`.
      say: prints a line; called from another thread.

    Yields:
      What takes note of how far it is: `note("2 of 4 seeds")`.
    """
    begin, is_over, so_far = time.monotonic(), Event(), [""]

    def repeat() -> None:
        while not is_over.wait(SECONDS):
            say(f"still {doing}, {time.monotonic() - begin:.0f} s so far{so_far[0]}")

    def note(how_far: str) -> None:
        so_far[0] = f": {how_far}"

    thread = Thread(target=repeat, name=doing, daemon=True)
    thread.start()
    _under_way.append(doing)
    try:
        yield note
    finally:
        _under_way.remove(doing)
        is_over.set()
        thread.join()

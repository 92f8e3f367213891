"""Words for those who wait: what takes long says so again and again, in a terminal or a log.

Signals are heard once this is imported, so it imports little.
"""

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any, TextIO

# Nobody waits for longer without a word.
SECONDS = 10.0
# With the second that a chunk of a run takes no more than those.
PLAIN_LINE_SECONDS = SECONDS - 1.0

_under_way: list[str] = []
_live_bars: list[Any] = []


def say(line: str) -> None:
    """Prints a line for the user, who may keep the output proper in a file; above a live bar.

    Where nobody reads any more (`2>&1 | head`), that is a request to end. A disk that is full, or a
    terminal that is gone, is none.
    """
    try:
        if _live_bars:
            _live_bars[-1].write(line, file=sys.stderr)
        else:
            print(f"{line}\n", end="", file=sys.stderr, flush=True)
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

    `doing` is what that is, `compiling`; `say` prints a line and is called from another thread.

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


def spread(values: Any) -> str:
    """`mean ± standard deviation` of the finite numbers in an array."""
    import statistics

    known = [value for value in values.ravel().tolist() if math.isfinite(value)]
    if not known:
        return "none yet"
    return f"{statistics.fmean(known):.1f} ± {statistics.pstdev(known):.1f}"


class ProgressDisplay:
    """How the steps of one seed get on, environment steps or, offline, updates; rates count all
    seeds together. A live bar in a terminal, plain lines elsewhere."""

    def __init__(self, total_steps: int, step_name: str = "env steps", is_shown: bool = True):
        """`total_steps` is per seed."""
        from tqdm import tqdm

        self._total, self._step_name, self._is_shown = total_steps, step_name, is_shown
        self._live = is_shown and sys.stderr.isatty()
        self._last_line = time.monotonic()
        self._learning_since: tuple[float, int] | None = None
        self._bar = tqdm(
            total=total_steps,
            unit="step",
            dynamic_ncols=True,
            disable=not self._live,
            bar_format="{percentage:3.0f}% {bar} {n_fmt}/{total_fmt}{postfix}",
        )
        if self._live:
            _live_bars.append(self._bar)

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        if self._is_shown:
            say(line)

    def update(
        self, env_step: int, steps_per_second: float, updates_per_second: float, returns: Any
    ) -> None:
        """Shows the state after a chunk: env steps taken, per seed, and rates of all seeds.

        `returns` are those of the last episodes of all seeds, an array.
        """
        text = f"{steps_per_second:,.0f} {self._step_name}/s, "
        if self._step_name != "updates":
            text += f"{updates_per_second:,.0f} updates/s, "
        text += f"{self._remaining(env_step, updates_per_second > 0)}, return {spread(returns)}"
        if self._live:
            self._bar.n = env_step
            self._bar.set_postfix_str(text)
        elif time.monotonic() - self._last_line > PLAIN_LINE_SECONDS:
            self._last_line = time.monotonic()
            self.say(f"{env_step:>9,}/{self._total:,}  {text}")

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()
        _live_bars[:] = [bar for bar in _live_bars if bar is not self._bar]

    def _remaining(self, env_step: int, learning: bool) -> str:
        # Steps before the first update are so much faster that they would mislead.
        now = time.monotonic()
        if learning and self._learning_since is None:
            self._learning_since = (now, env_step)
        since, begin = self._learning_since or (now, env_step)
        if not learning or env_step == begin:
            return "time left unknown"
        seconds = (now - since) / (env_step - begin) * (self._total - env_step)
        return f"{self._bar.format_interval(seconds)} left"

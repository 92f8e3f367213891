"""Showing how a run gets on: a live bar in a terminal, plain lines elsewhere."""

import sys
import time

import numpy as np
from tqdm import tqdm

from purejax_simba.waiting import SECONDS, say

# With the second that a chunk takes no more than those that `waiting` has.
PLAIN_LINE_SECONDS = SECONDS - 1.0


def spread(values: np.ndarray) -> str:
    """`mean ± standard deviation` of the finite values."""
    values = values[np.isfinite(values)]
    if not values.size:
        return "none yet"
    return f"{values.mean():.1f} ± {values.std():.1f}"


class ProgressDisplay:
    """Follows the steps of one seed, environment steps or, offline, updates; rates count all
    seeds together."""

    def __init__(self, total_steps: int, step_name: str = "env steps", is_shown: bool = True):
        """`total_steps` is per seed."""
        self._step_name = step_name
        self._is_shown = is_shown
        self._total = total_steps
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

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        if self._is_shown:
            say(line)

    def update(
        self, env_step: int, steps_per_second: float, updates_per_second: float, returns: np.ndarray
    ) -> None:
        """Shows the state after a chunk.

        Args:
          env_step: steps taken, per seed.
          steps_per_second: steps of all seeds per second, over the chunk.
          updates_per_second: updates of all seeds per second, over the chunk.
          returns: last episode returns of all seeds.
        """
        remaining = self._remaining(env_step, updates_per_second > 0)
        text = f"{steps_per_second:,.0f} {self._step_name}/s, "
        if self._step_name != "updates":
            text += f"{updates_per_second:,.0f} updates/s, "
        text += f"{remaining}, return {spread(returns)}"
        if self._live:
            self._bar.n = env_step
            self._bar.set_postfix_str(text)
        elif time.monotonic() - self._last_line > PLAIN_LINE_SECONDS:
            self._last_line = time.monotonic()
            self.say(f"{env_step:>9,}/{self._total:,}  {text}")

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()

    def _remaining(self, env_step: int, learning: bool) -> str:
        # Steps before the first update are so much faster that they would mislead.
        now = time.monotonic()
        if not learning:
            return "time left unknown"
        if self._learning_since is None:
            self._learning_since = (now, env_step)
        since, begin = self._learning_since
        if env_step == begin:
            return "time left unknown"
        seconds = (now - since) / (env_step - begin) * (self._total - env_step)
        return f"{tqdm.format_interval(seconds)} left"

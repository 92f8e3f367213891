"""How good a configuration is: the returns of its seeds at the last evaluation."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from purejax_simba.logging import read_diverged, read_returns

_RESAMPLES = 10_000


class Score(NamedTuple):
    """Of one configuration on one task.

    Attributes:
      env_step: of the evaluation.
      returns: seed -> mean return of its episodes; of seeds that had not diverged by then.
      diverged: seeds that have, then or later.
    """

    env_step: int
    returns: dict[int, float]
    diverged: int

    @property
    def mean(self) -> float:
        """The interquartile mean."""
        return interquartile_mean(list(self.returns.values()))

    def interval(self) -> tuple[float, float]:
        """See `bootstrap_interval`."""
        return bootstrap_interval(list(self.returns.values()))

    def order(self) -> tuple:
        """Sorts from the best to the worst.

        What was stopped earlier is worse, because only what was worse was stopped; then every
        diverged seed counts for more than any return.
        """
        return (-self.env_step, self.diverged, -self.mean if self.returns else math.inf)


def score_of(directory: Path, env_step: int | None = None) -> Score | None:
    """The score of the run in a directory; None if it has no evaluation.

    Args:
      directory: of the run.
      env_step: of the evaluation; default: the last.
    """
    points = {seed: dict(points) for seed, points in read_returns(directory).items()}
    steps = {step for values in points.values() for step in values}
    at_rung = env_step is not None
    if env_step is None:
        env_step = max(steps, default=None)
    if env_step not in steps:
        return None
    returns = {seed: values[env_step] for seed, values in points.items() if env_step in values}
    diverged = read_diverged(directory).values()
    return Score(env_step, returns, sum(not at_rung or at <= env_step for at in diverged))


def interquartile_mean(values: Sequence[float]) -> float:
    """The mean without the lowest and the highest quarter, each rounded down."""
    ordered = np.sort(np.asarray(values, np.float64))
    cut = len(ordered) // 4
    return float(np.mean(ordered[cut : len(ordered) - cut]))


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95% of the interquartile means of resampled seeds lie inside; NaN for less than two seeds."""
    if len(values) < 2:
        return (math.nan, math.nan)
    numbers = np.random.default_rng(seed)
    picks = numbers.integers(len(values), size=(_RESAMPLES, len(values)))
    resampled = np.sort(np.asarray(values, np.float64)[picks], axis=1)
    cut = len(values) // 4
    means = resampled[:, cut : len(values) - cut].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)

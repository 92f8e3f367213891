"""How good a configuration is: the returns of its seeds at the last evaluation."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from purejax_simba.aggregates import bootstrap_interval, interquartile_mean
from purejax_simba.runs.result_files import read_diverged, read_returns


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
        """The interquartile mean; NaN if a return is."""
        return float(interquartile_mean([self._values]))

    def interval(self) -> tuple[float, float]:
        """See `bootstrap_interval`."""
        low, high = bootstrap_interval([self._values])
        return float(low), float(high)

    @property
    def _values(self) -> np.ndarray:
        return np.array(list(self.returns.values()))

    def order(self) -> tuple:
        """Sorts from the best to the worst.

        What was stopped earlier is worse, because only what was worse was stopped; then every
        diverged seed counts for more than any return. A return that is NaN is worse than any.
        """
        mean = self.mean if self.returns else math.nan
        return (-self.env_step, self.diverged, math.inf if math.isnan(mean) else -mean)


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
    diverged = [at for at in read_diverged(directory).values() if not at_rung or at <= env_step]
    return Score(env_step, returns, len(diverged))

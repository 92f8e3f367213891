"""Population-based training (arXiv 1711.09846): the worst members go on from the best."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from purejax_simba.config import Config, ConfigError
from purejax_simba.sweep.axes import Axis


@dataclass(frozen=True)
class PBT:
    """When how many members go on from others, and with what.

    Attributes:
      interval: environment steps between generations; None: an evaluation interval.
      replaced: share of the members that go on from the equally many best.
      resampled: chance that one of these draws a hyperparameter anew on its axis; otherwise it gets
        a value beside its parent's.
      replay: whether it takes over its parent's replay and episodes, or keeps its own.
    """

    interval: int | None = None
    replaced: float = 0.25
    resampled: float = 0.25
    replay: bool = False

    def generations(self, config: Config) -> list[int]:
        """Environment steps at which members are compared; offline updates.

        At the start and at the end nothing is replaced, and before the first update there would be
        nothing to choose from.

        Args:
          config: resolved; of any member.

        Raises:
          ConfigError: for an interval that cannot be.
        """
        between = config.steps_per_evaluation
        interval = between if self.interval is None else self.interval
        if not 0 < interval < config.steps or interval % between:
            limits = f"--evaluation-interval {between} below --total-env-steps {config.steps}"
            if config.is_offline:
                limits = f"{between} updates, an evaluation interval, below {config.steps}"
            raise ConfigError(f"--pbt-interval {interval}: give a multiple of {limits}")
        begin = config.interactions_before_updates * config.steps_per_interaction
        later = [step for step in range(interval, config.steps, interval) if step > begin]
        return [0, *later, config.steps]


def evolve(
    pbt: PBT,
    axes: Sequence[Axis],
    returns: np.ndarray,
    values: np.ndarray,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The next generation of one population.

    Args:
      pbt: see there.
      axes: of the hyperparameters.
      returns: `(members,)`; what is not finite is worst, and always replaced.
      values: `(members, axes)`.
      random: source of all that is chosen by chance.

    Returns:
      From whom each member goes on, `(members,)`, and with which values.
    """
    count, known = len(returns), int(np.isfinite(returns).sum())
    order = np.argsort(np.where(np.isfinite(returns), -returns, np.inf), kind="stable")
    share = max(1, int(pbt.replaced * count))
    best, replaced = order[: min(share, known)], order[min(count - share, known) :]
    parents, values = np.arange(count), values.copy()
    if not len(best):
        return parents, values
    for member in replaced:
        parents[member] = random.choice(best)
        for place, axis in enumerate(axes):
            is_drawn, position, upwards = random.random(3)
            before = values[parents[member], place]
            values[member, place] = (
                axis.at(position)
                if is_drawn < pbt.resampled
                else axis.beside(before, upwards < 0.5)
            )
    return parents, values

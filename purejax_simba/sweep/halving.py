"""Successive halving (arXiv 1603.06560): the worst configurations stop early."""

from dataclasses import dataclass

from purejax_simba.config import Config, ConfigError


@dataclass(frozen=True)
class Halving:
    """When to stop how many.

    Attributes:
      factor: at a rung one in so many configurations goes on.
      rungs: environment steps; empty to divide those of the whole run by the factor again and
        again.
    """

    factor: float
    rungs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuses what is no halving.

        Raises:
          ConfigError: with what to change.
        """
        if any(later <= rung for rung, later in zip(self.rungs, self.rungs[1:], strict=False)):
            raise ConfigError(f"--rungs {' '.join(map(str, self.rungs))}: each must be later")

    def keep(self, count: int) -> int:
        """How many of `count` configurations go on: one at least."""
        return max(1, int(count / self.factor))


def rungs_of(halving: Halving | None, config: Config, count: int) -> list[int]:
    """Environment steps at which `count` configurations that train together are compared.

    Rungs that are not given are rounded to the next evaluation. There is none before the first
    update, and none once a single configuration is left.

    Args:
      halving: None for no comparison.
      config: resolved; any of theirs.
      count: of configurations.

    Raises:
      ConfigError: for rungs that cannot be.
    """
    if halving is None:
        return []
    checkpoint, interval = config.checkpoint, config.steps_per_evaluation
    if not checkpoint.replay or checkpoint.interval == 0:
        raise ConfigError(
            "--halving goes on from checkpoints with replay: drop --checkpoint.interval 0 and "
            "--checkpoint.no-replay"
        )
    for rung in halving.rungs:
        if rung % interval or not 0 < rung < config.steps:
            limits = f"--evaluation-interval {interval} below --total-env-steps {config.steps}"
            if config.is_offline:
                limits = f"{interval} updates, an evaluation interval, below {config.steps}"
            raise ConfigError(f"--rungs {rung}: give multiples of {limits}")
    rungs = list(halving.rungs)
    if not rungs:
        step = config.steps / halving.factor
        begin = config.interactions_before_updates * config.steps_per_interaction
        while step > max(begin, interval / 2):
            rung = round(step / interval) * interval
            if 0 < rung < config.steps and rung not in rungs:
                rungs.insert(0, rung)
            step /= halving.factor
        # As many as it takes until one is left, the last ones: early returns say the least.
        needed, left = 0, count
        while left > 1:
            left = halving.keep(left)
            needed += 1
        rungs = rungs[-needed:] if needed else []
    return rungs

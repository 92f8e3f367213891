"""What belongs to one configuration among the runs of a program: its seeds and its files."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from purejax_simba.config import Config, OfflineConfig
from purejax_simba.diagnostics import Metrics
from purejax_simba.evaluation import EvaluationMetrics
from purejax_simba.loggers import Loggers
from purejax_simba.run_state import Progress
from purejax_simba.runs import policies, processes, result_files


class Entry(NamedTuple):
    """Seeds of a configuration that are to be trained.

    Attributes:
      config: resolved, with these seeds.
      directory: of its files.
      metrics_bytes: what to keep of `metrics.csv`; None for a new one.
      slots: where their policies belong among those of the directory; default: there are no others.
    """

    config: Config
    directory: Path
    metrics_bytes: int | None = None
    slots: Sequence[int] | None = None


class Member:
    """A configuration, its directory, and which of the runs are its seeds.

    Attributes:
      config: resolved.
      directory: of its files.
      metrics: `metrics.csv` in there; None in other processes than the first.
      loggers: what follows that file; None likewise.
      runs: the indices of its runs.
    """

    def __init__(self, entry: Entry, first_run: int = 0):
        """Opens `metrics.csv`, and drops what is not to be kept. `first_run` is an index.

        Of several processes only the first writes.
        """
        self.config, self.directory, metrics_bytes, self._slots = entry
        self.metrics = None
        self.loggers = None
        if processes.is_first():
            self.metrics = result_files.MetricsFile(self.directory, self.config, metrics_bytes)
            self.loggers = Loggers(self.directory, self.config)
        self.runs = slice(first_run, first_run + self.config.num_seeds)

    def write(
        self,
        env_step: int,
        evaluation: EvaluationMetrics,
        progress: Progress,
        diagnostics: Metrics,
    ) -> dict[int, float]:
        """Appends an evaluation to the file, but for diverged runs; returns seed -> return.

        Args:
          env_step: environment steps taken.
          evaluation: of all runs, not only of this member's; as numpy arrays.
          progress: likewise.
          diagnostics: likewise.
        """
        rows: dict[int, dict[str, float]] = {}
        diverged: dict[int, int] = {}
        for index, seed in self.numbered_seeds():
            interaction = int(progress.diverged_at[index])
            if interaction < 0:
                rows[seed] = _row(index, evaluation, progress, diagnostics, self.config.offline)
            else:
                diverged[seed] = interaction * self.config.steps_per_interaction
        if self.metrics:
            known = result_files.read_diverged(self.directory)
            others = {seed: at for seed, at in known.items() if seed not in self.config.seeds}
            if others | diverged != known:
                result_files.write_diverged(self.directory, others | diverged)
            self.metrics.write(env_step, rows)
        if self.loggers:
            self.loggers.write(env_step, rows)
        return {seed: row["avg_return"] for seed, row in rows.items()}

    def numbered_seeds(self) -> list[tuple[int, int]]:
        """`(index among all runs, seed)` of each."""
        return list(enumerate(self.config.seeds, start=self.runs.start))

    def hand_over(self, env_step: int) -> None:
        """See `Loggers.hand_over`."""
        if self.loggers:
            self.loggers.hand_over(env_step)

    def close(self) -> None:
        """Ends what its loggers have begun."""
        if self.loggers:
            self.loggers.close()

    def finish(self, policy: policies.Policy) -> None:
        """Saves the policies and draws the curve. `policy` is that of all runs."""
        if not processes.is_first():
            return
        own = jax.tree.map(lambda leaf: leaf[self.runs], policy)
        policies.save_policy(self.directory, own, self._slots)
        result_files.draw_curve(self.directory, self.config)


def make_members(entries: Sequence[Entry]) -> list[Member]:
    """Members whose runs follow one another."""
    members: list[Member] = []
    for entry in entries:
        members.append(Member(entry, members[-1].runs.stop if members else 0))
    return members


def _row(
    index: int,
    evaluation: NamedTuple,
    progress: Any,
    diagnostics: Metrics,
    offline: OfflineConfig,
) -> dict[str, float]:
    row = {name: float(value[index]) for name, value in evaluation._asdict().items()}
    score = offline.normalized_score(row["avg_return"])
    if score is not None:
        row["avg_normalized_return"] = score
    updates = int(progress.updates[index])
    if updates:
        sums = progress.update_sums._asdict()
        row |= {name: float(total[index]) / updates for name, total in sums.items()}
    known = {name: float(value[index]) for name, value in diagnostics.items()}
    # Before there is anything to diagnose, there is nothing to say of it.
    return row | {name: value for name, value in known.items() if not math.isnan(value)}

"""What is trained of one configuration among the runs of a program, and its files."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from purejax_simba.config import Config, OfflineConfig, known
from purejax_simba.loggers import Loggers
from purejax_simba.runs import policies, processes, result_files
from purejax_simba.training import Report
from purejax_simba.waiting import count_of


class Job(NamedTuple):
    """Seeds of a configuration that are to be trained.

    Attributes:
      config: resolved, with these seeds.
      directory: of its files.
      whole: the configuration with all seeds of the directory, of which others train before or
        after these.
    """

    config: Config
    directory: Path
    whole: Config

    @classmethod
    def of_all_seeds(cls, config: Config, directory: Path | None = None) -> "Job":
        """All seeds of a configuration; the directory is its own by default."""
        return cls(config, directory or result_files.run_directory(config), config)

    @property
    def is_first(self) -> bool:
        """Whether no other seeds of the directory train before."""
        return self.config.seed == self.whole.seed

    @property
    def places(self) -> list[int]:
        """Which of all seeds of the directory these are, as indices."""
        return [seed - self.whole.seed for seed in self.config.seeds]


class JobFiles:
    """The files and loggers of a job that is being trained.

    Of several processes only the first has any. `runs` are the indices of its seeds among all runs.
    """

    def __init__(self, job: Job, first_run: int, metrics_bytes: int | None):
        """Opens `metrics.csv`, and keeps so many bytes of it; None for a new file."""
        self.job = job
        self.runs = slice(first_run, first_run + job.config.num_seeds)
        self._metrics: result_files.MetricsFile | None = None
        self._loggers: Loggers | None = None
        if processes.is_first():
            self._metrics = result_files.MetricsFile(job.directory, job.config, metrics_bytes)
            self._loggers = Loggers(job.directory, job.config)
            result_files.read_diverged(job.directory)  # damage is said before it takes long

    def write(self, env_step: int, report: Report) -> dict[int, float]:
        """Appends an evaluation to the file, but for diverged runs; returns seed -> return.

        The report is on all runs, not only on those of this job, in numpy arrays.
        """
        config, directory = self.job.config, self.job.directory
        rows: dict[int, dict[str, float]] = {}
        diverged: dict[int, int] = {}
        for index, seed in self.numbered_seeds():
            interaction = int(report.progress.diverged_at[index])
            if interaction < 0:
                rows[seed] = _row(index, report, config.offline)
            else:
                diverged[seed] = interaction * config.steps_per_interaction
        if self._metrics and self._loggers:
            known = result_files.read_diverged(directory)
            others = {seed: at for seed, at in known.items() if seed not in config.seeds}
            if others | diverged != known:
                result_files.write_diverged(directory, others | diverged)
            self._metrics.write(env_step, rows)
            self._loggers.write(env_step, rows)
        return {seed: row["avg_return"] for seed, row in rows.items()}

    def troubles(self, env_step: int, report: Report) -> Iterator[str]:
        """Which seeds have diverged since the last evaluation, and which have no return."""
        config = self.job.config
        episodes = count_of(known(config.num_evaluation_episodes), "episode")
        for index, seed in self.numbered_seeds():
            diverged_at = int(report.progress.diverged_at[index]) * config.steps_per_interaction
            value = float(report.evaluation.avg_return[index])
            if diverged_at < 0 and not math.isfinite(value):
                yield (
                    f"seed {seed} at {env_step:,} {config.step_name}: the return over {episodes} "
                    f"is {value}: a reward was not finite"
                )
            elif diverged_at > max(env_step - config.steps_per_evaluation, 0):
                step = config.step_name.removesuffix("s")
                yield f"seed {seed} diverged at {step} {diverged_at:,}: its results end there"

    def numbered_seeds(self) -> list[tuple[int, int]]:
        """`(index among all runs, seed)` of each."""
        return list(enumerate(self.job.config.seeds, start=self.runs.start))

    def metrics_bytes(self) -> int:
        """Bytes of `metrics.csv` so far, in the first process."""
        return self._metrics.size() if self._metrics else 0

    def hand_over(self, env_step: int) -> None:
        """See `Loggers.hand_over`."""
        if self._loggers:
            self._loggers.hand_over(env_step)

    def close(self) -> None:
        """Ends what its loggers have begun."""
        if self._loggers:
            self._loggers.close()

    def finish(self, policy: policies.Policy) -> None:
        """Saves the policies and draws the curve. `policy` is that of all runs."""
        if not processes.is_first():
            return
        own = jax.tree.map(lambda leaf: leaf[self.runs], policy)
        others_are_there = self.job.config != self.job.whole
        places = self.job.places if others_are_there else None
        policies.save_policies(self.job.directory, own, places)
        result_files.draw_curve(self.job.directory, self.job.config)


def open_files(jobs: Sequence[Job], metrics_bytes: Sequence[int | None]) -> list[JobFiles]:
    """The files of jobs whose runs follow one another; see `JobFiles`."""
    opened: list[JobFiles] = []
    for job, size in zip(jobs, metrics_bytes, strict=True):
        opened.append(JobFiles(job, opened[-1].runs.stop if opened else 0, size))
    return opened


def _row(index: int, report: Report, offline: OfflineConfig) -> dict[str, float]:
    progress = report.progress
    row = {name: float(value[index]) for name, value in report.evaluation._asdict().items()}
    score = offline.normalized_score(row["avg_return"])
    if score is not None:
        row["avg_normalized_return"] = score
    updates = int(progress.updates[index])
    if updates:
        sums = progress.update_sums._asdict()
        row |= {name: float(total[index]) / updates for name, total in sums.items()}
    known = {name: float(value[index]) for name, value in report.diagnostics.items()}
    # Before there is anything to diagnose, there is nothing to say of it.
    return row | {name: value for name, value in known.items() if not math.isnan(value)}

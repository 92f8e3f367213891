"""Runs that are logged without being trained, and what loggers and files then hold."""

import csv
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from purejax_simba.config import Config
from purejax_simba.loggers import Loggers
from purejax_simba.runs.result_files import METRICS_FILE, MetricsFile, create_run_directory

# Run, metric, env step.
Point = tuple[str, str, int]


class LoggedRun:
    """The files and loggers of a run, from its beginning or a resume to its end.

    `keep`: bytes of `metrics.csv` that a resume keeps.
    """

    def __init__(self, output: Path, *names: str, keep: int | None = None, **options):
        config = Config(
            "gymnax/Pendulum-v1",
            loggers=names,
            experiment="simba_v2",
            output=str(output),
            **options,
        )
        self.directory = output / "simba_v2" / "gymnax" / "Pendulum-v1"
        if keep is None:
            create_run_directory(config)
        self.config = config
        self.metrics = MetricsFile(self.directory, config, keep)
        self.loggers = Loggers(self.directory, config)

    def evaluate(self, env_step: int, is_final: bool = True) -> int:
        """Both seeds; returns the size of the file then."""
        values = {seed: {"avg_return": env_step + seed / 2, "entropy": 3.0} for seed in (0, 1)}
        del values[1]["entropy"]
        self.metrics.write(env_step, values)
        self.loggers.write(env_step, values)
        if is_final:
            self.loggers.hand_over(env_step)
        return self.metrics.size()


def in_metrics(directory: Path) -> dict[Point, float]:
    """What `metrics.csv` holds."""
    with (directory / METRICS_FILE).open(newline="") as file:
        return {
            (f"seed-{row['seed']}", row["metric"], int(row["env_step"])): float(row["value"])
            for row in csv.DictReader(file)
        }


def in_tensorboard(directory: Path) -> dict[Point, float]:
    """What TensorBoard shows of a run directory."""
    points = {}
    for run in (directory / "tensorboard").iterdir():
        events = EventAccumulator(str(run))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            for scalar in events.Scalars(tag):
                assert (run.name, tag, scalar.step) not in points, "no point is there twice"
                points[run.name, tag, scalar.step] = scalar.value
    return points

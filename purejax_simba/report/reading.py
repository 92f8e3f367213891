"""Reads what runs wrote, as much of it as there is, and says what it had to leave out."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from purejax_simba.config import ConfigError
from purejax_simba.report.films import Film, read_films
from purejax_simba.report.published import COLUMNS as PUBLISHED_COLUMNS
from purejax_simba.report.published import RETURN, add_unsolved, find_task
from purejax_simba.report.rows import LeftOut, first_line, read_rows
from purejax_simba.runs.result_files import (
    CONFIG_FILE,
    CURVE_FILE,
    DIVERGED_FILE,
    LOGGER_FILES,
    METRIC_COLUMNS,
    METRICS_FILE,
    TENSORBOARD_DIRECTORY,
)
from purejax_simba.runs.session_record import RECORD_FILE, read_sessions
from purejax_simba.videos import VIDEO_DIRECTORY

SWEEP_FILE = "sweep.json"
# What other parts of the project, and loggers, write beside the results.
_SKIPPED = {"checkpoints", "programs", "plots", "wandb", "figures"}
_SKIPPED |= {TENSORBOARD_DIRECTORY, VIDEO_DIRECTORY}
_KNOWN = {CONFIG_FILE, METRICS_FILE, CURVE_FILE, DIVERGED_FILE, RECORD_FILE, SWEEP_FILE}
_KNOWN |= {*LOGGER_FILES, "sweep.csv", "best.json"}
_READ_SUFFIXES = {".csv", ".json"}


@dataclass(frozen=True)
class Run:
    """One experiment on one task: the seeds of a run directory, or of a result file.

    Attributes:
      experiment: its name, the same for all tasks; different from that of every other experiment.
      task: its id.
      directory: of the files; for a result file, where that is.
      metrics: columns `seed`, `metric`, `env_step`, `value`, which is NaN where it was not finite.
      config: dotted name -> value, as in `config.json`; empty if there is none.
      sessions: see `record.py`; oldest first.
      diverged: seed -> env step.
      films: of its policies.
    """

    experiment: str
    task: str
    directory: Path
    metrics: pd.DataFrame
    config: dict[str, Any] = field(default_factory=dict)
    sessions: tuple[dict[str, Any], ...] = ()
    diverged: dict[int, int] = field(default_factory=dict)
    films: tuple[Film, ...] = ()

    @property
    def agent(self) -> str:
        """The name of the agent; empty if unknown."""
        return str(self.config.get("agent.name", "simba_v2")) if self.config else ""

    @property
    def seeds(self) -> list[int]:
        """Seeds with results."""
        return sorted(self.metrics.seed.unique())

    @property
    def env_step(self) -> int:
        """Of the last evaluation."""
        return int(self.metrics.env_step.max())

    @property
    def total_steps(self) -> int | None:
        """Environment steps of the whole run, offline updates; None if unknown."""
        if not self.config.get("offline.dataset"):
            return self.config.get("total_env_steps")
        names = ("offline.epochs", "offline.transitions", "replay.batch_size")
        epochs, transitions, batch_size = (self.config.get(name) for name in names)
        if not (epochs and transitions and batch_size):
            return None
        return epochs * max(1, transitions // batch_size)

    @property
    def missing(self) -> pd.DataFrame:
        """The rows of `metrics` with values that were not finite."""
        return self.metrics[self.metrics.value.isna()]

    def table(self, metric: str) -> pd.DataFrame:
        """One metric: a row per env step, a column per seed, NaN where a seed has no value."""
        rows = self.metrics[self.metrics.metric == metric]
        return rows.pivot(index="env_step", columns="seed", values="value")


@dataclass(frozen=True)
class Collection:
    """All that was found.

    Attributes:
      runs: by experiment and task.
      published: results as means over seeds, columns `published.COLUMNS`, that were given beside
        those of the package; may be empty.
      sweeps: directories of sweeps.
      left_out: what could not be read.
    """

    runs: tuple[Run, ...]
    published: pd.DataFrame
    sweeps: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def experiments(self) -> list[str]:
        """Their names, in order."""
        return sorted({run.experiment for run in self.runs})

    @property
    def tasks(self) -> list[str]:
        """Their ids, in order."""
        return sorted({run.task for run in self.runs})


def read(paths: Sequence[Path]) -> Collection:
    """Reads run directories, whatever is above them, and result files.

    Args:
      paths: directories, and csv files with the columns of `metrics.csv` or of the published means.

    Raises:
      ConfigError: if a path does not exist.
    """
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path} does not exist: give run directories or what is above them")
    left_out: list[LeftOut] = []
    runs: dict[Path, list[Run]] = {}
    published = [pd.DataFrame(columns=list(PUBLISHED_COLUMNS))]
    sweeps = []
    for path in paths:
        for file in _files(path):
            if file.name == SWEEP_FILE:
                sweeps.append(file.parent)
            elif file.name in (CONFIG_FILE, METRICS_FILE):
                directory = file.parent
                if directory not in runs:
                    runs[directory] = _read_directory(directory, left_out)
            elif file.suffix == ".csv" and file.name not in _KNOWN:
                found = _read_results(file, left_out)
                if isinstance(found, pd.DataFrame):
                    published.append(found)
                else:
                    runs[file] = found
            elif file.suffix in _READ_SUFFIXES and file.name not in _KNOWN:
                left_out.append(LeftOut(file, "is no result file"))
    named = _with_distinct_names([run for found in runs.values() for run in found])
    return Collection(
        runs=tuple(sorted(named, key=lambda run: (run.experiment, run.task))),
        published=pd.concat([frame for frame in published if len(frame)] or published[:1]),
        sweeps=tuple(dict.fromkeys(sweeps)),
        left_out=tuple(left_out),
    )


def result_files(paths: Sequence[Path]) -> Iterator[Path]:
    """All files that `read` looks into, but for videos."""
    for path in paths:
        yield from (file for file in _files(path) if file.suffix in _READ_SUFFIXES)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for place, directories, files in os.walk(path):
        directories[:] = sorted(
            name for name in directories if name not in _SKIPPED and not name.startswith(".")
        )
        yield from (Path(place) / name for name in sorted(files))


def _read_directory(directory: Path, left_out: list[LeftOut]) -> list[Run]:
    config = _read_config(directory / CONFIG_FILE, left_out)
    file = directory / METRICS_FILE
    if not file.exists():
        left_out.append(LeftOut(directory, f"has no {METRICS_FILE}: nothing was evaluated yet"))
        return []
    rows = read_rows(file, METRIC_COLUMNS, left_out)
    if rows is None:
        return []
    diverged = _read_diverged(directory / DIVERGED_FILE, left_out)
    sessions = read_sessions(directory)
    if (directory / RECORD_FILE).exists() and not sessions:
        left_out.append(LeftOut(directory / RECORD_FILE, "is damaged: no versions, no times"))
    films = read_films(directory, left_out)
    runs = _runs_of(rows, directory, str(config.get("task", "")))
    return [
        replace(
            run,
            config=config,
            sessions=tuple(sessions),
            diverged=diverged,
            films=films,
        )
        for run in runs
    ]


def _read_config(file: Path, left_out: list[LeftOut]) -> dict[str, Any]:
    # Not as a `Config`: a report also shows what another version wrote.
    try:
        values = json.loads(file.read_text())
        if isinstance(values, dict):
            return _flat(values)
        left_out.append(LeftOut(file, "is no configuration"))
    except FileNotFoundError:
        left_out.append(LeftOut(file, "is missing: the configuration is unknown"))
    except (OSError, ValueError) as error:
        left_out.append(LeftOut(file, f"cannot be read: {first_line(error)}"))
    return {}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return flat


def _read_diverged(file: Path, left_out: list[LeftOut]) -> dict[int, int]:
    try:
        return {int(seed): int(step) for seed, step in json.loads(file.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        left_out.append(LeftOut(file, f"cannot be read: {first_line(error)}"))
        return {}


def _read_results(file: Path, left_out: list[LeftOut]) -> pd.DataFrame | list[Run]:
    """Means as the published ones, or runs."""
    try:
        with file.open(errors="replace") as lines:
            header = set(lines.readline().strip().split(","))
    except OSError as error:
        left_out.append(LeftOut(file, f"cannot be read: {first_line(error)}"))
        return []
    if header >= set(PUBLISHED_COLUMNS):
        means = read_rows(file, PUBLISHED_COLUMNS, left_out)
        return [] if means is None else add_unsolved(means)
    if not header >= set(METRIC_COLUMNS):
        left_out.append(LeftOut(file, "is no result file: it has other columns"))
        return []
    rows = read_rows(file, METRIC_COLUMNS, left_out)
    return [] if rows is None else _runs_of(rows, file, "")


def _runs_of(rows: pd.DataFrame, place: Path, task: str) -> list[Run]:
    runs = []
    for (experiment, environment), group in rows.groupby(["exp_name", "env_name"]):
        keys = ["seed", "metric", "env_step"]
        # A row that is there twice was written anew after an interruption.
        metrics = group.drop_duplicates(keys, keep="last")[[*keys, "value"]]
        if RETURN in set(metrics.metric):
            name = task if task.partition("/")[2] == environment else find_task(environment)
            runs.append(Run(str(experiment), name, place, metrics.reset_index(drop=True)))
    return runs


def _with_distinct_names(runs: Sequence[Run]) -> list[Run]:
    """Runs of different places that have the same name get the place as a part of it."""
    places: dict[tuple[str, str], int] = {}
    for run in runs:
        places[run.experiment, run.task] = places.get((run.experiment, run.task), 0) + 1
    ambiguous = {experiment for (experiment, _), count in places.items() if count > 1}
    return [
        replace(run, experiment=f"{_output_of(run)}/{run.experiment}")
        if run.experiment in ambiguous
        else run
        for run in runs
    ]


def _output_of(run: Run) -> Path:
    """The `--output` of a run: its directory without the experiment and the task."""
    place = run.directory
    ending = Path(run.experiment) / run.task
    if place.parts[-len(ending.parts) :] == ending.parts:
        return Path(*place.parts[: -len(ending.parts)])
    return place

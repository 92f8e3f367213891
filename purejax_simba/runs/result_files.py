"""The files of a run: `config.json`, `metrics.csv` and `curve.png`."""

import csv
import dataclasses
import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from purejax_simba import drawing, trust
from purejax_simba.config import Config, ConfigError
from purejax_simba.errors import WriteError
from purejax_simba.names import dotted, from_nested, plain_name, replace_values

METRIC_COLUMNS = ("exp_name", "env_name", "seed", "metric", "env_step", "value")
CONFIG_FILE, METRICS_FILE, CURVE_FILE = "config.json", "metrics.csv", "curve.png"
DIVERGED_FILE, RECORD_FILE = "diverged.json", "run.json"
# How far each logger is, and what W&B calls the runs.
LOGGER_FILES = LOGGER_PROGRESS_FILE, WANDB_IDS_FILE = "loggers.json", "wandb.json"
TENSORBOARD_DIRECTORY = "tensorboard"


class ResultsError(WriteError):
    """A result file could not be written; the message is one line."""


def run_directory(config: Config) -> Path:
    """`<output>/<experiment>/<task>`."""
    return Path(config.output) / config.experiment / config.task


def create_run_directory(config: Config, again: bool = False) -> Path:
    """Makes the run directory and writes `config.json` into it.

    Args:
      config: of the run.
      again: the run has begun before and begins anew; what it had written is dropped.

    Raises:
      ConfigError: if it cannot be written, or holds a run already.
    """
    directory = run_directory(config)
    try:
        if again:
            for file in (METRICS_FILE, DIVERGED_FILE, *LOGGER_FILES):
                (directory / file).unlink(missing_ok=True)
            shutil.rmtree(directory / TENSORBOARD_DIRECTORY, ignore_errors=True)
        elif (directory / CONFIG_FILE).exists() or (directory / METRICS_FILE).exists():
            raise ConfigError(
                f"{directory} already holds a run: give another --output or --experiment, "
                "or remove it"
            )
        directory.mkdir(parents=True, exist_ok=True)
        write_config(directory, config)
    except OSError as error:
        raise ConfigError(
            f"cannot write to {directory} ({error.strerror}): give another --output"
        ) from error
    return directory


def write_config(directory: Path, config: Config) -> None:
    """Writes `config.json`."""
    replace_json(directory / CONFIG_FILE, dataclasses.asdict(config))


def replace_text(path: Path, text: str) -> None:
    """Writes a file; the one before stays as it was until this one is complete."""
    # Several processes may write the tables of a sweep.
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    unfinished.write_text(text)
    unfinished.rename(path)


def replace_json(path: Path, values: Any) -> None:
    """The same with values as JSON."""
    replace_text(path, json.dumps(values, indent=2) + "\n")


def read_json(path: Path, default: Any) -> Any:
    """What is in a file, or a default where there is none."""
    return json.loads(path.read_text()) if path.exists() else default


def metrics_size(directory: Path) -> int:
    """Bytes of `metrics.csv`."""
    return (directory / METRICS_FILE).stat().st_size


def copy_metrics(directory: Path, target: Path, size: int | None) -> None:
    """Copies the first bytes of `metrics.csv` to another run directory."""
    (target / METRICS_FILE).write_bytes((directory / METRICS_FILE).read_bytes()[:size])


def read_config(directory: Path, given: Mapping[str, Any] | None = None) -> Config:
    """The configuration of the run in a directory, from which a program may be made.

    Args:
      directory: of the run.
      given: what the user says about the code to run, see `trust.check`. His interpreter and
        loggers are in the place of those in the file.

    Raises:
      ConfigError: if there is none, or it does not fit this version, or names code that is not
        here.
    """
    what = f"{directory} holds no run: {CONFIG_FILE}"
    return read_config_file(directory / CONFIG_FILE, what, given)


def read_config_file(path: Path, what: str, given: Mapping[str, Any] | None = None) -> Config:
    """A configuration as `write_config` writes it; `what` says what is missing if there is none.

    Raises:
      ConfigError: as `read_config`.
    """
    misfit = f"{path} is not a configuration of this version"
    try:
        values = dotted(json.loads(path.read_text()))
        named = {plain_name(name): value for name, value in values.items()}
    except OSError as error:
        raise ConfigError(f"{what} {error.strerror}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{misfit}: {error}") from error
    given = given or {}
    trust.check(named, path, given, _registered_by(path.parent))
    chosen = {name: given[name] for name in ("host_python", "loggers") if name in given}
    try:
        return replace_values(from_nested(values), chosen)
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{misfit}: {error}") from error


def _registered_by(directory: Path) -> trust.Modules:
    """What the last session of a run says of it, if it can be read."""
    try:
        said = read_json(directory / RECORD_FILE, [{}])[-1].get("modules", {})
        return {
            name: {key: str(of[key]) for key in ("module", "file")} for name, of in said.items()
        }
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return {}


class MetricsFile:
    """`metrics.csv` in long form, the columns of the published result files."""

    def __init__(self, directory: Path, config: Config, keep_bytes: int | None = None):
        """Creates the file with its header, or keeps so much of the one that is there.

        Raises:
          ConfigError: if there is less of it.
        """
        self._path = directory / METRICS_FILE
        self._experiment = config.experiment
        self._environment = config.task.partition("/")[2]
        if keep_bytes is None:
            self._append([METRIC_COLUMNS])
            return
        present = self._path.stat().st_size if self._path.exists() else 0
        if present < keep_bytes:
            raise ConfigError(
                f"{self._path} has {present} bytes and had {keep_bytes} at the checkpoint: "
                "restore it from a copy"
            )
        os.truncate(self._path, keep_bytes)

    def size(self) -> int:
        """Bytes written so far."""
        return self._path.stat().st_size

    def write(self, env_step: int, values: dict[int, dict[str, float]]) -> None:
        """Appends seed -> metric -> value; the rows are on disk when this returns.

        What is not finite is written as `nan` or `inf`: a row that is missing would go unnoticed.
        """
        self._append(
            (self._experiment, self._environment, seed, metric, env_step, value)
            for seed, metrics in values.items()
            for metric, value in metrics.items()
        )

    def _append(self, rows: Iterable[tuple]) -> None:
        try:
            with self._path.open("a", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ResultsError(f"cannot write to {self._path}: {error.strerror}") from error


def write_diverged(directory: Path, env_steps: dict[int, int]) -> None:
    """Writes `diverged.json`: seed -> env step of the first non-finite update.

    Raises:
      ResultsError: if it cannot be written.
    """
    write_json(directory / DIVERGED_FILE, env_steps)


def write_json(path: Path, values: Any) -> None:
    """Writes a result file; the one before stays as it was until this one is complete.

    Raises:
      ResultsError: if it cannot be written.
    """
    try:
        replace_json(path, values)
    except OSError as error:
        raise ResultsError(f"cannot write to {path}: {error.strerror}") from error


def read_diverged(directory: Path) -> dict[int, int]:
    """What `write_diverged` wrote; empty if no seed diverged."""
    found = read_json(directory / DIVERGED_FILE, {})
    return {int(seed): env_step for seed, env_step in found.items()}


def read_metrics(directory: Path) -> Iterator[tuple[int, dict[int, dict[str, float]]]]:
    """Every evaluation of the run in a directory: env step, and seed -> metric -> value."""
    with (directory / METRICS_FILE).open(newline="") as file:
        rows = csv.DictReader(file)
        for env_step, evaluation in itertools.groupby(rows, lambda row: int(row["env_step"])):
            values: dict[int, dict[str, float]] = {}
            for row in evaluation:
                values.setdefault(int(row["seed"]), {})[row["metric"]] = float(row["value"])
            yield env_step, values


def read_returns(directory: Path) -> dict[int, list[tuple[int, float]]]:
    """Seed -> (env step, `avg_return`) of the run in a directory."""
    returns: dict[int, list[tuple[int, float]]] = {}
    for env_step, values in read_metrics(directory):
        for seed, metrics in values.items():
            if "avg_return" in metrics:
                returns.setdefault(seed, []).append((env_step, metrics["avg_return"]))
    return returns


def draw_curve(directory: Path, config: Config) -> None:
    """Draws `curve.png`: the return of each seed and their mean over env steps."""
    pyplot = drawing.pyplot()
    returns = read_returns(directory)
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for points in returns.values():
        axes.plot(*zip(*points, strict=True), color="tab:blue", alpha=0.35, linewidth=1)
    steps = sorted({step for points in returns.values() for step, _ in points})
    at = {step: [dict(p)[step] for p in returns.values() if step in dict(p)] for step in steps}
    means = [sum(values) / len(values) for values in at.values()]
    # Seeds that diverged have no more points, and a return that is NaN makes the mean NaN.
    fewest = min(map(len, at.values()), default=0)
    count = f"{len(returns)}" if fewest == len(returns) else f"{fewest} to {len(returns)}"
    label = f"mean of {count} seed{'s' if len(returns) > 1 else ''}"
    axes.plot(steps, means, color="tab:blue", linewidth=2, label=label)
    axes.set(
        title=config.task,
        xlabel="updates" if config.is_offline else "environment steps",
        ylabel="return",
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(directory / CURVE_FILE, dpi=150)
    pyplot.close(figure)

"""The files of a run: `config.json`, `metrics.csv` and `curve.png`."""

import contextlib
import csv
import dataclasses
import io
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from purejax_simba import drawing, trust
from purejax_simba.config import Config, ConfigError
from purejax_simba.files import read_bytes, read_json, reading, write_json, writing
from purejax_simba.names import dotted, from_nested, plain_name, replace_values
from purejax_simba.runs.session_record import RECORD_FILE, read_sessions

METRIC_COLUMNS = ("exp_name", "env_name", "seed", "metric", "env_step", "value")
HEADER = ",".join(METRIC_COLUMNS).encode() + b"\n"
CONFIG_FILE, METRICS_FILE, CURVE_FILE = "config.json", "metrics.csv", "curve.png"
DIVERGED_FILE = "diverged.json"
SCHEDULE_FILE, SCHEDULE_STEP = "schedule.json", "env_step"
# How far each logger is, and what W&B calls the runs.
LOGGER_FILES = LOGGER_PROGRESS_FILE, WANDB_IDS_FILE = "loggers.json", "wandb.json"
TENSORBOARD_DIRECTORY, WANDB_DIRECTORY = "tensorboard", "wandb"


def run_directory(config: Config) -> Path:
    """`<output>/<experiment>/<task>`."""
    return Path(config.output) / config.experiment / config.task


def create_run_directory(config: Config, again: bool = False, copied: bytes = HEADER) -> Path:
    """Makes the run directory and writes `config.json` into it.

    What an interrupted beginning has left there is dropped; `again` drops all that a run has
    written there that begins anew. `copied` is what `metrics.csv` will begin with, as it did if
    this was begun before.

    Raises:
      ConfigError: if it cannot be written, or holds the results of a run.
    """
    directory = run_directory(config)
    with writing(directory, "give another --output"):
        if not again:
            check_free(config, copied)
        if (directory / CONFIG_FILE).exists():
            for file in (METRICS_FILE, DIVERGED_FILE, *LOGGER_FILES):
                (directory / file).unlink(missing_ok=True)
            shutil.rmtree(directory / TENSORBOARD_DIRECTORY, ignore_errors=True)
        directory.mkdir(parents=True, exist_ok=True)
        write_config(directory, config)
    return directory


def check_free(config: Config, copied: bytes = HEADER) -> None:
    """Refuses a run directory with results that would be missed if `config` began there."""
    directory = run_directory(config)
    if _holds_results(directory, config, copied):
        raise ConfigError(
            f"{directory} already holds a run: give another --output or --experiment, or remove it"
        )


def _holds_results(directory: Path, config: Config, copied: bytes) -> bool:
    """Whether anything would be missed of the run in a directory if `config` began there.

    Not where that was interrupted before it trained. What the same configuration was evaluated to
    before, it will be again.
    """
    metrics = directory / METRICS_FILE
    if not metrics.exists() and not (directory / CONFIG_FILE).exists():
        return False
    if any(any((directory / "checkpoints").glob(name)) for name in ("policy", "state/[0-9]*")):
        return True
    try:
        saved = read_config(directory)
    except ConfigError:
        return True
    found = metrics.read_bytes() if metrics.exists() else b""
    rows = found.removeprefix(HEADER).split(b"\n")[:-1]
    at_start = all(row.split(b",")[-2:-1] == [b"0"] for row in rows)
    is_untrained = found.startswith(HEADER) and at_start
    return not copied.startswith(found) and not (is_untrained and saved == config)


def write_config(directory: Path, config: Config) -> None:
    """Writes `config.json`."""
    write_json(directory / CONFIG_FILE, dataclasses.asdict(config))


def first_of_schedule(path: Path) -> dict[str, Any]:
    """What a schedule has before anything is trained, name -> value; empty where there is none."""
    entries = read_json(path, list[dict[str, Any]], [])
    first = entries[0] if entries and entries[0].get(SCHEDULE_STEP) == 0 else {}
    return {plain_name(name): value for name, value in first.items() if name != SCHEDULE_STEP}


def copy_run(directory: Path, config: Config, size: int | None) -> None:
    """Makes the directory of a run that goes on with the first bytes of another `metrics.csv`, and
    with all that is known of its seeds and sessions.
    """
    metrics = directory / METRICS_FILE
    copied = read_bytes(metrics)[:size] if metrics.exists() else b""
    target = create_run_directory(config, copied=copied)
    for name in (DIVERGED_FILE, RECORD_FILE):
        if (directory / name).exists():
            (target / name).write_bytes(read_bytes(directory / name))
    (target / METRICS_FILE).write_bytes(copied)


def read_config(directory: Path, given: Mapping[str, Any] | None = None) -> Config:
    """The configuration of the run in a directory, from which a program may be made.

    Args:
      directory: of the run.
      given: what the user says about the code to run, see `trust.check`. His interpreter and
        loggers are in the place of those in the file.

    Raises:
      ConfigError: if there is none, it does not fit this version, the directory has symbolic links
        out of it, or it names code that is not here.
    """
    path = directory / CONFIG_FILE
    if not os.path.lexists(path):
        raise ConfigError(f"{directory} holds no run: there is no {CONFIG_FILE} in it")
    config = read_config_file(path, given)
    check_links(directory)
    return config


# What is sound may be of another version.
_ADVICE = "restore it from a copy, read it with the version that wrote it, or remove it"


def read_config_file(path: Path, given: Mapping[str, Any] | None = None) -> Config:
    """A configuration as `write_config` writes it."""
    given = given or {}
    with reading(path):
        values = dotted(read_json(path, dict[str, Any]))
        code = trust.said(values)
    trust.check(code, path, given, _modules(path.parent))
    with reading(path, advice=_ADVICE):
        config = from_nested(values)
    chosen = {name: given[name] for name in ("host_python", "loggers") if name in given}
    return replace_values(config, chosen)


def _modules(directory: Path) -> trust.Modules:
    """What the last session of a run says of it, if it can be read."""
    with contextlib.suppress(ConfigError):
        for session in reversed(read_sessions(directory)):
            return session.get("modules", {})
    return {}


def check_links(directory: Path) -> None:
    """Refuses symbolic links out of a directory, and what is no file there."""
    whole = os.path.realpath(directory)
    for place, directories, files in os.walk(directory):
        for path in (Path(place) / name for name in directories + files):
            is_own = os.path.commonpath([whole, os.path.realpath(path)]) == whole
            if not is_own or not (path.is_symlink() or path.is_file() or path.is_dir()):
                what = "no file" if is_own else f"a symbolic link out of {directory}"
                raise ConfigError(f"{path} is {what}: put the file there, or remove it")
        # W&B's own, which links to its logs at home.
        directories[:] = [name for name in directories if name != WANDB_DIRECTORY]


class MetricsFile:
    """`metrics.csv` in long form, the columns of the published result files."""

    def __init__(self, directory: Path, config: Config, keep_bytes: int | None = None):
        """Creates the file with its header, or keeps so much of the one there; refuses less."""
        self._path = directory / METRICS_FILE
        self._experiment = config.experiment
        self._environment = environment_name(config.task)
        if keep_bytes is None:
            self._append([METRIC_COLUMNS])
            return
        read_metrics(directory, keep_bytes)
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
        with writing(self._path), self._path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
            file.flush()
            os.fsync(file.fileno())


def environment_name(task: str) -> str:
    """What `metrics.csv` calls a task, `env_name`: its id without the suite."""
    return task.partition("/")[2] or task


def write_diverged(directory: Path, env_steps: dict[int, int]) -> None:
    """Writes `diverged.json`: seed -> env step of the first non-finite update."""
    write_json(directory / DIVERGED_FILE, env_steps)


def read_diverged(directory: Path) -> dict[int, int]:
    """What `write_diverged` wrote; empty if no seed diverged."""
    return read_json(directory / DIVERGED_FILE, dict[int, int], {})


def read_metrics(
    directory: Path, size: int | None = None
) -> list[tuple[int, dict[int, dict[str, float]]]]:
    """Every evaluation of the run in a directory: env step, and seed -> metric -> value.

    What comes after `size` bytes, those that were there at a checkpoint, is left out.

    Raises:
      ConfigError: if it is damaged. The last line may have no end: a process was killed.
    """
    path = directory / METRICS_FILE
    found: list[tuple[int, dict[int, dict[str, float]]]] = []
    with reading(path, csv.Error):
        data = read_bytes(path)
        if size is not None and len(data) < size:
            raise ConfigError(f"it has {len(data)} bytes and had {size} at the checkpoint")
        text = data[:size].decode()
        whole = text[: text.rfind("\n") + 1]
        if size is not None and whole != text:
            raise ConfigError("it was changed since the checkpoint")
        rows = csv.DictReader(io.StringIO(whole))
        missing = [name for name in METRIC_COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise ConfigError(f"it has no column {missing[0]}")
        for row in rows:
            try:
                env_step, seed, value = int(row["env_step"]), int(row["seed"]), float(row["value"])
            except (TypeError, ValueError):
                raise ConfigError(f"line {rows.line_num} is damaged") from None
            if not found or found[-1][0] != env_step:
                found.append((env_step, {}))
            found[-1][1].setdefault(seed, {})[row["metric"]] = value
    return found


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
    axes.set(title=drawing.plain(config.task), xlabel=config.step_title, ylabel="return")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    drawing.save(figure, directory / CURVE_FILE)

"""Reads what runs wrote, as much of it as there is, and says what it had to leave out."""

import csv
import functools
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from purejax_simba.config import Config, ConfigError, step_name
from purejax_simba.defaults import PUBLISHED_CRITICS, whole_multiple, with_agent_defaults
from purejax_simba.errors import first_line
from purejax_simba.files import UnreadableError, read_bytes, read_json, reading
from purejax_simba.names import all_settings, dotted, fill, flatten, replace_values
from purejax_simba.report.published import COLUMNS as PUBLISHED_COLUMNS
from purejax_simba.report.published import RETURN, add_unsolved, episode_length, find_task, suite
from purejax_simba.runs.result_files import (
    CONFIG_FILE,
    DIVERGED_FILE,
    LOGGER_FILES,
    METRIC_COLUMNS,
    METRICS_FILE,
    SCHEDULE_FILE,
    TENSORBOARD_DIRECTORY,
    WANDB_DIRECTORY,
    environment_name,
)
from purejax_simba.runs.session_record import RECORD_FILE, Session
from purejax_simba.sweep.definition import DEFINITION_FILE
from purejax_simba.sweep.lineage import LINEAGE_FILE
from purejax_simba.sweep.plots import PLOTS_DIRECTORY
from purejax_simba.sweep.results import BEST_FILE, TABLE_FILE
from purejax_simba.videos import INDEX_FILE, VIDEO_DIRECTORY, Index

_T = TypeVar("_T")

# What other parts of the project, and loggers, write beside the results.
_SKIPPED = {"checkpoints", "programs", PLOTS_DIRECTORY, "figures"}
_SKIPPED |= {TENSORBOARD_DIRECTORY, VIDEO_DIRECTORY, WANDB_DIRECTORY}
_KNOWN = {DIVERGED_FILE, RECORD_FILE, *LOGGER_FILES, SCHEDULE_FILE}
_KNOWN |= {TABLE_FILE, BEST_FILE}
_READ = (".csv", ".json")
# What an agent is, by the beginning of its name; how often it updates is compared by itself.
_OF_AGENTS = (
    *("agent.", "temperature.", "normalize_", "bound_returns"),
    *("replay.batch_size", "replay.n_step", "replay.prior", "replay.importance"),
)
# From which defaults follow.
_GIVEN = (
    *("recipe", "action_repeat", "num_environments", "update_to_data_ratio"),
    "offline.dataset",
)
_FILM_SUFFIXES = (".mp4", ".gif", ".webm", ".png")
_INTEGERS = {"seed", "env_step", "seeds"}
_NUMBERS = _INTEGERS | {"value", "mean", "std"}
_LARGEST = 2**53  # of the whole numbers that floats can be
# How a row says that a value was not finite, and that a single seed has no standard deviation.
_UNKNOWN = {"value": ["nan", "inf", "-inf"], "std": ["", "nan"]}


class LeftOut(NamedTuple):
    """Something that is not in the report, and why, in one line."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Run:
    """One experiment on one task: the seeds of a run directory, or of a result file.

    Attributes:
      experiment: its name, the same for all tasks; different from that of every other experiment.
      task: its id.
      directory: of the files; for a result file, where that is.
      metrics: columns `seed`, `metric`, `env_step`, `value`, which is NaN where it was not finite.
      config: dotted name -> value, as in `config.json`; empty if there is none.
      sessions: see `session_record.py`; oldest first.
      diverged: seed -> env step.
      films: videos of its policies, or pictures, -> what they show.
    """

    experiment: str
    task: str
    directory: Path
    metrics: pd.DataFrame
    config: dict[str, Any] = field(default_factory=dict)
    sessions: tuple[Session, ...] = ()
    diverged: dict[int, int] = field(default_factory=dict)
    films: dict[Path, str] = field(default_factory=dict)

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
        if not self.is_offline:
            return self.config.get("total_env_steps")
        names = ("offline.epochs", "offline.transitions", "replay.batch_size")
        epochs, transitions, batch_size = (self.config.get(name) for name in names)
        if not (epochs and transitions and batch_size):
            return None
        return epochs * max(1, transitions // batch_size)

    @property
    def is_offline(self) -> bool:
        """Whether it learned from a dataset, so that steps are updates."""
        return bool(self.config.get("offline.dataset"))

    @property
    def step_name(self) -> str:
        """What it counts."""
        return step_name(self.is_offline)

    @property
    def has_published_episodes(self) -> bool:
        """Whether returns are of episodes as long as the published, as far as is known."""
        return self.config.get("episode_length") in (None, episode_length(self.task))

    @functools.cached_property
    def _tables(self) -> dict[str, pd.DataFrame]:
        whole = self.metrics.set_index(["metric", "env_step", "seed"]).value
        return {
            metric: rows.droplevel("metric").unstack("seed")
            for metric, rows in whole.groupby(level="metric")
        }

    def table(self, metric: str) -> pd.DataFrame:
        """One metric: a row per env step, a column per seed, NaN where a seed has no value."""
        return self._tables.get(metric, pd.DataFrame())


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


def read(paths: Sequence[Path]) -> Collection:
    """Reads run directories, whatever is above them, and result files.

    Args:
      paths: directories, and csv files with the columns of `metrics.csv` or of the published means.

    Raises:
      ConfigError: if a path does not exist.
    """
    for path in paths:
        if not (path.is_dir() or path.is_file()):
            what = "is no file and no directory" if path.exists() else "does not exist"
            raise ConfigError(f"{path} {what}: give run directories or what is above them")
    left_out: list[LeftOut] = []
    runs: dict[Path, list[Run]] = {}
    published = [pd.DataFrame(columns=list(PUBLISHED_COLUMNS))]
    sweeps = []
    for file in result_files(paths):
        if file.name in (DEFINITION_FILE, LINEAGE_FILE):
            sweeps.append(file.parent)
        elif file.name in (CONFIG_FILE, METRICS_FILE):
            if file.parent not in runs:
                runs[file.parent] = _read_directory(file.parent, left_out)
        elif file.name in _KNOWN:
            continue
        elif file.suffix != ".csv":
            left_out.append(LeftOut(file, "is no result file"))
        elif (rows := _read_rows(file, left_out, PUBLISHED_COLUMNS, METRIC_COLUMNS)) is None:
            continue
        elif "mean" in rows:
            published.append(add_unsolved(rows))
        else:
            runs[file] = _runs_of(rows, file, "")
    named = _with_distinct_names([run for found in runs.values() for run in found])
    return Collection(
        runs=tuple(sorted(named, key=lambda run: (run.experiment, run.task))),
        published=pd.concat(published[1:] or published),
        sweeps=tuple(dict.fromkeys(sweeps)),
        left_out=tuple(left_out),
    )


def result_files(paths: Sequence[Path]) -> Iterator[Path]:
    """All files that `read` looks into, but for videos."""
    for path in paths:
        if path.is_file():
            yield path
        for place, directories, files in os.walk(path):
            is_result = {CONFIG_FILE, METRICS_FILE, DEFINITION_FILE, LINEAGE_FILE} & {*files}
            skipped = {
                name
                for name in _SKIPPED & {*directories}
                if is_result or not any(Path(place, name).rglob(CONFIG_FILE))
            }
            directories[:] = sorted({*directories} - skipped)
            directories[:] = [name for name in directories if not name.startswith(".")]
            yield from (Path(place) / name for name in sorted(files) if name.endswith(_READ))


def _read_directory(directory: Path, left_out: list[LeftOut]) -> list[Run]:
    config = _read_config(directory / CONFIG_FILE, left_out)
    if not os.path.lexists(directory / CONFIG_FILE):
        reason = "is missing: the configuration is unknown"
        left_out.append(LeftOut(directory / CONFIG_FILE, reason))
    if not os.path.lexists(directory / METRICS_FILE):
        left_out.append(LeftOut(directory, f"has no {METRICS_FILE}: nothing was evaluated yet"))
        return []
    rows = _read_rows(directory / METRICS_FILE, left_out, METRIC_COLUMNS)
    if rows is None:
        return []
    known: dict[str, Any] = {
        "config": config,
        "sessions": tuple(_read(directory / RECORD_FILE, list[Session], left_out) or ()),
        "diverged": _read(directory / DIVERGED_FILE, dict[int, int], left_out) or {},
        "films": _read_films(directory / VIDEO_DIRECTORY, left_out),
    }
    runs = _runs_of(rows, directory, str(config.get("task", "")))
    return [replace(run, **known) for run in runs]


def _read(file: Path, kind: type[_T], left_out: list[LeftOut]) -> _T | None:
    """What is in a JSON file; None if there is none or it cannot be read."""
    try:
        return read_json(file, kind) if os.path.lexists(file) else None
    except UnreadableError as error:
        left_out.append(LeftOut(file, f"cannot be read: {error.reason}"))
        return None


def _read_config(file: Path, left_out: list[LeftOut]) -> dict[str, Any]:
    """Not as a `Config`: a report also shows what another version wrote."""
    known, config = all_settings(), {}
    for name, value in dotted(_read(file, dict[str, Any], left_out) or {}).items():
        try:
            if name in known:
                value = known[name].parse(name, value)
                known[name].check(name, value)
            config[name] = value
        except ConfigError as error:
            left_out.append(LeftOut(file, f"has a value that cannot be: {error}"))
    return config


def _read_films(place: Path, left_out: list[LeftOut]) -> dict[Path, str]:
    """The best seed, the median one, and all together; all files without an index of them."""
    index = _read(place / INDEX_FILE, Index, left_out)
    files = [path for path in sorted(place.glob("*")) if path.suffix in _FILM_SUFFIXES]
    files = [path for path in files if path.is_file() and not path.is_symlink()]
    if index is None:
        return {path: path.stem for path in files}
    titles = _film_titles(index)
    return {place / name: title for name, title in titles.items() if place / name in files}


def _film_titles(index: Index) -> dict[str, str]:
    """File name -> title, from the index that `make_videos` writes."""
    ranks: dict[str, list[str]] = {}
    for rank, seed in (("best", index["best"]), ("median", index["median"])):
        if str(seed) in index["seeds"]:
            ranks.setdefault(str(seed), []).append(rank)
    films = {seed: index["seeds"][seed] for seed in ranks}
    return {
        film["file"]: f"{' and '.join(ranks[seed])}: seed {seed}, "
        f"return {film['return']:.1f} in this episode"
        for seed, film in films.items()
    } | {index["mosaic"]: "all seeds"}


def _read_rows(file: Path, left_out: list[LeftOut], *formats: Sequence[str]) -> pd.DataFrame | None:
    """The whole rows of a result file; None if there are none, and a note of what cannot be read.

    `formats` are the columns of the kinds of file that it may be; the first that fits counts.
    """
    try:
        with reading(file, csv.Error):
            text = read_bytes(file).decode("utf-8-sig", errors="replace")
            lines = text.splitlines(keepends=True)
            header = next(csv.reader(lines[:1]), [])
    except UnreadableError as error:
        left_out.append(LeftOut(file, f"cannot be read: {error.reason}"))
        return None
    columns = next((names for names in formats if {*names} <= {*header}), formats[-1])
    missing = [name for name in columns if name not in header]
    if missing or len(set(header)) < len(header):
        what = f"it has no column {missing[0]}" if missing else "two columns have the same name"
        left_out.append(LeftOut(file, f"is no result file: {what}"))
        return None
    # What is written last may lack its last digits.
    is_cut = file.name == METRICS_FILE and not lines[-1].endswith("\n")
    whole_lines = io.StringIO("".join(lines[:-1] if is_cut else lines))
    options: Any = {"dtype": str, "keep_default_na": False, "on_bad_lines": "skip"}
    try:
        rows = pd.read_csv(whole_lines, usecols=list(columns), **options)[list(columns)]
    except ValueError as error:
        left_out.append(LeftOut(file, f"cannot be read: {first_line(error)}"))
        return None
    unknown = sum(rows[name].isin(words) for name, words in _UNKNOWN.items() if name in columns)
    for name in _NUMBERS & set(columns):
        rows[name] = pd.to_numeric(rows[name], errors="coerce").astype(float)
    for name in _INTEGERS & set(columns):
        rows[name] = rows[name].where((rows[name] % 1 == 0) & (rows[name].abs() < _LARGEST))
    rows = rows.replace([np.inf, -np.inf], np.nan)
    whole = rows[rows.isna().sum(axis=1) == unknown]
    damaged = len(lines) - 1 - len(whole)
    if damaged:
        left_out.append(LeftOut(file, f"{damaged} of its lines are damaged"))
    if not len(whole):
        left_out.append(LeftOut(file, "has no results"))
        return None
    return whole.astype(dict.fromkeys(_INTEGERS & set(columns), int))


def _runs_of(rows: pd.DataFrame, place: Path, task: str) -> list[Run]:
    runs = []
    for (experiment, environment), group in rows.groupby(["exp_name", "env_name"]):
        keys = ["seed", "metric", "env_step"]
        # A row that is there twice was written anew after an interruption.
        metrics = group.drop_duplicates(keys, keep="last")[[*keys, "value"]]
        if RETURN in set(metrics.metric):
            name = task if environment_name(task) == environment else find_task(environment)
            runs.append(Run(str(experiment), name, place, metrics.reset_index(drop=True)))
    return runs


def _with_distinct_names(runs: Sequence[Run]) -> list[Run]:
    """Runs of different places that have the same name get the place as a part of it.

    So do those on different tasks, if what the agent is differs from place to place.
    """
    keys = pd.Series([(run.experiment, run.task) for run in runs], dtype=object)
    ambiguous = {experiment for experiment, _ in keys[keys.duplicated()]}
    of_names: dict[str, list[Run]] = {}
    for run in runs:
        if run.config:
            of_names.setdefault(run.experiment, []).append(run)
    for name, own in of_names.items():
        if len({_output_of(run) for run in own}) > 1 and not _have_one_agent(own):
            ambiguous.add(name)
    return [
        replace(run, experiment=f"{_output_of(run)}/{run.experiment}")
        if run.experiment in ambiguous
        else run
        for run in runs
    ]


def _have_one_agent(runs: Sequence[Run]) -> bool:
    """Whether agents of runs are the same but for what follows from their tasks.

    They have as many updates, per interaction or per step; and of everything else the same value,
    or each the default on its task.
    """
    names = ("update_to_data_ratio", "action_repeat")
    ratios = {tuple(run.config.get(name) or 1 for name in names) for run in runs}
    per_interaction, per_step = {ratio for ratio, _ in ratios}, {a / b for a, b in ratios}
    recipes = {(run.agent, run.config.get("recipe", Config.recipe)) for run in runs}
    if len(recipes) > 1 or 1 not in (len(per_interaction), len(per_step)):
        return False
    pairs = []
    for run in runs:
        usual = dict.fromkeys(run.config) | _usual(run)
        given = {name: value for name, value in run.config.items() if value is not None}
        pairs.append((usual | given, usual))
    # Another version may not have known a name.
    known = set.intersection(*(set(values) for values, _ in pairs))
    return all(
        all(values[name] == pairs[0][0][name] for values, _ in pairs)
        or all(values[name] == usual[name] for values, usual in pairs)
        for name in known
        if name.startswith(_OF_AGENTS)
    )


def _usual(run: Run) -> dict[str, Any]:
    """What the agent of a run has by default on its task; empty if it is not known here."""
    given = {name: run.config[name] for name in _GIVEN if run.config.get(name) is not None}
    try:
        config = replace_values(Config(), given | {"agent.name": run.agent, "task": run.task})
        config = with_agent_defaults(config)
    except ConfigError:
        return {}
    # On other tasks it follows from how episodes end: whatever a run has there.
    own = run.config.get("agent.num_critics")
    critics = 2 if run.is_offline else PUBLISHED_CRITICS.get(suite(run.task), own)
    usual = flatten(fill(config, {"agent.num_critics": critics}))
    if resets := usual.get("agent.reset_env_steps"):
        step = (config.action_repeat or 1) * (config.num_environments or 1)
        usual["agent.reset_env_steps"] = tuple(whole_multiple(each, step) for each in resets)
    return usual


def _output_of(run: Run) -> Path:
    """The `--output` of a run: its directory without the experiment and the task."""
    ending = Path(run.experiment) / run.task
    is_below = run.directory.parts[-len(ending.parts) :] == ending.parts
    return Path(*run.directory.parts[: -len(ending.parts)]) if is_below else run.directory

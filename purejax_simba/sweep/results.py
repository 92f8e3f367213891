"""What came of a sweep, from the files of its runs: how good each configuration is, and tables."""

import csv
import dataclasses
import io
import math
import os
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import numpy as np

from purejax_simba import trust
from purejax_simba.aggregates import bootstrap_interval, interquartile_mean
from purejax_simba.config import Config, ConfigError
from purejax_simba.errors import shown
from purejax_simba.files import check_output, reading, write_json, write_text
from purejax_simba.names import all_settings, flatten, from_nested, replace_values
from purejax_simba.runs.result_files import CONFIG_FILE, read_config, read_diverged, read_returns
from purejax_simba.sweep.axes import Axis, Kind, parse_axis
from purejax_simba.sweep.definition import DEFINITION_FILE, read_description

TABLE_FILE, BEST_FILE = "sweep.csv", "best.json"


class Score(NamedTuple):
    """Of one configuration on one task.

    Attributes:
      env_step: of the evaluation.
      returns: seed -> mean return of its episodes; of seeds that had not diverged by then.
      diverged: seeds that have, then or later.
      is_last: whether its training ends there, as was asked for.
    """

    env_step: int
    returns: dict[int, float]
    diverged: int
    is_last: bool = False

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

    @property
    def reached(self) -> float:
        """How far training went: env steps, or infinity if to its end, which scores share that
        train for different times.
        """
        return math.inf if self.is_last else self.env_step

    def order(self) -> tuple:
        """Sorts from the best to the worst.

        What was stopped earlier is worse, because only what was worse was stopped; then every
        diverged seed counts for more than any return. A return that is NaN is worse than any.
        """
        mean = self.mean if self.returns else math.nan
        return (-self.reached, self.diverged, math.inf if math.isnan(mean) else -mean)


def score_of(
    directory: Path, env_step: int | None = None, last_step: int | None = None
) -> Score | None:
    """The score of the run in a directory; None if it has no evaluation.

    Args:
      directory: of the run.
      env_step: of the evaluation; default: the last that there is.
      last_step: with which training ends, where that is to be known.
    """
    of_seeds = {seed: dict(returns) for seed, returns in read_returns(directory).items()}
    steps = {step for returns in of_seeds.values() for step in returns}
    at_rung = env_step is not None
    if env_step is None:
        env_step = max(steps, default=None)
    if env_step not in steps:
        return None
    returns = {seed: own[env_step] for seed, own in of_seeds.items() if env_step in own}
    diverged = [at for at in read_diverged(directory).values() if not at_rung or at <= env_step]
    return Score(env_step, returns, len(diverged), env_step == last_step)


@dataclass
class Row:
    """A configuration on a task.

    Attributes:
      name: of the choice, see `Trial`.
      task: its id.
      values: of the axes, name -> value.
      directory: of the run.
      score: of its seeds.
      step_name: what it counts.
      rank: on the task, from 1; configurations that are equally good share the mean of their ranks.
        What has a score on fewer tasks comes behind, so that it changes no rank of the others.
      mean_rank: over all tasks on which the choice has a score.
    """

    name: str
    task: str
    values: dict[str, Any]
    directory: Path
    score: Score
    step_name: str
    rank: float = math.nan
    mean_rank: float = math.nan


@dataclass(frozen=True)
class Results:
    """All that a sweep has found.

    Attributes:
      config: what the configurations have in common, not resolved.
      tasks: task ids.
      axes: what was varied.
      rows: from the best to the worst: by their mean rank, then by task. What has no score on some
        of the tasks comes behind what has one on more of them.
      left_out: a line for everything that is damaged, and is not among the rows.
    """

    config: Config
    tasks: tuple[str, ...]
    axes: tuple[Axis, ...]
    rows: tuple[Row, ...]
    left_out: tuple[str, ...] = ()

    @property
    def best(self) -> Row:
        """The first row."""
        return self.rows[0]

    @property
    def on_all_tasks(self) -> set[str]:
        """Names of the choices that have a score on every task."""
        counts = Counter(row.name for row in self.rows)
        return {name for name, count in counts.items() if count == len(self.tasks)}

    def mean_ranks(self, rows: Sequence[Row]) -> np.ndarray:
        """The mean rank of each row; NaN where its choice has no score on some of the tasks, so
        that it does not compare with others.
        """
        whole = self.on_all_tasks
        return np.array([row.mean_rank if row.name in whole else math.nan for row in rows])

    def best_config(self) -> Config:
        """The best configuration, on the first task, with what nobody gave left open."""
        task, name = self.tasks[0], self.best.name
        # An axis can leave a value to the task: that of the first one counts.
        own = [row for row in self.rows if (row.name, row.task) == (name, task)] or [self.best]
        values = {"task": task, "experiment": f"{self.config.experiment}-best"}
        return replace_values(self.config, values | own[0].values)


def furthest(rows: Sequence[Row]) -> tuple[float, str]:
    """How far the rows went that went furthest, see `Score.reached`, and where that is in words."""
    reached = max(row.score.reached for row in rows)
    steps = {row.score.env_step for row in rows if row.score.reached == reached}
    return reached, f"at {min(steps):,} {rows[0].step_name}" if len(steps) == 1 else "at the end"


def read_results(directory: Path) -> Results:
    """Reads the runs of the sweep in a directory.

    What is damaged is left out.

    Raises:
      ConfigError: if there is none, or it has nothing that was evaluated.
    """
    description, file = read_description(directory), directory / DEFINITION_FILE
    tasks = tuple(description["task"])
    with reading(file):
        code = trust.said(description["config"])
    trust.check(code, file, trust.NOT_RUN)
    with reading(file):
        all_settings()["task"].check("task", tasks)
        axes = tuple(_read_axis(text) for text in description["axes"])
        config = from_nested(description["config"])
    left_out: list[str] = []
    rows = [row for task in tasks for row in _read_rows(directory, task, axes, left_out)]
    if not rows:
        raise ConfigError("; ".join([f"{directory}: nothing was evaluated yet", *left_out]))
    return Results(config, tasks, axes, tuple(_rank(rows)), tuple(left_out))


def _read_axis(text: str) -> Axis:
    flag, _, axis = text.partition(" ")
    kind = flag.removeprefix("--").replace("-", "_")
    if kind not in get_args(Kind):
        raise ConfigError(f"{shown(text)} is no axis")
    return parse_axis(cast(Kind, kind), axis)


def _read_rows(
    directory: Path, task: str, axes: Sequence[Axis], left_out: list[str]
) -> Iterator[Row]:
    for place in sorted(directory.glob("[0-9]*")) if axes else [directory]:
        run = place / task
        try:
            if not os.path.lexists(run / CONFIG_FILE):
                continue
            config = read_config(run, trust.NOT_RUN)
            score = score_of(run, last_step=config.steps)
        except ConfigError as error:
            left_out.append(str(error))
            continue
        if score is not None:
            known = flatten(config)
            values = {axis.name: known.get(axis.name) for axis in axes}
            yield Row(place.name if axes else "", task, values, run, score, config.step_name)


def _rank(rows: list[Row]) -> list[Row]:
    tasks = Counter(row.name for row in rows)
    for task in {row.task for row in rows}:
        own = [row for row in rows if row.task == task]
        orders = [((-tasks[row.name], *row.score.order()), row) for row in own]
        for order, row in orders:
            better = sum(other < order for other, _ in orders)
            equal = sum(other == order for other, _ in orders)
            row.rank = better + (equal + 1) / 2
    for name in {row.name for row in rows}:
        own = [row for row in rows if row.name == name]
        mean = sum(row.rank for row in own) / len(own)
        for row in own:
            row.mean_rank = mean
    return sorted(rows, key=lambda row: (-tasks[row.name], row.mean_rank, row.name, row.task))


def write_results(results: Results, directory: Path) -> None:
    """Writes `sweep.csv` and `best.json`.

    Raises:
      ConfigError, WriteError: if they cannot be written.
    """
    check_output(directory / TABLE_FILE)
    write_text(directory / TABLE_FILE, _table(results))
    write_json(directory / BEST_FILE, dataclasses.asdict(results.best_config()))


def _table(results: Results) -> str:
    seeds = sorted({seed for row in results.rows for seed in row.score.returns})
    rows = []
    for row in results.rows:
        score = row.score
        low, high = score.interval()
        rows.append(
            {
                "mean_rank": row.mean_rank,
                "configuration": row.name,
                "task": row.task,
                **row.values,
                "env_step": score.env_step,
                "rank": row.rank,
                "interquartile_mean": score.mean,
                "interval_low": low,
                "interval_high": high,
                "diverged_seeds": score.diverged,
                **{f"return_seed_{seed}": score.returns.get(seed, "") for seed in seeds},
                "directory": row.directory,
            }
        )
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def ranking(results: Results, width: int | None = None) -> str:
    """The table for people, from the best to the worst.

    Args:
      results: see there.
      width: of a terminal, in letters, from which columns of values are left out that have no room.
    """
    names = [axis.name for axis in results.axes]
    while True:
        cells = [_cells(row, names, len(results.tasks) > 1) for row in results.rows]
        table = in_columns(cells)
        if width is None or not names or max(map(len, table)) <= width:
            break
        names.pop()
    table = [line[:width] for line in table]
    whole = results.on_all_tasks
    partial = dict.fromkeys(row.name for row in results.rows if row.name not in whole)
    if whole and partial:
        words = f"Not on all tasks, so last: {', '.join(partial)}"
        table.append(textwrap.fill(words, width or len(words)))
    left_out = ", ".join(axis.name for axis in results.axes if axis.name not in names)
    if left_out:
        table.append(textwrap.fill(f"In {TABLE_FILE} besides: {left_out}", width or 0))
    return "\n".join(table)


def in_columns(rows: Sequence[dict[str, str]]) -> list[str]:
    """Lines of a table: the names of the first row, then a line for each."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def _cells(row: Row, names: Sequence[str], several_tasks: bool) -> dict[str, str]:
    score = row.score
    low, high = score.interval()
    cells = {"mean rank": f"{row.mean_rank:.2f}"} if several_tasks and row.values else {}
    if row.values:
        cells["configuration"] = row.name
    return {
        **cells,
        **{name: short(row.values[name]) for name in names},
        "task": row.task,
        row.step_name: f"{score.env_step:,}",
        "return": f"{score.mean:.1f}",
        "95% interval": "-" if math.isnan(low) else f"{low:.1f} to {high:.1f}",
        "diverged": str(score.diverged),
    }


def short(value: Any) -> str:
    """A value of an axis, for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""The tables of a sweep, from the files of its runs."""

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from purejax_simba.config import Config, ConfigError
from purejax_simba.names import flatten, from_nested, replace_values
from purejax_simba.runs.result_files import CONFIG_FILE, read_config, replace_text, write_json
from purejax_simba.sweep.axes import Axis, Kind, parse_axis
from purejax_simba.sweep.definition import differences, read_description
from purejax_simba.sweep.scores import Score, score_of

TABLE_FILE, BEST_FILE = "sweep.csv", "best.json"


@dataclass
class Row:
    """A configuration on a task.

    Attributes:
      name: of the choice, see `Trial`.
      task: its id.
      values: of the axes, name -> value.
      directory: of the run.
      score: of its seeds.
      rank: on the task, from 1; configurations that are equally good share the mean of their ranks.
      mean_rank: over all tasks on which the choice has a score.
    """

    name: str
    task: str
    values: dict[str, Any]
    directory: Path
    score: Score
    rank: float = math.nan
    mean_rank: float = math.nan


@dataclass(frozen=True)
class Results:
    """All that a sweep has found.

    Attributes:
      config: what the configurations have in common, not resolved.
      tasks: task ids.
      axes: what was varied.
      rows: from the best to the worst: by their mean rank, then by task.
    """

    config: Config
    tasks: tuple[str, ...]
    axes: tuple[Axis, ...]
    rows: tuple[Row, ...]

    @property
    def best(self) -> Row:
        """The first row."""
        return self.rows[0]

    def best_config(self) -> Config:
        """The best configuration, on the first task, with what depends on the task left open."""
        values = {"task": self.tasks[0], "experiment": f"{self.config.experiment}-best"}
        return replace_values(self.config, values | self.best.values)


def read_results(directories: Sequence[Path]) -> Results:
    """Reads the runs of a sweep, of which every directory has a part.

    Raises:
      ConfigError: if they are parts of different sweeps, or nothing was evaluated yet.
    """
    description = _read_same(directories)
    config = from_nested(description["config"])
    axes = tuple(_read_axis(text) for text in description["axes"])
    rows: dict[tuple[str, str], Row] = {}
    for directory in directories:
        for task in description["task"]:
            for row in _read_rows(directory, task, axes):
                # A run that several directories hold counts once, where it is furthest.
                known = rows.get((row.name, task))
                if known is None or row.score.env_step > known.score.env_step:
                    rows[row.name, task] = row
    if not rows:
        names = ", ".join(map(str, directories))
        raise ConfigError(f"{names}: nothing was evaluated yet")
    ranked = _rank(list(rows.values()))
    return Results(config, tuple(description["task"]), axes, tuple(ranked))


def _read_same(directories: Sequence[Path]) -> dict[str, Any]:
    first, *others = directories
    description = read_description(first)
    for other in others:
        found = differences(description, read_description(other))
        if found:
            raise ConfigError(f"{first} and {other} hold different sweeps: {found}")
    return description


def _read_axis(text: str) -> Axis:
    flag, _, axis = text.partition(" ")
    return parse_axis(cast(Kind, flag.removeprefix("--").replace("-", "_")), axis)


def _read_rows(directory: Path, task: str, axes: Sequence[Axis]) -> list[Row]:
    rows = []
    points = sorted(directory.glob("[0-9]*")) if axes else [directory]
    for point in points:
        run = point / task
        if not (run / CONFIG_FILE).exists():
            continue
        score = score_of(run)
        if score is not None:
            known = flatten(read_config(run))
            values = {axis.name: known.get(axis.name) for axis in axes}
            rows.append(Row(point.name if axes else "", task, values, run, score))
    return rows


def _rank(rows: list[Row]) -> list[Row]:
    for task in {row.task for row in rows}:
        orders = [(row.score.order(), row) for row in rows if row.task == task]
        for order, row in orders:
            better = sum(other < order for other, _ in orders)
            equal = sum(other == order for other, _ in orders)
            row.rank = better + (equal + 1) / 2
    for name in {row.name for row in rows}:
        own = [row for row in rows if row.name == name]
        mean = sum(row.rank for row in own) / len(own)
        for row in own:
            row.mean_rank = mean
    return sorted(rows, key=lambda row: (row.mean_rank, row.name, row.task))


def write_results(results: Results, directory: Path) -> None:
    """Writes `sweep.csv` and `best.json`."""
    directory.mkdir(parents=True, exist_ok=True)
    replace_text(directory / TABLE_FILE, _table(results))
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


def ranking(results: Results) -> str:
    """The table for people, from the best to the worst."""
    cells = [_cells(row, len(results.tasks) > 1) for row in results.rows]
    lines = [list(cells[0]), *(list(row.values()) for row in cells)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [map(str.ljust, line, widths) for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _cells(row: Row, several_tasks: bool) -> dict[str, str]:
    score = row.score
    low, high = score.interval()
    cells = {"mean rank": f"{row.mean_rank:.2f}"} if several_tasks and row.values else {}
    if row.values:
        cells["configuration"] = row.name
    return {
        **cells,
        **{name: _short(value) for name, value in row.values.items()},
        "task": row.task,
        "env step": f"{score.env_step:,}",
        "return": f"{score.mean:.1f}",
        "95% interval": "-" if math.isnan(low) else f"{low:.1f} to {high:.1f}",
        "diverged": str(score.diverged),
    }


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

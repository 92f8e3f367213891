"""What a sweep says about its hyperparameters: its ranking, their importance, a chart of each.

With populations: who came from whom, and what the best had when.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from purejax_simba.config import ConfigError, step_title
from purejax_simba.report.charts import (
    STEPS,
    Chart,
    Panel,
    Series,
    axes,
    chart,
    errors,
    literal,
    numbers,
    tall,
)
from purejax_simba.report.sections import Charts, Section, cards, note, table
from purejax_simba.report.style import BLUE, OTHERS, Look
from purejax_simba.sweep.axes import Axis
from purejax_simba.sweep.definition import read_description
from purejax_simba.sweep.lineage import Lineage, has_lineage, read_lineage
from purejax_simba.sweep.results import Results, Row, furthest, read_results

_MOST_GROUPS = 4
_IMPORTANCE = (
    "Importance is the share of the variance of scores that a hyperparameter explains by itself "
    "(epsilon squared, from groups of its values); what several explain only together counts for "
    "none."
)
_LINEAGE = (
    "The best member of each population (of each seed) at the last generation, what it had in the "
    "end, and the mean return of all its members. The best of many noisy returns is too good to be "
    "true: fresh seeds that follow the schedule say what it is worth. Thick lines are the best "
    "members and all that they came from, thin ones all members, from whose return each came to "
    "which."
)
_RETURN = "return"


def sweep_section(directory: Path, number: int, charts: Charts) -> Section:
    """The ranking of a sweep and its hyperparameters; or why there is none."""
    name, title = f"sweep-{number}", f"Sweep {directory.name}"
    try:
        if has_lineage(directory):
            return Section(name, title, _lineage_content(directory, name, charts))
        results = read_results(directory)
    except ConfigError as error:
        return Section(name, title, note(f"{directory} cannot be read as a sweep: {error}"))
    rows = list({row.name: row for row in results.rows}.values())
    scores, score = scores_of(results, rows)
    places = []
    shares = importances(results, rows, scores)
    if shares:
        bars: Chart = {"type": "bar", "orientation": "h", "x": [*shares.values()], "y": [*shares]}
        layout = axes("share of the variance of scores") | tall(len(shares))
        drawn: Chart = {"data": [bars], "layout": layout}
        places.append(charts.card(f"{name}/importance", "Importance", drawn))
    intervals = [row.score.interval() for row in rows]
    curve = pd.DataFrame(intervals, columns=["low", "high"]).assign(mean=scores)
    points: Chart = {
        "y": numbers(scores),
        "mode": "markers",
        "marker": {"color": BLUE, "size": 8},
        "text": [literal(_describe(row)) for row in rows],
        "hovertemplate": "%{text}<br>%{y:.4g}<extra></extra>",
    }
    if len(results.tasks) == 1:
        points["error_y"] = errors(Series(Look("", BLUE), curve))
    for axis in results.axes:
        x = [row.values[axis.name] for row in rows]
        drawn = {"data": [points | {"x": x}], "layout": axes(axis.name)}
        drawn["layout"]["xaxis"]["type"] = "log" if axis.is_wide else "-"
        if not axis.is_number:
            drawn["data"][0]["x"] = [literal(value) for value in x]
            drawn["layout"]["xaxis"]["type"] = "category"
        places.append(charts.card(f"{name}/{axis.name}", f"{score} against {axis.name}", drawn))
    left_out = "".join(note(f"left out: {line}") for line in results.left_out)
    ranking = f"<h3>Ranking</h3>{table(_ranking(results))}{left_out}"
    return Section(name, title, f"{ranking}{note(_IMPORTANCE) if shares else ''}{cards(places)}")


def _describe(row: Row) -> str:
    return f"{row.name}: {', '.join(f'{name}={value}' for name, value in row.values.items())}"


def _ranking(results: Results) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "mean rank": row.mean_rank,
            "configuration": row.name,
            "task": row.task,
            **{axis.name: row.values[axis.name] for axis in results.axes},
            row.step_name: row.score.env_step,
            "interquartile mean": row.score.mean,
            "low": row.score.interval()[0],
            "high": row.score.interval()[1],
            "seeds": len(row.score.returns),
            "diverged": row.score.diverged,
        }
        for row in results.rows
    )


def scores_of(results: Results, rows: Sequence[Row]) -> tuple[np.ndarray, str]:
    """The score of each configuration, higher is better, and what it is called.

    On one task the interquartile mean, of configurations that went on to the end; on several the
    mean rank with its sign changed, of those that have one on all. NaN for the others.
    """
    if len(results.tasks) > 1:
        return -results.mean_ranks(rows), "minus mean rank"
    reached, where = furthest(rows)
    values = [row.score.mean if row.score.reached == reached else math.nan for row in rows]
    return np.array(values), f"return {where}"


def importances(results: Results, rows: Sequence[Row], scores: np.ndarray) -> dict[str, float]:
    """The share of the variance of scores that each axis explains by itself, epsilon squared.

    Values are put into two to four groups of about equal size. Epsilon squared is the
    between-group share of the variance less what chance alone would give (Kelley 1935), 0 where
    that leaves nothing. What axes explain only together counts for none.

    Returns:
      Axis -> share, from the least; empty with fewer than four configurations or equal scores.
    """
    known = np.isfinite(scores)
    if known.sum() < 4 or np.ptp(scores[known]) == 0:
        return {}
    found = {}
    for axis in results.axes:
        values = pd.Series([row.values[axis.name] for row in rows], dtype=object)[known]
        found[axis.name] = _epsilon_squared(_groups(values), scores[known])
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _groups(values: pd.Series) -> np.ndarray:
    count = min(_MOST_GROUPS, len(values) // 2)
    codes, unique = pd.factorize(values)
    if len(unique) <= count or not all(isinstance(value, int | float) for value in unique):
        return codes
    edges = np.quantile(values.astype(float), np.linspace(0, 1, count + 1)[1:-1])
    return np.searchsorted(edges, values.astype(float), side="right")


def _epsilon_squared(groups: np.ndarray, values: np.ndarray) -> float:
    of_group = pd.Series(values).groupby(groups)
    between = of_group.ngroups - 1
    if not 0 < between < len(values) - 1:
        return 0.0
    within = (values - of_group.transform("mean")).pow(2).sum()
    total = np.var(values) * len(values)
    mean_square = within / (len(values) - between - 1)
    return float(max(0.0, (total - within - between * mean_square) / total))


def _lineage_content(directory: Path, name: str, charts: Charts) -> str:
    """A table and charts of the populations of a sweep, as HTML.

    Args:
      directory: of the sweep.
      name: of its section, with which the names of charts begin.
      charts: of the page.

    Raises:
      ConfigError: if the lineage is damaged.
    """
    lineage = read_lineage(directory)
    panels = lineage_panels(lineage, x=steps_title(directory))
    drawn = {panel.y: chart(panel) for panel in panels}
    places = [charts.card(f"{name}/lineage", "Who came from whom", drawn.pop(_RETURN))]
    places += [charts.card(f"{name}/{axis}", axis, panel) for axis, panel in drawn.items()]
    return note(_LINEAGE) + table(pd.DataFrame(lineage.table())) + cards(places)


def steps_title(directory: Path) -> str:
    """What the sweep in a directory counts, as far as is known, as the title of an axis."""
    try:
        config = read_description(directory)["config"]
    except ConfigError:
        return STEPS
    return step_title(bool(config.get("offline.dataset")))


def lineage_panels(lineage: Lineage, title: str = "", x: str = STEPS) -> list[Panel]:
    """Returns, and every hyperparameter, over env steps, or what `x` says."""
    steps, values = lineage.env_steps, lineage.values[:-1]
    held = np.repeat(steps, 2)[1:-1]  # from one generation to the next
    returns = Panel(title, [], x, _RETURN)
    of_axes = [Panel(title, [], x, axis, scale=_scale(lineage, axis)) for axis in lineage.axes]
    for place, seed in enumerate(lineage.populations):
        look = Look(f"best of seed {seed}", OTHERS[place % len(OTHERS)])
        members = lineage.returns_of_members(place).swapaxes(0, 1)
        best = lineage.returns_of_best(place)
        returns.series.append(_series(look, steps, best, held.reshape(-1, 2), members))
        for number, panel in enumerate(of_axes):
            members = values[:, :, place, number].T.repeat(2, axis=1)[:, None]
            best = lineage.schedule(place)[:, number].repeat(2)
            panel.series.append(_series(look, held, best, held[None], members))
    return [returns, *of_axes]


def _scale(lineage: Lineage, axis: str) -> str:
    values = lineage.values[..., lineage.axes.index(axis)]
    return "log" if Axis(axis, "grid", tuple(values.ravel().tolist())).is_wide else "linear"


def _series(
    look: Look, x: np.ndarray, best: np.ndarray, thin_x: np.ndarray, thin: np.ndarray
) -> Series:
    """The line of the best, and thin ones `(M, lines, points)` of the members, apart.

    `x` are the steps of `best`, and `thin_x` those of thin lines, `(lines, points)`.
    """
    curve = pd.DataFrame({"mean": best, "low": np.nan, "high": np.nan, "missing": 0}, index=x)
    apart = ((0, 0), (0, 0), (0, 1))
    gaps = np.pad(thin, apart, constant_values=np.nan)
    ends = np.broadcast_to(np.pad(thin_x, apart[1:], mode="edge"), gaps.shape)
    members = pd.DataFrame({"members": gaps.ravel()}, index=ends.ravel())
    return Series(look, curve, True, members)

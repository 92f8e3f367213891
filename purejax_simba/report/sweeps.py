"""What a sweep says about its hyperparameters: slices, parallel coordinates, importance."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purejax_simba.report.charts import Spec, layout, numbers
from purejax_simba.report.style import BLUE
from purejax_simba.sweep.plots import is_number, is_wide
from purejax_simba.sweep.results import Results, Row, read_results

_MOST_GROUPS = 4


class SweepCharts(NamedTuple):
    """Of one sweep.

    Attributes:
      results: its runs.
      score: what configurations are compared by.
      slices: axis -> chart of the score against its values.
      parallel: all axes and the score side by side; None for a single configuration.
      importance: chart of `importances`; None if it cannot be told.
    """

    results: Results
    score: str
    slices: dict[str, Spec]
    parallel: Spec | None
    importance: Spec | None


def sweep_charts(directory: Path) -> SweepCharts:
    """Reads a sweep and draws it.

    Raises:
      ConfigError, OSError, ValueError: if it cannot be read.
    """
    results = read_results([directory])
    rows = list({row.name: row for row in results.rows}.values())
    score, title = scores_of(results, rows)
    slices = {
        axis.name: _slice(positions(axis, rows), score, title, axis, rows) for axis in results.axes
    }
    importance = importances(results, rows, score)
    chart = _importance_chart(importance) if importance else None
    return SweepCharts(results, title, slices, _parallel(results, rows, score, title), chart)


def scores_of(results: Results, rows: Sequence[Row]) -> tuple[np.ndarray, str]:
    """The score of each configuration, higher is better, and what it is called.

    On one task the interquartile mean, of configurations that went on to the end; on several the
    mean rank with its sign changed.
    """
    if len(results.tasks) > 1:
        return np.array([-row.mean_rank for row in rows]), "minus mean rank"
    last = max(row.score.env_step for row in rows)
    values = [row.score.mean if row.score.env_step == last else math.nan for row in rows]
    return np.array(values), f"return at env step {last:,}"


def positions(axis: Any, rows: Sequence[Row]) -> np.ndarray:
    """Values of an axis as numbers: logarithms where only ratios matter, places in its list."""
    values = [row.values[axis.name] for row in rows]
    if not is_number(axis):
        labels = [str(value) for value in axis.values]
        return np.array([labels.index(str(value)) for value in values], float)
    found = np.array(values, float)
    return np.log10(found) if is_wide(axis) else found


def importances(
    results: Results, rows: Sequence[Row], score: np.ndarray
) -> dict[str, float] | None:
    """The share of the variance of scores that each axis explains by itself, epsilon squared.

    Values are put into two to four groups of about equal size. Epsilon squared is the
    between-group share of the variance less what chance alone would give (Kelley 1935), 0 where
    that leaves nothing. What axes explain only together counts for none.

    Returns:
      Axis -> share; None with fewer than four configurations or equal scores.
    """
    known = np.isfinite(score)
    if known.sum() < 4 or np.ptp(score[known]) == 0:
        return None
    found = {}
    for axis in results.axes:
        groups = _groups(positions(axis, rows)[known])
        found[axis.name] = _epsilon_squared(groups, score[known])
    return found


def _groups(values: np.ndarray) -> np.ndarray:
    count = min(_MOST_GROUPS, len(values) // 2)
    unique, index = np.unique(values, return_inverse=True)
    if len(unique) <= count:
        return index
    edges = np.quantile(values, np.linspace(0, 1, count + 1)[1:-1])
    return np.searchsorted(edges, values, side="right")


def _epsilon_squared(groups: np.ndarray, values: np.ndarray) -> float:
    names = np.unique(groups)
    if not 1 < len(names) < len(values):
        return 0.0
    within = sum(np.var(values[groups == name]) * np.sum(groups == name) for name in names)
    total = np.var(values) * len(values)
    mean_square = within / (len(values) - len(names))
    return float(max(0.0, (total - within - (len(names) - 1) * mean_square) / total))


def _slice(x: np.ndarray, score: np.ndarray, title: str, axis: Any, rows: Sequence[Row]) -> Spec:
    spec = layout(axis.name)
    spec["xaxis"] |= _ticks(axis)
    texts = [_describe(row) for row in rows]
    intervals = [row.score.interval() for row in rows]
    errors: Spec = {}
    if title.startswith("return"):
        highs = [high - row.score.mean for row, (_, high) in zip(rows, intervals, strict=True)]
        lows = [row.score.mean - low for row, (low, _) in zip(rows, intervals, strict=True)]
        errors = {
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": numbers(np.array(highs)),
                "arrayminus": numbers(np.array(lows)),
                "thickness": 1,
                "color": BLUE,
            }
        }
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": numbers(x),
        "y": numbers(score),
        "text": texts,
        "hovertemplate": "%{text}<br>%{y:.4g}<extra></extra>",
        "marker": {"color": BLUE, "size": 8, "opacity": 0.8},
        "showlegend": False,
    }
    return {"data": [trace | errors], "layout": spec}


def _ticks(axis: Any) -> Spec:
    """Ticks with the axis' own values where `positions` has others."""
    if not is_number(axis):
        return {
            "tickvals": list(range(len(axis.values))),
            "ticktext": [str(value) for value in axis.values],
        }
    if axis.kind == "grid":
        values = np.array(axis.values, float)
    elif is_wide(axis):
        values = np.geomspace(axis.values[0], axis.values[1], 5)
    else:
        return {}
    places = np.log10(values) if is_wide(axis) else values
    return {"tickvals": numbers(places), "ticktext": [f"{value:.3g}" for value in values]}


def _parallel(results: Results, rows: Sequence[Row], score: np.ndarray, title: str) -> Spec | None:
    """A line per configuration through all axes, coloured by its score."""
    known = np.flatnonzero(np.isfinite(score))
    if len(known) < 2 or not results.axes:
        return None
    dimensions = [
        {
            "label": axis.name,
            "values": numbers(positions(axis, rows)[known]),
            **_ticks(axis),
        }
        for axis in results.axes
    ]
    dimensions.append({"label": title.partition(" at ")[0], "values": numbers(score[known])})
    trace = {
        "type": "parcoords",
        "dimensions": dimensions,
        "line": {"color": numbers(score[known]), "colorscale": "Viridis", "reversescale": True},
    }
    spec = layout()
    return {"data": [trace], "layout": spec | {"margin": {"l": 80, "r": 90, "t": 60, "b": 24}}}


def _importance_chart(shares: dict[str, float]) -> Spec:
    names = sorted(shares, key=lambda name: shares[name])
    spec = layout("share of the variance of scores")
    spec["xaxis"] |= {"range": [0, 1]}
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": [shares[name] for name in names],
        "y": names,
        "marker": {"color": BLUE},
        "hovertemplate": "%{y}: %{x:.2f}<extra></extra>",
    }
    return {"data": [trace], "layout": spec}


def _describe(row: Row) -> str:
    values = ", ".join(f"{name}={value}" for name, value in row.values.items())
    return f"{row.name}: {values}"

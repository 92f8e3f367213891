"""Interactive charts, as specifications for plotly.js."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from purejax_simba.report import style
from purejax_simba.report.figures.curves import behind, up_to
from purejax_simba.report.figures.norms import metric_curve
from purejax_simba.report.methods import Experiment, Published
from purejax_simba.report.published import normalized_metric

# Lines of single seeds would make the page too large beyond so many values.
MOST_SEED_VALUES = 200_000
MOST_NAMES = 12
_DIGITS = 5
# Of matplotlib's markers.
_SYMBOLS = {"o": "circle", "s": "square", "D": "diamond", "^": "triangle-up", "v": "triangle-down"}
_SYMBOLS |= {"P": "cross", "X": "x", "*": "star", "<": "triangle-left", ">": "triangle-right"}
_DASHES = ("solid", "dash", "longdash", "dashdot", "longdashdot")

Spec = dict[str, Any]


def layout(x: str = "environment steps") -> Spec:
    """What all charts have in common; `x` is the title of the horizontal axis."""
    axis = {"gridcolor": "#e6e9ed", "zeroline": False, "automargin": True}
    return {
        "margin": {"l": 44, "r": 12, "t": 12, "b": 40},
        "hovermode": "closest",
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "font": {"size": 11}},
        "xaxis": axis | {"title": {"text": x, "standoff": 6}},
        "yaxis": axis,
        "plot_bgcolor": "#ffffff",
        "paper_bgcolor": "#ffffff",
        "font": {"size": 12},
    }


def learning_curve(
    experiments: Sequence[Experiment], task: str, with_seeds: bool, given: Sequence[Published] = ()
) -> Spec:
    """Mean, interval and seeds of each experiment on a task, and published points behind."""
    metric = normalized_metric(task)
    looks = style.looks(experiments)
    traces: list[Spec] = []
    last = max(e.runs[task].env_step for e in experiments if task in e.runs)
    published = behind(experiments, task, given)
    for method in published:
        traces.append(_published_trace(method, task, last, style.looks(published)[method.name]))
    for number, experiment in enumerate(experiments):
        if task in experiment.runs:
            traces += metric_traces(
                experiment, task, metric, looks[experiment.name], number, with_seeds
            )
    return {"data": traces, "layout": _with_legend(experiments)}


def metric_traces(
    experiment: Experiment,
    task: str,
    metric: str,
    look: style.Look,
    number: int,
    with_seeds: bool,
) -> list[Spec]:
    """Mean, interval and seeds of a metric of an experiment; nothing if it has no such metric."""
    curve = metric_curve(experiment, task, metric)
    if not len(curve):
        return []
    traces = _band_and_line(curve, look.label, look.color, _DASHES[number % len(_DASHES)])
    if not with_seeds:
        return traces
    table = experiment.runs[task].table(metric)
    for seed in table.columns:
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [int(step) for step in table.index],
                "y": numbers(table[seed]),
                "line": {"color": look.color, "width": 0.8},
                "opacity": 0.45,
                "legendgroup": look.label,
                "showlegend": False,
                "hovertemplate": f"seed {seed}, step %{{x:,}}: %{{y:.4g}}"
                f"<extra>{look.label}</extra>",
            }
        )
    return traces


def metric_choices(experiments: Sequence[Experiment], task: str, with_seeds: bool) -> Spec:
    """A chart of a task with a choice among all metrics but the one of the learning curve."""
    looks = style.looks(experiments)
    shown = [e for e in experiments if task in e.runs]
    names = sorted(set().union(*(e.runs[task].metrics.metric for e in shown)))
    choices = {}
    for metric in names:
        if metric == normalized_metric(task):
            continue
        traces: list[Spec] = []
        for number, experiment in enumerate(experiments):
            look = looks[experiment.name]
            traces += metric_traces(experiment, task, metric, look, number, with_seeds)
        choices[metric] = traces
    return {"choices": choices, "layout": _with_legend(experiments)}


def _with_legend(experiments: Sequence[Experiment]) -> Spec:
    # A legend of very many is larger than the chart; the name is also where the pointer is.
    return layout() | {"showlegend": len(experiments) <= MOST_NAMES}


def _published_trace(method: Published, task: str, last: int, look: style.Look) -> Spec:
    # What lies between two points is not known: no line.
    curve = up_to(method.curve(task), last)
    errors = {
        "type": "data",
        "symmetric": False,
        "array": numbers(curve.high - curve["mean"]),
        "arrayminus": numbers(curve["mean"] - curve.low),
        "thickness": 1,
        "width": 3,
        "color": look.color,
    }
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [int(step) for step in curve.index],
        "y": numbers(curve["mean"]),
        "error_y": errors,
        "marker": {"size": 7, "color": look.color, "symbol": _SYMBOLS[look.marker]},
        "name": look.label,
        "hovertemplate": "step %{x:,}: %{y:.4g}" + f"<extra>{look.label}</extra>",
    }


def _band_and_line(curve: pd.DataFrame, name: str, color: str, dash: str) -> list[Spec]:
    steps = [int(step) for step in curve.index]
    known = curve.dropna(subset=["mean"])
    band = {
        "type": "scatter",
        "mode": "lines",
        "x": [int(step) for step in [*known.index, *known.index[::-1]]],
        "y": [*numbers(known.low), *numbers(known.high)[::-1]],
        "fill": "toself",
        "fillcolor": _transparent(color, 0.16),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "legendgroup": name,
        "showlegend": False,
    }
    line = {
        "type": "scatter",
        "mode": "lines+markers" if len(steps) < 3 else "lines",
        "x": steps,
        "y": numbers(curve["mean"]),
        "line": {"color": color, "width": 2, "dash": dash},
        "marker": {"size": 5},
        "name": name,
        "legendgroup": name,
        "text": [f", {int(count)} seeds missing" if count else "" for count in curve.missing],
        "hovertemplate": "step %{x:,}: %{y:.4g}%{text}" + f"<extra>{name}</extra>",
    }
    # A band of a single seed has no width and no bounds.
    return [line] if curve.low.isna().all() else [band, line]


def numbers(values: pd.Series | np.ndarray) -> list[float | None]:
    """Values with few digits; none where they are not finite, which JSON cannot say."""
    return [
        float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None
        for value in np.asarray(values, np.float64)
    ]


def _transparent(color: str, opacity: float) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:.3g})"

"""Return, norms and effective learning rate over training, the paper's analysis of stability."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from purejax_simba.aggregates import mean
from purejax_simba.report import style
from purejax_simba.report.figures.curves import draw_curve, finish
from purejax_simba.report.methods import Experiment, with_intervals
from purejax_simba.report.published import RETURN

# Panels (a) to (e) of the paper's figure 4: title and the end of the metric's name.
PANELS = {
    "return": RETURN,
    "feature norm": "weighted_feature_norm",
    "parameter norm": "weighted_parameter_norm",
    "gradient norm": "weighted_gradient_norm",
    "effective learning rate": "effective_learning_rate",
}
NETWORKS = ("critic", "actor")


def five_panels(experiments: Sequence[Experiment]) -> Any:
    """A row of panels for each task and network with diagnostics; a line per experiment."""
    rows = [
        (task, network)
        for task in sorted(set().union(*(experiment.tasks for experiment in experiments)))
        for network in NETWORKS
        if any(_has(experiment, task, network) for experiment in experiments)
    ]
    if not rows:
        return None
    looks = style.looks(experiments)
    figure, panels = style.pyplot().subplots(
        len(rows),
        len(PANELS),
        figsize=(1.75 * len(PANELS), 0.7 + 1.7 * len(rows)),
        squeeze=False,
        layout="constrained",
    )
    for (task, network), line in zip(rows, panels, strict=True):
        for ending, axes in zip(PANELS.values(), line, strict=True):
            metric = ending if ending == RETURN else f"{network}/{ending}"
            for experiment in experiments:
                curve = metric_curve(experiment, task, metric)
                if len(curve):
                    draw_curve(axes, curve, looks[experiment.name])
            if ending != RETURN:
                _scale(axes)
            axes.xaxis.set_major_formatter(style.steps_label)
            axes.xaxis.get_major_locator().set_params(nbins=3)
        line[0].set_ylabel(f"{task}\n{network}")
    for title, axes in zip(PANELS, panels[0], strict=True):
        axes.set_title(title)
    finish(figure, experiments)
    return figure


def _scale(axes: Any) -> None:
    """From 0, so that what is constant looks so; logarithmic where values differ tenfold."""
    low, high = axes.dataLim.intervaly
    if 0 < 10 * low < high < float("inf"):
        axes.set_yscale("log")
    elif 0 <= low <= high < float("inf") and high > 0:
        axes.set_ylim(0, 1.1 * high)


def metric_curve(experiment: Experiment, task: str, metric: str) -> pd.DataFrame:
    """Mean over seeds and its interval, as `Method.curve`; empty if there is no such metric."""
    if task not in experiment.runs:
        return pd.DataFrame()
    table = experiment.runs[task].table(metric)
    return with_intervals([table], mean) if len(table) else pd.DataFrame()


def _has(experiment: Experiment, task: str, network: str) -> bool:
    if task not in experiment.runs:
        return False
    metrics = set(experiment.runs[task].metrics.metric)
    return any(f"{network}/{ending}" in metrics for ending in PANELS.values())

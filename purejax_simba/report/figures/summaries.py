"""Scores over all tasks with their intervals, as Agarwal et al. draw them (arXiv 2108.13264)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from purejax_simba.aggregates import bootstrap_interval
from purejax_simba.report import style
from purejax_simba.report.figures.curves import draw_curve, finish
from purejax_simba.report.methods import Experiment
from purejax_simba.report.tables import (
    RESAMPLES,
    STATISTICS,
    common_tasks,
    improvements,
    last_common_step,
    performance_profiles,
)


def aggregate_scores(experiments: Sequence[Experiment]) -> Any:
    """Interquartile mean, median, mean and optimality gap over the tasks that all have."""
    tasks = common_tasks(experiments)
    step = last_common_step(experiments, tasks)
    if step is None:
        return None
    looks = style.looks(experiments)
    figure, panels = style.pyplot().subplots(
        1,
        len(STATISTICS),
        figsize=(7.2, 0.9 + 0.28 * len(experiments)),
        sharey=True,
        layout="constrained",
    )
    for axes, (name, statistic) in zip(panels, STATISTICS.items(), strict=True):
        for row, experiment in enumerate(experiments):
            scores = experiment.scores(tasks, step)
            value = float(statistic(scores))
            low, high = bootstrap_interval(scores, statistic, RESAMPLES)
            color = looks[experiment.name].color
            axes.barh(row, high - low, left=low, height=0.6, color=color, alpha=0.35)
            axes.plot([value, value], [row - 0.3, row + 0.3], color=color, linewidth=2)
        axes.set_title(name)
        axes.grid(axis="y", visible=False)
        axes.use_sticky_edges = False  # a bar need not begin at the edge of the panel
        axes.margins(x=0.15)
        axes.xaxis.get_major_locator().set_params(nbins=4)
    panels[0].set_yticks(range(len(experiments)), [looks[e.name].label for e in experiments])
    panels[0].invert_yaxis()
    figure.supxlabel(_where(tasks, step), fontsize=8)
    return figure


def profiles(experiments: Sequence[Experiment]) -> Any:
    """The share of seeds above each normalised score."""
    tasks = common_tasks(experiments)
    table = performance_profiles(experiments, tasks)
    if not len(table):
        return None
    looks = style.looks(experiments)
    figure, axes = style.pyplot().subplots(figsize=(4.2, 3.0), layout="constrained")
    for experiment in experiments:
        rows, look = table[table.experiment == experiment.name], looks[experiment.name]
        curve = rows.set_index("score").rename(columns={"share": "mean"})
        draw_curve(axes, curve, look)
    reached = table.score[table.share > 0]
    axes.set(xlim=(0, reached.max() * 1.05 if len(reached) else 1), ylim=(-0.02, 1.02))
    axes.set_ylabel("share of seeds with a higher score")
    step = last_common_step(experiments, tasks)
    finish(figure, experiments, f"normalised score, {_where(tasks, step or 0)}")
    return figure


def improvement(experiments: Sequence[Experiment]) -> Any:
    """How probably a seed of one experiment is better than one of another."""
    tasks = common_tasks(experiments)
    table = improvements(experiments, tasks)
    if not len(table):
        return None
    looks = style.looks(experiments)
    names = [
        f"{looks[row['first']].label} > {looks[row['second']].label}" for _, row in table.iterrows()
    ]
    size = 3.4 + style.LETTER * max(map(len, names)), 0.9 + 0.3 * len(names)
    figure, axes = style.pyplot().subplots(figsize=size, layout="constrained")
    rows = np.arange(len(table))
    errors = [table.probability - table.low, table.high - table.probability]
    axes.errorbar(table.probability, rows, xerr=errors, fmt="o", color=style.BLUE, capsize=3)
    axes.axvline(0.5, color="0.4", linewidth=0.8, linestyle="--")
    axes.set_yticks(rows, names)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    step = last_common_step(experiments, tasks)
    axes.set_xlabel(f"probability of improvement, {_where(tasks, step or 0)}")
    return figure


def _where(tasks: Sequence[str], step: int) -> str:
    return f"{len(tasks)} task{'s' * (len(tasks) > 1)} at {style.steps_label(step)} env steps"

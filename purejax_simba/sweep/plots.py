"""Each hyperparameter against how good configurations with it were."""

from pathlib import Path
from typing import Any

import numpy as np

from purejax_simba import drawing
from purejax_simba.sweep.axes import Axis, are_numbers
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.lineage import Lineage
from purejax_simba.sweep.results import Results, Row, furthest

PLOTS_DIRECTORY = "plots"
_THIN: Any = {"linewidth": 0.6, "alpha": 0.4}
_MOST_TICKS = 8
_MOST_LETTERS = 40  # of labels that fit side by side


def draw_plots(results: Results, directory: Path) -> list[Path]:
    """Draws `plots/<name>.png` for every axis.

    On one task the score is the interquartile mean of the returns with its interval, on several
    the mean rank, of those that have one on all. Returns the files.
    """
    pyplot = drawing.pyplot()
    place = directory / PLOTS_DIRECTORY
    paths = []
    for axis in results.axes:
        figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
        _draw(axes, axis, results)
        path = place / f"{axis.name}.png"
        drawing.save(figure, path)
        paths.append(path)
    return paths


def draw_lineage(lineage: Lineage, sweep: Sweep) -> list[Path]:
    """Draws `plots/lineage.png`, and `plots/<name>.png` for every axis.

    Thin lines are members: from whose return each came to which, and what it had. Thick ones are
    the best of every population, with all that they came from. Returns the files.
    """
    pyplot = drawing.pyplot()
    steps, place = lineage.env_steps, sweep.directory / PLOTS_DIRECTORY
    figure, drawn = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for population, seed in enumerate(lineage.populations):
        color = f"C{population}"
        for begin, end, returns in zip(
            steps, steps[1:], lineage.returns_of_members(population), strict=False
        ):
            drawn.plot([begin, end], returns.T, color=color, **_THIN)
        best = lineage.returns_of_best(population)
        drawn.plot(steps, best, color=color, linewidth=2, label=f"best of seed {seed}")
    drawn.set(ylabel="return")
    figures = {"lineage": (figure, drawn)}
    for number, axis in enumerate(sweep.all_axes):
        figures[axis.name] = figure, drawn = pyplot.subplots(figsize=(6, 4), layout="constrained")
        for population, seed in enumerate(lineage.populations):
            values = lineage.values[..., population, number]
            look: Any = {"color": f"C{population}", "drawstyle": "steps-post"}
            drawn.plot(steps, values, **look, **_THIN)
            best = lineage.schedule(population)[:, number]
            drawn.plot(
                steps, [*best, *best[-1:]], **look, linewidth=2, label=f"best of seed {seed}"
            )
        drawn.set(ylabel=axis.name, yscale="log" if axis.is_wide else "linear")
    for name, (figure, drawn) in figures.items():
        drawn.set(xlabel=sweep.config.step_title)
        drawn.grid(alpha=0.3)
        drawn.legend()
        drawing.save(figure, place / f"{name}.png")
    return [place / f"{name}.png" for name in figures]


def _draw(axes: Any, axis: Axis, results: Results) -> None:
    rows = {row.name: row for row in results.rows}
    # What was trained, which for a value of "none" is the default of the task.
    values = {name: rows[name].values[axis.name] for name in sorted(rows)}
    if are_numbers(values.values()):
        positions = values
        distinct = sorted(set(values.values()))
        if axis.is_wide:
            axes.set_xscale("log")
        if axis.kind == "grid" and len(distinct) <= _MOST_TICKS:
            axes.set_xticks(distinct, [f"{value:g}" for value in distinct])
            axes.set_xticks([], minor=True)
    else:
        labels = list(dict.fromkeys(drawing.plain(value) for value in values.values()))
        positions = {n: labels.index(drawing.plain(value)) for n, value in values.items()}
        slanted = {"rotation": 30, "ha": "right"} if sum(map(len, labels)) > _MOST_LETTERS else {}
        axes.set_xticks(range(len(labels)), labels, **slanted)
    if len(results.tasks) > 1:
        axes.scatter([positions[n] for n in rows], results.mean_ranks([*rows.values()]))
        axes.set(ylabel=f"mean rank over {len(results.tasks)} tasks")
        axes.invert_yaxis()
    else:
        _draw_returns(axes, rows, positions)
        axes.set(ylabel="return, interquartile mean and 95% interval")
        axes.set(title=drawing.plain(results.tasks[0]))
    axes.set(xlabel=axis.name)
    axes.grid(alpha=0.3)


def _draw_returns(axes: Any, rows: dict[str, Row], positions: dict[str, float]) -> None:
    reached, where = furthest([*rows.values()])
    # Returns at an earlier step do not compare with those at the end.
    for stopped, color, label in ((False, "tab:blue", where), (True, "0.7", "stopped earlier")):
        chosen = [name for name in rows if (rows[name].score.reached < reached) == stopped]
        if not chosen:
            continue
        means = np.array([rows[name].score.mean for name in chosen])
        low, high = np.transpose([rows[name].score.interval() for name in chosen])
        errors = np.nan_to_num(np.maximum(0.0, [means - low, high - means]))
        xs = [positions[name] for name in chosen]
        axes.errorbar(xs, means, errors, fmt="o", color=color, capsize=3, alpha=0.8, label=label)
    axes.legend()

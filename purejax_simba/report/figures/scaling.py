"""What more computation, more updates and more parameters bring."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from purejax_simba.report import style
from purejax_simba.report.compute import (
    PUBLISHED,
    block_weights,
    compute_of,
    critic_weights,
    gflop_per_interaction,
)
from purejax_simba.report.figures.curves import grid, suite_title
from purejax_simba.report.methods import Estimate, Experiment, estimate, published_algorithm
from purejax_simba.report.published import published_returns
from purejax_simba.report.tables import common_tasks, last_common_step, suites_of

_RATIOS = {f"simbaV2_utd{ratio}": ratio for ratio in (1, 2, 4, 8)}
_WIDTHS = (128, 256, 512, 1024)
_AT_512 = {"simbaV2": "simbaV2_utd2", "simba": "simba_utd2"}
_NAMES = {"simbaV2": "SimbaV2", "simba": "SimBa", "simba_plus": "SimBa+"}
_LAST_STEP = 1_000_000


class _Point(NamedTuple):
    x: float
    score: Estimate


def compute(experiments: Sequence[Experiment]) -> Any:
    """Normalised mean against the operations of the updates per interaction."""
    tasks, step = scope(experiments)
    if not tasks:
        return None
    published = [
        (
            gflop_per_interaction(PUBLISHED, ratio),
            estimate(published_algorithm(name), tasks, step),
        )
        for name, ratio in _RATIOS.items()
    ]
    figure, axes = style.pyplot().subplots(figsize=(4.2, 3.0), layout="constrained")
    _line(axes, _known(published), style.BLUE, "SimbaV2, published (UTD 1, 2, 4, 8)")
    for experiment in experiments:
        _own_point(axes, experiment, experiments, compute_of(experiment.config), tasks, step)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(style.first_digits)
    _finish(axes, "GFLOP in residual blocks per interaction", tasks, step)
    return figure


def update_to_data(experiments: Sequence[Experiment]) -> Any:
    """Normalised mean against the update-to-data ratio, a panel per suite."""
    tasks, step = scope(experiments)
    suites = suites_of(tasks)
    if not suites:
        return None
    figure, panels = grid(len(suites), width=2.4, height=2.0)
    for (name, members), axes in zip(suites.items(), panels, strict=True):
        points = [
            (ratio, estimate(published_algorithm(algorithm), members, step))
            for algorithm, ratio in _RATIOS.items()
        ]
        _line(axes, _known(points), style.BLUE, "SimbaV2, published")
        for experiment in experiments:
            own = experiment.config.get("update_to_data_ratio")
            _own_point(axes, experiment, experiments, own, members, step)
        axes.set_xscale("log", base=2)
        _plain_ticks(axes, [ratio for ratio, _ in points])
        axes.set_title(suite_title(name, members))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    figure.supxlabel(f"update-to-data ratio; at {style.steps_label(step)} env steps", fontsize=8)
    figure.supylabel("normalised score, mean over tasks", fontsize=8)
    return figure


def parameters(experiments: Sequence[Experiment]) -> Any:
    """Normalised mean against the size of the critic.

    Published are widths of 128 to 1024 on some of the hard tasks: without experiments the figure is
    of the DMC ones among them, which all three agents have.
    """
    widest = published_algorithm("simba_plus_cwidth1024").tasks
    tasks, step = scope(experiments) if experiments else (sorted(widest), _LAST_STEP)
    if not tasks:
        return None
    figure, axes = style.pyplot().subplots(figsize=(4.2, 3.0), layout="constrained")
    for kind, name in _NAMES.items():
        points = []
        for width in _WIDTHS:
            known = _AT_512.get(kind) if width == 512 else f"{kind}_cwidth{width}"
            if known:
                score = estimate(published_algorithm(known), tasks, step)
                points.append((block_weights(width, 2) / 1e6, score))
        _line(axes, _known(points), style.published_color(kind), f"{name}, published")
    for experiment in experiments:
        weights = critic_weights(experiment.config)
        size = weights / 1e6 if weights else None
        _own_point(axes, experiment, experiments, size, tasks, step)
    axes.set_xscale("log")
    _plain_ticks(axes, [round(block_weights(width, 2) / 1e6, 2) for width in _WIDTHS])
    _finish(axes, "weights in the blocks of a critic, millions", tasks, step)
    return figure


def scope(experiments: Sequence[Experiment]) -> tuple[list[str], int]:
    """Tasks and the env step at which to compare; all of the benchmark without experiments."""
    if not experiments:
        return sorted(published_returns().task.unique()), _LAST_STEP
    tasks = common_tasks(experiments)
    step = last_common_step(experiments, tasks)
    if step is None:
        return [], 0
    # What is published at the last step that was published by then can be compared.
    known = [s for s in published_returns().env_step.unique() if 0 < s <= step]
    common = set.intersection(*(set(experiment.steps(tasks)) for experiment in experiments))
    return tasks, max(common & set(known), default=step)


def _known(points: Sequence[tuple[float, Estimate | None]]) -> list[_Point]:
    return [_Point(x, score) for x, score in points if score is not None]


def _line(axes: Any, points: Sequence[_Point], color: str, label: str) -> None:
    if points:
        _draw(axes, points, color, "o", label, linestyle="-")


def _own_point(
    axes: Any,
    experiment: Experiment,
    experiments: Sequence[Experiment],
    x: float | None,
    tasks: Sequence[str],
    step: int,
) -> None:
    score = estimate(experiment, tasks, step)
    if x is None or score is None:
        return
    look = style.looks(experiments)[experiment.name]
    _draw(axes, [_Point(x, score)], look.color, look.marker, look.label, linestyle="none", size=6)


def _draw(
    axes: Any,
    points: Sequence[_Point],
    color: str,
    marker: str,
    label: str,
    linestyle: str,
    size: float = 4,
) -> None:
    values = [point.score.value for point in points]
    axes.errorbar(
        [point.x for point in points],
        values,
        yerr=[
            [max(0.0, p.score.value - p.score.low) for p in points],
            [max(0.0, p.score.high - p.score.value) for p in points],
        ],
        color=color,
        marker=marker,
        markersize=size,
        markeredgecolor="white",
        markeredgewidth=0.5,
        linestyle=linestyle,
        capsize=2,
        label=label,
    )


def _plain_ticks(axes: Any, values: Sequence[float]) -> None:
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.set_xticks([], minor=True)


def _finish(axes: Any, xlabel: str, tasks: Sequence[str], step: int) -> None:
    many = f"{len(tasks)} tasks" if len(tasks) > 1 else tasks[0]
    axes.set(xlabel=xlabel, ylabel=f"normalised score, {many}, {style.steps_label(step)} steps")
    axes.legend()

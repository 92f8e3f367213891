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
from purejax_simba.report.methods import (
    Estimate,
    Experiment,
    estimate,
    is_ambiguous,
    published_algorithm,
)
from purejax_simba.report.published import LAST_STEP, normalization_scores
from purejax_simba.report.tables import common_tasks, last_common_step, suites_of

_RATIOS = (1, 2, 4, 8)
# With resets the paper has its twelve hardest tasks.
_MAIN, _WITH_RESETS = "simbaV2_utd2", "simbaV2_utd2_reset"
_WIDTHS = (128, 256, 512, 1024)
_AT_512 = {"simbaV2": _MAIN, "simba": "simba_utd2"}
_FAMILIES = {"simbaV2": "SimbaV2", "simba": "SimBa"}
_NAMES = _FAMILIES | {"simba_plus": "SimBa+"}


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
            estimate(published_algorithm(f"simbaV2_utd{ratio}"), tasks, step),
        )
        for ratio in _RATIOS
    ]
    figure, axes = style.pyplot().subplots(figsize=(4.2, 3.0), layout="constrained")
    _points(axes, _known(published), style.BLUE, "SimbaV2, published (UTD 1, 2, 4, 8)")
    for experiment in experiments:
        _own_point(axes, experiment, experiments, compute_of(experiment.config), tasks, step)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(style.first_digits)
    _finish(axes, "GFLOP in residual blocks per interaction", tasks, step)
    return figure


def update_to_data(experiments: Sequence[Experiment]) -> Any:
    """Normalised mean against the update-to-data ratio, a panel per suite.

    Without experiments there is a panel of the tasks that were published with resets as well.
    """
    tasks, step = scope(experiments)
    suites = suites_of(tasks)
    if not suites:
        return None
    if not experiments:
        suites["resets"] = sorted(published_algorithm(_WITH_RESETS).tasks)
    figure, panels = grid(len(suites), width=2.4, height=2.0)
    for (name, members), axes in zip(suites.items(), panels, strict=True):
        at = members, step
        for family, agent in _FAMILIES.items():
            for ending, words in {"": "", "_reset": " with resets"}.items():
                points = [
                    (ratio, estimate(published_algorithm(f"{family}_utd{ratio}{ending}"), *at))
                    for ratio in _RATIOS
                ]
                color, marker = style.published_color(family), "s" if ending else "o"
                _points(axes, _known(points), color, f"{agent}{words}, published", marker)
        for experiment in experiments:
            own = experiment.config.get("update_to_data_ratio")
            _own_point(axes, experiment, experiments, own, members, step)
        axes.set_xscale("log", base=2)
        _plain_ticks(axes, _RATIOS)
        axes.set_title(suite_title(name, members))
    handles: dict[str, Any] = {}
    for axes in panels:
        found, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, found, strict=True))
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=2)
    words = f"updates per interaction, at {style.steps_label(step)} env steps"
    if any(is_ambiguous(task) for task in tasks):
        words += "; what published names count on MuJoCo is unknown"
    figure.supxlabel(words, fontsize=8)
    figure.supylabel("normalised score, mean over tasks", fontsize=8)
    return figure


def parameters(experiments: Sequence[Experiment]) -> Any:
    """Normalised mean against the size of the critic.

    Published are widths of 128 to 1024 on some of the hard tasks: without experiments the figure is
    of the DMC ones among them, which all three agents have.
    """
    widest = published_algorithm("simba_plus_cwidth1024").tasks
    tasks, step = scope(experiments) if experiments else (sorted(widest), LAST_STEP)
    if not tasks:
        return None
    figure, axes = style.pyplot().subplots(figsize=(4.2, 3.0), layout="constrained")
    for kind, name in _NAMES.items():
        points = []
        for width in _WIDTHS:
            known = f"{kind}_cwidth{width}"
            if width == 512:
                known = _AT_512.get(kind, known)
            score = estimate(published_algorithm(known), tasks, step)
            points.append((block_weights(width, 2) / 1e6, score))
        _points(axes, _known(points), style.published_color(kind), f"{name}, published")
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
        return sorted(normalization_scores().index), LAST_STEP
    tasks = common_tasks(experiments)
    step = last_common_step(experiments, tasks)
    if step is None:
        return [], 0
    # What is published at the last step that was published by then can be compared.
    known = [s for s in published_algorithm(_MAIN).aggregate(tasks).index if 0 < s <= step]
    common = set.intersection(*(set(experiment.steps(tasks)) for experiment in experiments))
    return tasks, max(common & set(known), default=step)


def _known(points: Sequence[tuple[float, Estimate | None]]) -> list[_Point]:
    return [_Point(x, score) for x, score in points if score is not None]


def _points(axes: Any, points: Sequence[_Point], color: str, label: str, marker: str = "o") -> None:
    if points:
        _draw(axes, points, color, marker, label)


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
    _draw(axes, [_Point(x, score)], look.color, look.marker, look.label, size=6)


def _draw(
    axes: Any,
    points: Sequence[_Point],
    color: str,
    marker: str,
    label: str,
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
        linestyle="none",
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

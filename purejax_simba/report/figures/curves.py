"""Learning curves: a panel per task, and normalised means, a panel per suite."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from purejax_simba.report import style
from purejax_simba.report.methods import (
    BASELINES,
    Experiment,
    Method,
    Published,
    common_counterparts,
    counterparts,
    published_algorithm,
)
from purejax_simba.report.published import (
    LAST_STEP,
    SUCCESS,
    normalization_scores,
    normalized_metric,
)
from purejax_simba.report.tables import common_tasks, suites_of

# Inches: the narrowest figure, and of a legend a line and what is beside a label.
_NARROWEST, _LEGEND_LINE, _LEGEND_SAMPLE = 4.2, 0.18, 0.6
_MOST_POINTS = 25
_MISSING = "missing"
_CIRCLES: Any = {"linestyle": "none", "marker": "o", "markersize": 4, "markerfacecolor": "none"}
_SUITE_TITLES = {
    "mujoco": "MuJoCo",
    "dmc_easy_medium": "DMC, easy and medium",
    "dmc_hard": "DMC, hard",
    "myosuite": "MyoSuite",
    "humanoid_bench": "HumanoidBench",
    "all": "all",
    "resets": "hardest",
}


def learning_curves(experiments: Sequence[Experiment], given: Sequence[Published] = ()) -> Any:
    """Return, or success rate in MyoSuite, over env steps: the mean over seeds and its interval.

    Behind each experiment its published counterparts, and those `given`. Without experiments: the
    published ones on all tasks.
    """
    tasks = _tasks(experiments)
    of_task = {task: behind(experiments, task, given) for task in tasks}
    known = {method.name: method for found in of_task.values() for method in found}
    methods: list[Method] = [*known.values(), *experiments]
    figure, panels = grid(len(tasks), width=2.1, height=1.7)
    for task, axes in zip(tasks, panels, strict=True):
        names = {method.name for method in of_task[task]} | {e.name for e in experiments}
        curves = {m.name: _curve(m, task) if m.name in names else pd.DataFrame() for m in methods}
        draw_curves(axes, methods, curves)
        axes.set_title(task.removeprefix("humanoid_bench/").removeprefix("myosuite/"))
    measures = {normalized_metric(task) for task in tasks}
    word = "success rate" if measures == {SUCCESS} else "return"
    figure.supylabel(f"{word}, success rate in MyoSuite" if len(measures) > 1 else word, fontsize=8)
    finish(figure, methods)
    return figure


def aggregate_curves(experiments: Sequence[Experiment], given: Sequence[Published] = ()) -> Any:
    """Normalised mean over the tasks of each suite, and over all, over env steps.

    Every panel averages the tasks that all experiments have, and shows the published baselines and
    the experiments' counterparts where they were run on all of these.
    """
    tasks = common_tasks(experiments) if experiments else _tasks(())
    suites = suites_of(tasks)
    if not suites:
        return None
    fitting = {name: _common(experiments, members) for name, members in suites.items()}
    known = _distinct([*baselines(given), *(m for found in fitting.values() for m in found)])
    methods: list[Method] = [*known, *experiments]
    figure, panels = grid(len(suites), width=2.4, height=2.0)
    for (name, members), axes in zip(suites.items(), panels, strict=True):
        draw_curves(axes, methods, {m.name: _aggregate(m, members) for m in methods})
        axes.set_title(suite_title(name, members))
    figure.supylabel("normalised score, mean over tasks", fontsize=8)
    finish(figure, methods)
    return figure


def suite_title(name: str, tasks: Sequence[str]) -> str:
    """A suite for people, with the number of its tasks that count."""
    return f"{_SUITE_TITLES[name]} ({len(tasks)} task{'s' * (len(tasks) > 1)})"


def behind(
    experiments: Sequence[Experiment], task: str, given: Sequence[Published] = ()
) -> list[Published]:
    """The published algorithms to show behind experiments on a task; without any the baselines.

    `given` are others to show; they take the place of those with the same names.
    """
    if not experiments:
        return [method for method in baselines(given) if task in method.tasks]
    runs = [experiment.runs[task] for experiment in experiments if task in experiment.tasks]
    found = [method for run in runs for method in counterparts(run)]
    return _distinct([*found, *(method for method in given if task in method.tasks)])


def baselines(given: Sequence[Published] = ()) -> list[Published]:
    """The published algorithms to show where they are not matched with experiments."""
    return _distinct([*map(published_algorithm, BASELINES), *given])


def _common(experiments: Sequence[Experiment], tasks: Sequence[str]) -> list[Published]:
    return [m for experiment in experiments for m in common_counterparts(experiment, tasks)]


def _distinct(methods: Sequence[Published]) -> list[Published]:
    return list({method.name: method for method in methods}.values())


def draw_curves(axes: Any, methods: Sequence[Method], curves: dict[str, pd.DataFrame]) -> None:
    """Draws a line and a band for every method with a curve, points for published ones."""
    looks = style.looks(methods)
    last = max((curve.index.max() for curve in _ours(methods, curves)), default=LAST_STEP)
    shown = last
    for method in methods:
        curve, look = curves[method.name], looks[method.name]
        if not len(curve):
            continue
        if isinstance(method, Experiment):
            draw_curve(axes, curve, look)
            continue
        curve = up_to(curve, last)
        shown = max(shown, curve.index.max())
        _draw_points(axes, curve, look)
    axes.set_xlim(-0.02 * shown, 1.03 * shown)
    axes.xaxis.set_major_formatter(style.steps_label)
    axes.xaxis.get_major_locator().set_params(nbins=4)


def up_to(curve: pd.DataFrame, last: int) -> pd.DataFrame:
    """The published points up to an env step, and one more if none of those was trained.

    Of very many only some, with the last one.
    """
    beyond = [step for step in curve.index if step > last]
    trained = [step for step in curve.index if 0 < step <= last]
    shown = curve[curve.index <= (last if trained else min(beyond, default=last))]
    every = -(-len(shown) // _MOST_POINTS)
    return shown.iloc[::-every][::-1]


def draw_curve(axes: Any, curve: pd.DataFrame, look: style.Look) -> None:
    """Draws `Method.curve` as a line and a band; circles are means that miss seeds."""
    axes.fill_between(curve.index, curve.low, curve.high, color=look.color, alpha=0.18, linewidth=0)
    axes.plot(
        curve.index,
        curve["mean"],
        color=look.color,
        linestyle=look.dash,
        marker=look.marker if len(curve) < 3 else None,
        markersize=2.5,
    )
    if "missing" in curve and curve.missing.any():
        fewer = curve[curve.missing > 0]
        axes.plot(fewer.index, fewer["mean"], color=look.color, gid=_MISSING, **_CIRCLES)


def _draw_points(axes: Any, curve: pd.DataFrame, look: style.Look) -> None:
    # What lies between two points is not known: no line.
    axes.errorbar(
        curve.index,
        curve["mean"],
        yerr=[curve["mean"] - curve.low, curve.high - curve["mean"]],
        color=look.color,
        linestyle="none",
        marker=look.marker,
        markersize=3,
        elinewidth=0.7,
        zorder=3,
    )


def _ours(methods: Sequence[Method], curves: dict[str, pd.DataFrame]) -> list[pd.DataFrame]:
    ours = [curves[method.name] for method in methods if isinstance(method, Experiment)]
    return [curve for curve in ours if len(curve)]


def grid(count: int, width: float, height: float) -> tuple[Any, list[Any]]:
    """A figure with so many panels, each of a size in inches; returns it and the panels."""
    columns = count if count <= 4 else 3 if count <= 6 else 4 if count <= 16 else 8
    rows = -(-count // columns)
    figure, panels = style.pyplot().subplots(
        rows,
        columns,
        figsize=(max(columns * width + 0.3, _NARROWEST), rows * height + 0.6),
        squeeze=False,
        layout="constrained",
    )
    for unused in panels.flat[count:]:
        unused.remove()
    return figure, list(panels.flat[:count])


def finish(figure: Any, methods: Sequence[Method], xlabel: str = "environment steps") -> None:
    """Labels the common axis and puts one legend above all panels."""
    from matplotlib.lines import Line2D

    looks = style.looks(methods)
    handles: list[Line2D] = []
    for method in methods:
        look, is_published = looks[method.name], not isinstance(method, Experiment)
        handles.append(
            Line2D(
                [],
                [],
                color=look.color,
                linestyle="none" if is_published else look.dash,
                marker=look.marker if is_published else None,
                markersize=4,
                label=look.label,
            )
        )
    if figure.findobj(lambda artist: artist.get_gid() == _MISSING):
        handles.append(Line2D([], [], color="black", label="some seeds missing", **_CIRCLES))
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    width = _LEGEND_SAMPLE + style.LETTER * longest
    columns = min(max(1, int(figure.get_figwidth() // width)), len(handles))
    figure.set_figheight(figure.get_figheight() + _LEGEND_LINE * (-(-len(handles) // columns) - 1))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns)
    figure.supxlabel(xlabel, fontsize=8)


def _tasks(experiments: Sequence[Experiment]) -> list[str]:
    if experiments:
        return sorted(set.union(*(experiment.tasks for experiment in experiments)))
    return sorted(normalization_scores().index)


def _curve(method: Method, task: str) -> pd.DataFrame:
    return method.curve(task) if task in method.tasks else pd.DataFrame()


def _aggregate(method: Method, tasks: Sequence[str]) -> pd.DataFrame:
    return method.aggregate(tasks) if set(tasks) <= method.tasks else pd.DataFrame()

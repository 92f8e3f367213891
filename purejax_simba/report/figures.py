"""The paper's kinds of figure, from any set of runs and the published results alike.

Each function makes a figure, or none where there is nothing to draw. Without runs of ours the
published results are shown, on all tasks.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd

from purejax_simba import aggregates
from purejax_simba.config import step_title
from purejax_simba.report import scaling
from purejax_simba.report.charts import BOTH, Figure, Panel, Series
from purejax_simba.report.methods import Experiment, Method, Methods, common_counterparts, distinct
from purejax_simba.report.published import LAST_STEP, RETURN, SUCCESS, normalized_metric, suites_of
from purejax_simba.report.sessions import wall_seconds
from purejax_simba.report.style import Look, looks
from purejax_simba.report.tables import RESAMPLES, STATISTICS, performance_profile, summaries

_MOST_POINTS = 25
_MOST_IN_PAIRS = 8
# Panels (a) to (e) of the paper's figure 4: title and the end of the metric's name.
_NORMS = {
    "return": RETURN,
    "feature norm": "weighted_feature_norm",
    "parameter norm": "weighted_parameter_norm",
    "gradient norm": "weighted_gradient_norm",
    "effective learning rate": "effective_learning_rate",
}
_NETWORKS = ("critic", "actor")
_UNITS = {"hours": 3600, "minutes": 60}


def learning_curves(methods: Methods, with_seeds: bool = False) -> Figure:
    """Return, or success rate in MyoSuite, over env steps: the mean over seeds and its interval.

    Behind each experiment its published counterparts, and those that were given.
    """
    behind = {task: methods.behind(task) for task in methods.tasks}
    published = distinct([method for found in behind.values() for method in found])
    look = looks([*published, *methods.ours])
    panels = []
    for task in methods.tasks:
        shown: list[Method] = [*behind[task], *(e for e in methods.ours if task in e.tasks)]
        curves = {method: method.curve(task) for method in shown}
        title = task.removeprefix("humanoid_bench/").removeprefix("myosuite/")
        series = _series(curves, look, task if with_seeds else "")
        panels.append(Panel(title, series, steps_title(methods)))
    measures = {normalized_metric(task) for task in methods.tasks}
    word = "success rate" if measures == {SUCCESS} else "return"
    y = f"{word}, success rate in MyoSuite" if len(measures) > 1 else word
    return Figure(panels, y, size=(2.1, 1.7))


def wall_time(methods: Methods) -> Figure | None:
    """The learning curves of our runs over the time that all seeds of a run took together."""
    look = looks(methods.ours)
    of_runs = {(e, task): wall_seconds(run) for e in methods.ours for task, run in e.runs.items()}
    longest = max((seconds.max() for seconds in of_runs.values() if len(seconds)), default=0.0)
    unit, size = next((u for u in _UNITS.items() if longest >= 2 * u[1]), ("seconds", 1))
    panels = []
    for task in methods.tasks:
        series = []
        for experiment in methods.ours:
            seconds = of_runs.get((experiment, task), pd.Series(dtype=float))
            curve = experiment.curve(task)
            curve = curve[curve.index.isin(seconds.index)]
            passed = seconds.reindex(curve.index) / size
            if len(curve):
                series.append(Series(look[experiment], curve.set_axis(passed.to_numpy()), True))
        if series:
            panels.append(Panel(task, series, x=f"wall time, {unit}"))
    return Figure(panels, "return or success rate", size=(2.1, 1.7)) if panels else None


def aggregate_curves(methods: Methods) -> Figure | None:
    """Normalised mean over the tasks of each suite, and over all, over env steps.

    Every panel averages the tasks that all experiments have, and shows the published baselines and
    the experiments' counterparts where they were run on all of these.
    """
    suites = suites_of(methods.common_tasks)
    fitting = [
        other
        for experiment in methods.ours
        for tasks in suites.values()
        for other in common_counterparts(experiment, tasks)
    ]
    shown: list[Method] = [*distinct([*methods.baselines(), *fitting]), *methods.ours]
    look = looks(shown)
    panels = []
    for name, tasks in suites.items():
        curves = {method: method.aggregate(tasks) for method in shown}
        title = scaling.suite_title(name, tasks)
        panels.append(Panel(title, _series(curves, look), steps_title(methods)))
    y = "normalised score, mean over tasks"
    return Figure(panels, y, size=(2.4, 2.0)) if panels else None


def steps_title(methods: Methods) -> str:
    """What ours count, as the title of an axis."""
    return BOTH if methods.are_mixed else step_title(methods.are_offline)


def _series(
    curves: dict[Method, pd.DataFrame], look: dict[Method, Look], task_of_seeds: str = ""
) -> list[Series]:
    """A line for every experiment; points of published means as far as these go."""
    ours = [c for method, c in curves.items() if isinstance(method, Experiment) and len(c)]
    last = max((curve.index.max() for curve in ours), default=LAST_STEP)
    found = []
    for method, curve in curves.items():
        if isinstance(method, Experiment):
            metric = normalized_metric(task_of_seeds)
            thin = None
            if task_of_seeds:
                thin = method.runs[task_of_seeds].table(metric).add_prefix("seed ")
            found.append(Series(look[method], curve, True, thin))
        else:  # what lies between two points is not known: no line
            found.append(Series(look[method], up_to(curve, last)))
    return [series for series in found if len(series.curve)]


def up_to(curve: pd.DataFrame, last: int) -> pd.DataFrame:
    """The published points up to an env step, and one more if none of those was trained.

    Of very many only some, with the last one.
    """
    trained = any(0 < step <= last for step in curve.index)
    beyond = curve.index[curve.index > last]
    shown = curve[curve.index <= (last if trained else min(beyond, default=last))]
    every = -(-len(shown) // _MOST_POINTS) or 1
    return shown.iloc[::-every][::-1]


def aggregate_scores(methods: Methods) -> Figure | None:
    """Interquartile mean, median, mean and optimality gap over the tasks that all have."""
    tasks, step = methods.common_tasks, methods.last_step
    if step is None:
        return None
    look = looks(methods.ours)
    found = {e: (summaries(e.scores(tasks, step)), e.missing(tasks, step)) for e in methods.ours}
    panels = [
        Panel(
            statistic,
            [
                Series(
                    look[e], scaling.point(0.0, *map(float, summary[statistic]), missing=missing)
                )
                for e, (summary, missing) in found.items()
            ],
            x=f"normalised score, {scaling.where(tasks, step, methods.step_name)}",
            are_rows=True,
        )
        for statistic in STATISTICS
    ]
    return Figure(panels, size=(1.7, 0.3 + 0.28 * len(methods.ours)))


def performance_profiles(methods: Methods) -> Figure | None:
    """The share of seeds above each normalised score, where all were evaluated."""
    tasks, step = methods.common_tasks, methods.last_step
    if step is None:
        return None
    look = looks(methods.ours)
    series = []
    for e in methods.ours:
        curve = performance_profile(e.scores(tasks, step), e.missing(tasks, step))
        series.append(Series(look[e], curve, True))
    reached = max((s.curve.index[s.curve["mean"] > 0].max() for s in series), default=1.0)
    x = f"normalised score, {scaling.where(tasks, step, methods.step_name)}"
    panel = Panel("", series, x, limits=(0.0, 1.05 * reached if reached > 0 else 1.0))
    return Figure([panel], "share of seeds with a higher score")


def probability_of_improvement(methods: Methods) -> Figure | None:
    """How probably a seed of one experiment is better than one of another.

    Of all pairs; where there are many experiments, of the best with each of the others.
    """
    tasks, step, look = methods.common_tasks, methods.last_step, looks(methods.ours)
    if step is None or len(methods.ours) < 2:
        return None
    pairs = [*itertools.combinations(methods.ours, 2)]
    if len(methods.ours) > _MOST_IN_PAIRS:
        best = max(methods.ours, key=lambda e: aggregates.mean(e.scores(tasks, step)))
        pairs = [(best, other) for other in methods.ours if other is not best]
    series = []
    for first, second in pairs:
        scores = first.scores(tasks, step), second.scores(tasks, step)
        interval = aggregates.improvement_interval(*scores, RESAMPLES)
        value = aggregates.probability_of_improvement(*scores)
        label = f"{look[first].label} > {look[second].label}"
        missing = first.missing(tasks, step) + second.missing(tasks, step)
        curve = scaling.point(0.0, *map(float, (value, *interval)), missing=missing)
        series.append(Series(look[first]._replace(label=label), curve))
    x = f"probability of improvement, {scaling.where(tasks, step, methods.step_name)}"
    panel = Panel("", series, x, are_rows=True, limits=(-0.02, 1.02), reference=0.5)
    return Figure([panel], size=(3.2, 0.3 + 0.3 * len(series)))


def norms(methods: Methods) -> Figure | None:
    """Return, norms and effective learning rate over training, the paper's analysis of stability.

    A row of panels for each task and network with diagnostics; a line per experiment.
    """
    look = looks(methods.ours)
    panels: list[Panel] = []
    for task, network in itertools.product(methods.tasks, _NETWORKS):
        line = []
        for title, end in _NORMS.items():
            metric = end if end == RETURN else f"{network}/{end}"
            curves = {e: e.curve(task, metric) for e in methods.ours}
            series = [Series(look[e], c, True) for e, c in curves.items() if len(c)]
            scale = "linear" if end == RETURN else _scale(series)
            title = "" if panels else title
            line.append(Panel(title, series, steps_title(methods), scale=scale))
        if any(panel.series for panel in line[1:]):
            panels += [replace(line[0], y=f"{task}\n{network}"), *line[1:]]
    return Figure(panels, size=(1.75, 1.7), columns=len(_NORMS)) if panels else None


def _scale(series: Sequence[Series]) -> str:
    """From 0, so that what is constant looks so; logarithmic where values differ tenfold."""
    bounds = [s.curve[["mean", "low", "high"]].astype(float) for s in series if len(s.curve)]
    low = min((frame.min().min() for frame in bounds), default=0.0)
    high = max((frame.max().max() for frame in bounds), default=0.0)
    if 0 < 10 * low < high:
        return "log"
    return "zero" if low >= 0 and high > 0 else "linear"


FIGURES: dict[str, Callable[[Methods], Figure | None]] = {
    "learning_curves": learning_curves,
    "wall_time": wall_time,
    "aggregate_curves": aggregate_curves,
    "aggregate_scores": aggregate_scores,
    "performance_profiles": performance_profiles,
    "probability_of_improvement": probability_of_improvement,
    "scaling": scaling.scaling,
    "design_study": scaling.design_study,
    "norms": norms,
}

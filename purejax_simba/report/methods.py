"""Whatever has results on tasks: our experiments, seed by seed, and published algorithms, as means.

Both are asked the same questions, so that a figure need not know which is which. A curve is a frame
with a row per env step: `mean`, the bounds `low` and `high` of its 95% interval, NaN where there is
none, and `missing`, the number of seeds without a value.
"""

import functools
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm

import envs
from purejax_simba.aggregates import CONFIDENCE, bootstrap_interval, mean
from purejax_simba.report.published import (
    LAST_STEP,
    OTHER_SOURCE,
    algorithms,
    is_normalized,
    normalization_scores,
    normalize,
    normalized_metric,
    published_returns,
    suite,
)
from purejax_simba.report.reading import Collection, Run

SIMBA_V2 = "simbaV2_utd2"  # as published by default
CURVE_RESAMPLES = 1_000
_Z = float(norm.ppf(0.5 + CONFIDENCE / 2))
# Env steps that differ by no more count as the same: 999,960 is as near to 1,000,000 as whole
# evaluation intervals of 16,666 come.
_SAME_STEP = 1e-3
_CURVE = ["mean", "low", "high", "missing"]
_NO_CURVE = pd.DataFrame(columns=_CURVE, dtype=float)


class Experiment:
    """One of our experiments.

    Attributes:
      name: unique.
      runs: task -> run.
      config: of the first run.
      agent: its name in our configurations; empty if unknown.
    """

    def __init__(self, name: str, runs: Iterable[Run]):
        """`runs` are those of the experiment."""
        self.name = name
        self.runs = {run.task: run for run in runs}
        first = next(iter(self.runs.values()))
        self.config, self.agent = first.config, first.agent
        self._tables = {task: run.table(normalized_metric(task)) for task, run in self.runs.items()}

    @property
    def tasks(self) -> set[str]:
        """Ids of the tasks with results."""
        return {task for task, table in self._tables.items() if len(table)}

    @property
    def normalized_tasks(self) -> set[str]:
        """Those of which scores can be normalised, with episodes as long as the published."""
        known = filter(is_normalized, self.tasks)
        return {task for task in known if self.runs[task].has_published_episodes}

    def missing(self, tasks: Sequence[str], env_step: int) -> int:
        """How many seeds of these tasks have no score at an env step."""
        seeds = sum(self._tables[task].shape[1] for task in tasks)
        return seeds - sum(map(len, self.scores(tasks, env_step)))

    def scores(self, tasks: Sequence[str], env_step: int) -> list[np.ndarray]:
        """Normalised scores of the seeds at an env step, an array for each task that has any."""
        rows = {task: self._tables[task].reindex([env_step]).iloc[0].dropna() for task in tasks}
        return [normalize(task, row.to_numpy()) for task, row in rows.items() if len(row)]

    def steps(self, tasks: Sequence[str]) -> list[int]:
        """Env steps at which all these tasks were evaluated, each with one seed or more."""
        known = (set(self._tables[task].dropna(how="all").index) for task in tasks)
        return sorted(int(step) for step in set.intersection(*known))

    def curve(self, task: str, metric: str = "") -> pd.DataFrame:
        """Mean over seeds of a metric on a task; default: of what is normalised there."""
        if task not in self.runs:
            return _NO_CURVE
        table = self.runs[task].table(metric) if metric else self._tables[task]
        return _with_intervals([table])

    def aggregate(self, tasks: Sequence[str]) -> pd.DataFrame:
        """Normalised mean over tasks; `missing` is of all tasks.

        A row for every env step at which all these tasks were evaluated.
        """
        if not set(tasks) <= self.tasks:
            return _NO_CURVE
        steps = self.steps(tasks)
        tables = [normalize(task, self._tables[task].loc[steps]) for task in tasks]
        return _with_intervals(tables)


def _with_intervals(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The mean of the seeds that are there, at every env step; NaN where a task has none.

    Args:
      tables: a row per env step, the same in all, and a column per seed; NaN where a seed has
        diverged, or a value was not finite. One table per task.
    """
    values = [table.to_numpy(np.float64) for table in tables]
    known = ~np.isnan(np.concatenate(values, axis=1))
    curve = pd.DataFrame(np.nan, tables[0].index, _CURVE).assign(missing=(~known).sum(axis=1))
    # Steps that miss the same seeds are resampled together.
    for pattern in np.unique(known, axis=0):
        rows = (known == pattern).all(axis=1)
        scores = [of_task[rows][:, ~np.isnan(of_task[rows][0])] for of_task in values]
        if all(of_task.size for of_task in scores):
            interval = bootstrap_interval(scores, mean, CURVE_RESAMPLES)
            curve.loc[rows, ["mean", "low", "high"]] = np.stack([mean(scores), *interval], 1)
    return curve


class Published:
    """A published algorithm, of which means and standard deviations over seeds are known.

    Intervals are those of a normal distribution.

    Attributes:
      name: unique.
      source: what results of the same origin are called.
      label: for legends.
      agent: our name of it where we have it; else another, or none.
      tasks: ids of those with results.
    """

    def __init__(self, name: str, results: pd.DataFrame, source: str = OTHER_SOURCE):
        """`results` has the columns of `published.COLUMNS`, of this algorithm or more."""
        self.name, self.source = name, source
        known = algorithms().loc[name] if name in algorithms().index else pd.Series({"label": name})
        self.label = f"{known.label}, {source}"
        self.agent = str(known.get("family", ""))
        self._results = results[results.algorithm == name]
        self.tasks = set(self._results.task)

    def means(self, task: str, metric: str) -> pd.DataFrame:
        """`mean`, `std` and `seeds` of a metric on a task, a row per env step."""
        results = self._results
        chosen = results[(results.task == task) & (results.metric == metric)]
        return chosen.set_index("env_step").sort_index()[["mean", "std", "seeds"]]

    def curve(self, task: str) -> pd.DataFrame:
        """Mean over seeds of what is normalised on a task."""
        means = self.means(task, normalized_metric(task))
        return _normal(means["mean"], _Z * _standard_error(means))

    def aggregate(self, tasks: Sequence[str]) -> pd.DataFrame:
        """Normalised mean over tasks. Env steps are those of the task with the fewest."""
        if not set(tasks) <= self.tasks:
            return _NO_CURVE
        of_task = []
        for task in tasks:
            means = self.means(task, normalized_metric(task)).dropna(subset="mean")
            error = _standard_error(means) * (normalize(task, 1.0) - normalize(task, 0.0))
            score = normalize(task, means["mean"])
            of_task.append(pd.DataFrame({"score": score, "error": error}))
        if not all(map(len, of_task)):
            return _NO_CURVE
        steps = min((scores.index for scores in of_task), key=len)
        tolerance = np.maximum(1, _SAME_STEP * steps.to_numpy())
        near = pd.concat(
            [scores.reindex(steps, method="nearest", tolerance=tolerance) for scores in of_task]
        )
        known = near.dropna(subset="score").groupby(level=0)
        square = (near.error**2).groupby(level=0).sum(min_count=len(tasks))
        curve = _normal(known.score.mean(), _Z * np.sqrt(square) / len(tasks))
        return curve[known.size() == len(tasks)]


def _standard_error(means: pd.DataFrame) -> pd.Series:
    return means["std"] / np.sqrt(means.seeds.astype(float))


def _normal(means: pd.Series, error: pd.Series) -> pd.DataFrame:
    columns = {"mean": means, "low": means - error, "high": means + error}
    return pd.DataFrame(columns).assign(missing=0)


Method = Experiment | Published


class Methods:
    """All that is compared.

    Attributes:
      ours: our experiments, by name.
      given: algorithms in the result files with means that were given. Of those that come with the
        package only the baselines count: there are many variants.
      tasks: that any of ours has; all of the benchmark without ours.
      common_tasks: those that all of ours have, of which scores can be normalised; none where some
        of ours learned from datasets, whose steps are updates, and some in an environment.
      last_step: the last env step at which all of ours were evaluated on all of these; None if
        there is none.
      scope: the common tasks and the env step at which to compare them with what is published,
        which is the last one that was published by then; no tasks where nothing can be compared,
        as with datasets.
    """

    def __init__(self, collection: Collection):
        """Takes the runs and means of a collection."""
        names = sorted({run.experiment for run in collection.runs})
        self.ours = [
            Experiment(name, [run for run in collection.runs if run.experiment == name])
            for name in names
        ]
        packaged = algorithms().index[algorithms().baseline.isna()]
        others = dict.fromkeys(collection.published.algorithm)
        self.given = [Published(n, collection.published) for n in others if n not in packaged]
        benchmark = sorted(normalization_scores().index)
        if not self.ours:
            self.tasks = self.common_tasks = benchmark
            self.last_step: int | None = None
            self.scope = benchmark, LAST_STEP
            return
        self.tasks = sorted(set.union(*(experiment.tasks for experiment in self.ours)))
        common = set.intersection(*(experiment.normalized_tasks for experiment in self.ours))
        self.common_tasks = [] if self.are_mixed else sorted(common)
        of_ours = [set(e.steps(self.common_tasks)) for e in self.ours if self.common_tasks]
        steps = set.intersection(*of_ours) if of_ours else set()
        self.last_step = max(steps, default=None)
        if self.last_step is None or self.are_offline:
            self.scope = [], 0
            return
        curve = published_algorithm(SIMBA_V2).aggregate(self.common_tasks)
        known = {step for step in curve.index if step > 0}
        self.scope = self.common_tasks, max(steps & known, default=self.last_step)

    @property
    def _kinds(self) -> set[bool]:
        return {run.is_offline for experiment in self.ours for run in experiment.runs.values()}

    @property
    def are_offline(self) -> bool:
        """Whether all of ours learned from datasets."""
        return self._kinds == {True}

    @property
    def are_mixed(self) -> bool:
        """Whether some of ours learned from datasets, and some in an environment."""
        return len(self._kinds) > 1

    @property
    def step_name(self) -> str:
        """What a step of ours is."""
        return "updates" if self.are_offline else "env steps"

    def has_published_episodes(self, task: str) -> bool:
        """Whether ours on a task all have episodes as long as the published, if there are any."""
        runs = [experiment.runs[task] for experiment in self.ours if task in experiment.runs]
        return not is_normalized(task) or all(run.has_published_episodes for run in runs)

    def baselines(self) -> list[Published]:
        """The published algorithms to show where they are not matched with ours; none of them where
        ours learned from datasets, whose steps are updates.
        """
        if self.are_offline:
            return self.given
        names = algorithms().baseline.dropna().sort_values().index
        return distinct([*map(published_algorithm, names), *self.given])

    def behind(self, task: str) -> list[Published]:
        """The published algorithms to show behind ours on a task; without any the baselines."""
        if not self.ours:
            return [method for method in self.baselines() if task in method.tasks]
        runs = [experiment.runs[task] for experiment in self.ours if task in experiment.tasks]
        given = [method for method in self.given if task in method.tasks]
        return distinct([*(method for run in runs for method in counterparts(run)), *given])


def distinct(methods: Sequence[Published]) -> list[Published]:
    """Each name once, the last one of those with the same."""
    return list({method.name: method for method in methods}.values())


@functools.cache
def published_algorithm(name: str) -> Published:
    """A published algorithm by its name in the published files."""
    results = published_returns()
    (source,) = results.source[results.algorithm == name].unique()
    return Published(name, results, source)


def counterparts(run: Run) -> list[Published]:
    """Published results on the task of a run, of its agent with as many updates per env step.

    Network sizes, batches and the like may differ. None of what learned from a dataset, whose steps
    are updates, or in episodes of another length, whose returns are of another size.

    Files of SimBa and SimbaV2 are named after the updates per interaction, with the action repeat
    of the suite. On the MuJoCo suite, where an interaction is one env step and not two, it is not
    known whether their names count interactions as well or two env steps: `utd2` could be two
    updates per env step or one, and both candidates are returned.
    """
    ratio, repeat = run.config.get("update_to_data_ratio"), run.config.get("action_repeat")
    if not ratio or not repeat or run.is_offline or not run.has_published_episodes:
        return []
    known = algorithms()
    resets = run.config.get("agent.reset_env_steps") or run.config.get("agent.reset_updates")
    per_step = ratio / repeat
    fits = pd.Series(False, known.index)
    for steps in _steps_per_interaction(run.task):
        fits |= np.isclose(known.updates_per_interaction, steps * per_step)
    fits &= known.kind == ("resets" if resets else "updates")
    fits |= np.isclose(known.updates_per_env_step, per_step)
    found = map(published_algorithm, known.index[fits & (known.family == run.agent)])
    return [method for method in found if run.task in method.tasks]


def _steps_per_interaction(task: str) -> list[int]:
    """What published interactions on a task may be; none where none of these was published."""
    if is_ambiguous(task):
        return [1, 2]
    return [envs.spec(task).action_repeat] if is_normalized(task) else []


def is_ambiguous(task: str) -> bool:
    """Whether it is unknown what updates the names of published files count; see `counterparts`."""
    return suite(task) == "mujoco"


def common_counterparts(experiment: Experiment, tasks: Sequence[str]) -> list[Published]:
    """The `counterparts` that the runs on all these tasks have in common."""
    first, *others = ([*counterparts(experiment.runs[task])] for task in tasks)
    shared = set.intersection(*({m.name for m in found} for found in [first, *others]))
    return [method for method in first if method.name in shared]

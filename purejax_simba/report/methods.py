"""Whatever has results on tasks: our experiments, seed by seed, and published algorithms, as means.

Both are asked the same questions, so that a figure need not know which is which.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from scipy.stats import norm

from purejax_simba.aggregates import CONFIDENCE, Statistic, bootstrap_interval, mean
from purejax_simba.report.published import (
    SOURCES,
    mean_scores,
    normalize,
    normalized_metric,
    published_returns,
    suite,
)
from purejax_simba.report.reading import Collection, Run

_BESIDE_SIMBA_V2 = ("simbaV2_utd2", "simba_utd2", "bro_utd2", "tdmpc2", "mrq", "sac")
BASELINES = (*_BESIDE_SIMBA_V2, "flashsac_cpu", "xqc_cpu")
CURVE_RESAMPLES = 1_000
_Z = float(norm.ppf(0.5 + CONFIDENCE / 2))
# Env steps that differ by no more count as the same: 999,960 is as near to 1,000,000 as whole
# evaluation intervals of 16,666 come.
_SAME_STEP = 1e-3


_CURVE = ["mean", "low", "high", "missing"]


class Estimate(NamedTuple):
    """A number and its 95% interval; NaN where there is none."""

    value: float
    low: float
    high: float


class Method(Protocol):
    """An experiment or a published algorithm.

    Attributes:
      name: unique.
      agent: its name in our configurations; empty if it is none of ours.
    """

    name: str
    agent: str

    @property
    def tasks(self) -> set[str]:
        """Ids of the tasks with results."""

    def curve(self, task: str) -> pd.DataFrame:
        """Mean over seeds of what is normalised on a task, before it is normalised.

        Columns `mean`, `low` and `high`, and `missing`, the number of seeds without a value; a row
        per env step.
        """

    def aggregate(self, tasks: Sequence[str]) -> pd.DataFrame:
        """Normalised mean over tasks; columns as `curve`, `missing` is of all tasks.

        A row for every env step at which all these tasks were evaluated.
        """


class Experiment:
    """One of our experiments."""

    def __init__(self, name: str, runs: Iterable[Run]):
        """`runs` are those of the experiment."""
        self.name = name
        self.runs = {run.task: run for run in runs}
        self.config = next(iter(self.runs.values())).config
        self.agent = next(iter(self.runs.values())).agent
        self._tables = {task: run.table(normalized_metric(task)) for task, run in self.runs.items()}

    @property
    def tasks(self) -> set[str]:
        """See `Method`."""
        return {task for task, table in self._tables.items() if len(table)}

    def scores(self, tasks: Sequence[str], env_step: int) -> list[np.ndarray]:
        """Normalised scores of the seeds at an env step, an array for each task that has any."""
        found = []
        for task in tasks:
            table = self._tables[task]
            if env_step in table.index:
                found.append(normalize(task, table.loc[env_step].dropna().to_numpy()))
        return [values for values in found if len(values)]

    def steps(self, tasks: Sequence[str]) -> list[int]:
        """Env steps at which all these tasks were evaluated, each with one seed or more."""
        common = set.intersection(
            *(set(self._tables[task].dropna(how="all").index) for task in tasks)
        )
        return sorted(int(step) for step in common)

    def curve(self, task: str) -> pd.DataFrame:
        """See `Method`."""
        return with_intervals([self._tables[task]], mean)

    def aggregate(self, tasks: Sequence[str], statistic: Statistic = mean) -> pd.DataFrame:
        """See `Method`; `mean` is of another statistic if one is given."""
        steps = self.steps(tasks)
        tables = [normalize(task, self._tables[task].loc[steps]) for task in tasks]
        return with_intervals(tables, statistic)


def with_intervals(tables: Sequence[pd.DataFrame], statistic: Statistic) -> pd.DataFrame:
    """A statistic at every env step, columns as `Method.curve`.

    Args:
      tables: a row per env step, the same in all, and a column per seed; NaN where a seed has
        diverged, or a value was not finite. One table per task.
      statistic: of the seeds that are there; NaN where a task has none.
    """
    rows: dict[int, tuple[float, float, float, int]] = {}
    present = np.concatenate([table.notna().to_numpy() for table in tables], axis=1)
    patterns, group_of_row = np.unique(present, axis=0, return_inverse=True)
    for group, pattern in enumerate(patterns):
        chosen = np.flatnonzero(group_of_row == group)
        splits = np.split(pattern, np.cumsum([table.shape[1] for table in tables])[:-1])
        missing = int((~pattern).sum())
        if not all(split.any() for split in splits):
            unknown = (np.nan, np.nan, np.nan, missing)
            rows |= {int(tables[0].index[row]): unknown for row in chosen}
            continue
        scores = [
            table.to_numpy(np.float64)[chosen][:, split]
            for table, split in zip(tables, splits, strict=True)
        ]
        values = statistic(scores)
        low, high = bootstrap_interval(scores, statistic, CURVE_RESAMPLES)
        for index, row in enumerate(chosen):
            rows[int(tables[0].index[row])] = (values[index], low[index], high[index], missing)
    return pd.DataFrame.from_dict(rows, orient="index", columns=_CURVE).sort_index()


class Published:
    """A published algorithm, of which means and standard deviations over seeds are known.

    Intervals are those of a normal distribution.

    Attributes:
      source: what results of the same origin are called, as `published.Source.name`.
    """

    agent = ""

    def __init__(self, name: str, results: pd.DataFrame, source: str = SOURCES[0].name):
        """`results` has the columns of `published.COLUMNS`, of this algorithm or more."""
        self.name = name
        self.source = source
        self._results = results[results.algorithm == name]

    @property
    def tasks(self) -> set[str]:
        """See `Method`."""
        return set(self._results.task)

    def steps(self, task: str, metric: str) -> list[int]:
        """Env steps of which a metric on a task is known."""
        return self._rows(task, metric).env_step.tolist()

    def at(self, task: str, metric: str, env_step: int) -> pd.Series:
        """`mean`, `std` and `seeds` at one of these steps."""
        return self._rows(task, metric).set_index("env_step").loc[env_step]

    def _rows(self, task: str, metric: str) -> pd.DataFrame:
        results = self._results
        chosen = results[(results.task == task) & (results.metric == metric)]
        return chosen.sort_values("env_step")

    def curve(self, task: str) -> pd.DataFrame:
        """See `Method`."""
        rows = self._rows(task, normalized_metric(task)).set_index("env_step")
        error = _Z * rows["std"] / np.sqrt(rows.seeds.astype(float))
        low, high = rows["mean"] - error, rows["mean"] + error
        return pd.DataFrame({"mean": rows["mean"], "low": low, "high": high, "missing": 0})

    def aggregate(self, tasks: Sequence[str]) -> pd.DataFrame:
        """See `Method`. Env steps are those of the task with the fewest evaluations."""
        chosen = mean_scores(self._results[self._results.task.isin(list(tasks))])
        of_task = [scores.sort_values("env_step") for _, scores in chosen.groupby("task")]
        if len(of_task) < len(tasks):
            return pd.DataFrame(columns=_CURVE)
        steps = min((scores.env_step for scores in of_task), key=len).to_numpy()
        scores, errors, known = [], [], np.ones(len(steps), bool)
        for own in of_task:
            distances = np.abs(own.env_step.to_numpy() - steps[:, None])
            nearest = distances.argmin(axis=1)
            known &= distances.min(axis=1) <= np.maximum(1, _SAME_STEP * steps)
            scores.append(own.score.to_numpy()[nearest])
            errors.append(own.error.to_numpy()[nearest])
        value = np.mean(scores, axis=0)
        error = _Z * np.sqrt(np.square(errors).sum(axis=0)) / len(tasks)
        columns = {"mean": value, "low": value - error, "high": value + error, "missing": 0}
        return pd.DataFrame(columns, index=steps)[known]


def estimate(method: Method, tasks: Sequence[str], env_step: int) -> Estimate | None:
    """The normalised mean at an env step; None if not all tasks were evaluated then."""
    if not set(tasks) <= method.tasks:
        return None
    curve = method.aggregate(tasks)
    if env_step not in curve.index:
        return None
    return Estimate(*curve.loc[env_step, ["mean", "low", "high"]])


def experiments_of(collection: Collection) -> list[Experiment]:
    """The experiments of a collection, by name."""
    return [
        Experiment(name, [run for run in collection.runs if run.experiment == name])
        for name in collection.experiments
    ]


@functools.cache
def published_algorithm(name: str) -> Published:
    """A published algorithm by its name in the published files."""
    results = published_returns()
    (source,) = results.source[results.algorithm == name].unique()
    return Published(name, results, source)


def given_algorithms(collection: Collection) -> list[Published]:
    """Algorithms in the result files with means that were given.

    Of those that come with the package only the baselines count: there are many variants.
    """
    packaged = _published_names() - set(BASELINES)
    names = dict.fromkeys(collection.published.algorithm)
    return [Published(name, collection.published) for name in names if name not in packaged]


# Agents whose published runs differ in updates per interaction, and what those files begin with.
_PER_INTERACTION = {"simba_v2": "simbaV2", "simba": "simba"}
# Agent -> updates per env step -> file.
_PER_ENV_STEP = {
    "bro": {2.0: "bro_utd2", 10.0: "bro_utd10"},
    "sac": {1.0: "sac"},
    "crossq": {1.0: "crossq"},
    "redq": {20.0: "redq_utd20"},
    "droq": {20.0: "droq_utd20"},
}


def counterparts(run: Run) -> list[Published]:
    """Published results on the task of a run, of its agent with as many updates.

    Network sizes, batches and the like may differ. Files of SimBa and SimbaV2 are named after the
    updates per interaction. On the MuJoCo suite, where an interaction is one env step and not two,
    it is not known whether their names count interactions as well or two env steps: `utd2` could be
    two updates per env step or one, and both candidates are returned.
    """
    ratio, repeat = run.config.get("update_to_data_ratio"), run.config.get("action_repeat")
    if not ratio or not repeat:
        return []
    if run.agent in _PER_INTERACTION:
        resets = run.config.get("agent.reset_env_steps") or run.config.get("agent.reset_updates")
        names = [
            f"{_PER_INTERACTION[run.agent]}_utd{named:g}{'_reset' if resets else ''}"
            for named in ([ratio, 2 * ratio] if is_ambiguous(run.task) else [ratio])
        ]
    else:
        name = _PER_ENV_STEP.get(run.agent, {}).get(ratio / repeat)
        names = [name] if name else []
    found = [published_algorithm(name) for name in names if name in _published_names()]
    return [method for method in found if run.task in method.tasks]


@functools.cache
def _published_names() -> frozenset[str]:
    return frozenset(published_returns().algorithm)


def is_ambiguous(task: str) -> bool:
    """Whether it is unknown what updates the names of published files count; see `counterparts`."""
    return suite(task) == "mujoco"


def common_counterparts(experiment: Experiment, tasks: Sequence[str]) -> list[Published]:
    """The `counterparts` that the runs on all these tasks have in common."""
    first, *others = ([*counterparts(experiment.runs[task])] for task in tasks)
    shared = set.intersection(*({m.name for m in found} for found in [first, *others]))
    return [method for method in first if method.name in shared]

"""Whatever has results on tasks: our experiments, seed by seed, and published algorithms, as means.

Both are asked the same questions, so that a figure need not know which is which.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from scipy.stats import norm

from purejax_simba.report.published import (
    mean_scores,
    normalize,
    normalized_metric,
    published_returns,
)
from purejax_simba.report.reading import Collection, Run
from purejax_simba.statistics import CONFIDENCE, Statistic, bootstrap_interval, mean

BASELINES = ("simbaV2_utd2", "simba_utd2", "bro_utd2", "tdmpc2", "mrq", "sac")
CURVE_RESAMPLES = 1_000
_Z = float(norm.ppf(0.5 + CONFIDENCE / 2))


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

        Columns `mean`, `low` and `high`, a row per env step.
        """

    def aggregate(self, tasks: Sequence[str]) -> pd.DataFrame:
        """Normalised mean over tasks; columns as `curve`.

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
        """Env steps at which all these tasks were evaluated."""
        common = set.intersection(*(set(self._tables[task].index) for task in tasks))
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
        diverged. One table per task.
      statistic: of the seeds that are there.
    """
    rows: dict[int, tuple[float, float, float]] = {}
    present = np.concatenate([table.notna().to_numpy() for table in tables], axis=1)
    patterns, group_of_row = np.unique(present, axis=0, return_inverse=True)
    for group, pattern in enumerate(patterns):
        chosen = np.flatnonzero(group_of_row == group)
        splits = np.split(pattern, np.cumsum([table.shape[1] for table in tables])[:-1])
        if not all(split.any() for split in splits):
            continue
        scores = [
            table.to_numpy(np.float64)[chosen][:, split]
            for table, split in zip(tables, splits, strict=True)
        ]
        values = statistic(scores)
        low, high = bootstrap_interval(scores, statistic, CURVE_RESAMPLES)
        for index, row in enumerate(chosen):
            rows[int(tables[0].index[row])] = (values[index], low[index], high[index])
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high"])
    return frame.sort_index()


class Published:
    """A published algorithm, of which means and standard deviations over seeds are known.

    Intervals are those of a normal distribution.
    """

    def __init__(self, name: str, results: pd.DataFrame, agent: str = ""):
        """`results` has the columns of `published.COLUMNS`, of this algorithm or more."""
        self.name = name
        self.agent = agent
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
        return pd.DataFrame(
            {"mean": rows["mean"], "low": rows["mean"] - error, "high": rows["mean"] + error}
        )

    def aggregate(self, tasks: Sequence[str]) -> pd.DataFrame:
        """See `Method`."""
        rows = {}
        chosen = mean_scores(self._results[self._results.task.isin(list(tasks))])
        for env_step, scores in chosen.groupby("env_step"):
            if len(scores) == len(tasks):
                value = scores.score.mean()
                error = _Z * np.sqrt((scores.error**2).sum()) / len(scores)
                rows[env_step] = (value, value - error, value + error)
        return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high"])


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


def published_algorithm(name: str, agent: str = "") -> Published:
    """A published algorithm by its name in the published files."""
    return Published(name, published_returns(), agent)


def given_algorithms(collection: Collection) -> list[Published]:
    """Algorithms in the result files with means that were given.

    Of those that come with the package only the baselines count: there are many variants.
    """
    packaged = set(published_returns().algorithm) - set(BASELINES)
    names = dict.fromkeys(collection.published.algorithm)
    return [Published(name, collection.published) for name in names if name not in packaged]


# What our agents are compared with: the paper's main results, and those with another
# update-to-data ratio.
_COUNTERPARTS: dict[str, tuple[str, dict[float, str]]] = {
    "simba_v2": (
        "simbaV2_utd2",
        {1.0: "simbaV2_utd1", 4.0: "simbaV2_utd4", 8.0: "simbaV2_utd8"},
    ),
    "simba": ("simba_utd2", {}),
    "bro": ("bro_utd10", {2.0: "bro_utd2"}),
    "sac": ("sac", {}),
    "crossq": ("crossq", {}),
    "redq": ("redq_utd20", {}),
    "droq": ("droq_utd20", {}),
}


def counterpart(experiment: Experiment) -> Published | None:
    """The published algorithm that is nearest to an experiment; None if there is none.

    That is the agent's main result in the paper, unless the experiment has another update-to-data
    ratio than the default of SimbaV2, the action repeat, and results with that were published too.
    """
    if experiment.agent not in _COUNTERPARTS:
        return None
    name, others = _COUNTERPARTS[experiment.agent]
    ratio: Any = experiment.config.get("update_to_data_ratio")
    if ratio != experiment.config.get("action_repeat") or experiment.agent != "simba_v2":
        name = others.get(ratio, name)
    return published_algorithm(name, experiment.agent)

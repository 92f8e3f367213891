"""Tables of results, as pandas frames; the numbers behind the figures and the page.

`seeds` is the number of seeds that numbers are of, `missing` that of those without a value then,
and `<name> low` and `<name> high` bound a 95% interval, NaN where there is none.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from purejax_simba import aggregates as statistics
from purejax_simba.aggregates import CONFIDENCE, Statistic, bootstrap_interval
from purejax_simba.report.methods import Experiment, Published, common_counterparts, counterparts
from purejax_simba.report.published import RETURN, normalized_metric, suites_of

STATISTICS: dict[str, Statistic] = {
    "interquartile mean": statistics.interquartile_mean,
    "median": statistics.median,
    "mean": statistics.mean,
    "optimality gap": statistics.optimality_gap,
}
RESAMPLES = 2_000
PROFILE_THRESHOLDS = np.linspace(0.0, 2.0, 101)


def results(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Every experiment on every task at its last evaluation.

    MyoSuite has a row for the return and one for the success rate, which is what is normalised
    there.
    """
    rows = []
    for row, experiment, table in _measures(experiments):
        run, values = experiment.runs[row["task"]], table.iloc[-1].dropna().to_numpy()
        low, high = bootstrap_interval([values]) if len(values) else (np.nan, np.nan)
        middle = float(statistics.interquartile_mean([values])) if len(values) else np.nan
        rows.append(
            row
            | {
                "env step": int(table.index[-1]),
                "seeds": len(values),
                "missing": len(run.seeds) - len(values),
                "diverged": len(run.diverged),
                "interquartile mean": middle,
                "low": float(low),
                "high": float(high),
                "mean": values.mean() if len(values) else np.nan,
                "std": values.std(ddof=1) if len(values) > 1 else np.nan,
            }
        )
    return pd.DataFrame(rows)


def comparisons(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Every experiment on every task beside its published `counterparts`, a row for each.

    Compared are the means at the last env step that both have; `difference` is ours without the
    published one, with Welch's interval.
    """
    rows = []
    for row, experiment, table in _measures(experiments):
        for other in counterparts(experiment.runs[row["task"]]):
            means = other.means(row["task"], row["metric"])
            # Before any training there is nothing to compare.
            steps = (set(table.dropna(how="all").index) & set(means.index)) - {0}
            if steps:
                rows.append(row | _comparison(other, max(steps), means, table))
    return pd.DataFrame(rows)


def _measures(
    experiments: Sequence[Experiment],
) -> Iterator[tuple[dict[str, Any], Experiment, pd.DataFrame]]:
    for experiment in experiments:
        for task, run in experiment.runs.items():
            for metric in dict.fromkeys((RETURN, normalized_metric(task))):
                if len(table := run.table(metric)):
                    row = {"experiment": experiment.name, "task": task, "metric": metric}
                    yield row, experiment, table


def _comparison(
    other: Published, step: int, means: pd.DataFrame, table: pd.DataFrame
) -> dict[str, Any]:
    theirs, values = means.loc[step], table.loc[step].dropna().to_numpy()
    counts = np.array([theirs.seeds, len(values)])
    difference, margin = values.mean() - theirs["mean"], np.nan
    if counts.min() > 1:
        squares = np.array([theirs["std"] ** 2, values.var(ddof=1)]) / counts
        if squares.sum() > 0:
            freedom = squares.sum() ** 2 / (squares**2 / (counts - 1)).sum()
            margin = student.ppf(0.5 + CONFIDENCE / 2, freedom) * np.sqrt(squares.sum())
    return {
        "env step": step,
        "ours": values.mean(),
        "seeds": len(values),
        "missing": table.shape[1] - len(values),
        "published": theirs["mean"],
        "published std": theirs["std"],
        "published seeds": int(theirs.seeds),
        "algorithm": other.name,
        "difference": difference,
        "difference low": difference - margin,
        "difference high": difference + margin,
    }


def aggregates(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Normalised scores of every experiment over the tasks of every suite that it has.

    At the last env step at which all these tasks were evaluated. `seeds` are those of all tasks
    together.
    """
    rows = []
    for experiment, name, tasks in _suites(experiments):
        step = max(experiment.steps(tasks), default=None)
        if step is not None:
            scores = experiment.scores(tasks, step)
            row = _row(experiment, name, tasks, step, sum(map(len, scores)))
            summary = {
                f"{statistic}{ending}": float(value)
                for statistic, values in summaries(scores).items()
                for ending, value in zip(("", " low", " high"), values, strict=True)
            }
            rows.append(row | summary)
    return pd.DataFrame(rows)


def aggregate_comparisons(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Normalised means over tasks beside the published ones, at the last env step of both.

    A row for each of the `common_counterparts` of the tasks of a suite.
    """
    rows = []
    for experiment, name, tasks in _suites(experiments):
        ours = experiment.aggregate(tasks)
        for other in common_counterparts(experiment, tasks):
            theirs = other.aggregate(tasks)["mean"]
            step = ours.index.intersection(theirs.index).max()
            if step > 0:
                seeds = sum(map(len, experiment.scores(tasks, step)))
                row = _row(experiment, name, tasks, step, seeds) | {"ours": ours["mean"][step]}
                rows.append(row | {"published": theirs[step], "algorithm": other.name})
    return pd.DataFrame(rows)


def _suites(experiments: Sequence[Experiment]) -> Iterator[tuple[Experiment, str, list[str]]]:
    for experiment in experiments:
        for name, tasks in suites_of(sorted(experiment.normalized_tasks)).items():
            yield experiment, name, tasks


def _row(
    experiment: Experiment, suite: str, tasks: Sequence[str], step: int, seeds: int
) -> dict[str, Any]:
    return {
        "experiment": experiment.name,
        "suite": suite,
        "tasks": len(tasks),
        "env step": int(step),
        "seeds": seeds,
        "missing": sum(len(experiment.runs[task].seeds) for task in tasks) - seeds,
    }


def summaries(scores: statistics.Scores) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Each of `STATISTICS` of normalised scores and the bounds of its interval."""
    return {
        name: (statistic(scores), *bootstrap_interval(scores, statistic, RESAMPLES))
        for name, statistic in STATISTICS.items()
    }


def performance_profile(scores: statistics.Scores, missing: int) -> pd.DataFrame:
    """The share of seeds above each normalised score, as a curve; so many seeds have none."""
    profile = functools.partial(statistics.performance_profile, thresholds=PROFILE_THRESHOLDS)
    low, high = bootstrap_interval(scores, profile, RESAMPLES)
    columns = {"mean": profile(scores), "low": low, "high": high, "missing": missing}
    return pd.DataFrame(columns, index=PROFILE_THRESHOLDS)

"""Tables of results, as pandas frames; the numbers behind the figures and the page."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student

from purejax_simba import aggregates as statistics
from purejax_simba.aggregates import CONFIDENCE, Statistic, bootstrap_interval
from purejax_simba.report.methods import (
    Experiment,
    Published,
    common_counterparts,
    counterparts,
)
from purejax_simba.report.published import RETURN, SUITES, is_normalized, normalized_metric, suite
from purejax_simba.report.reading import Run

STATISTICS: dict[str, Statistic] = {
    "interquartile mean": statistics.interquartile_mean,
    "median": statistics.median,
    "mean": statistics.mean,
    "optimality gap": statistics.optimality_gap,
}
RESAMPLES = 2_000
PROFILE_THRESHOLDS = np.linspace(0.0, 2.0, 101)


def results_by_task(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Every experiment on every task at its last evaluation.

    MyoSuite has a row for the return and one for the success rate, which is what is normalised
    there. `missing` is the number of the run's seeds without a value then, `seeds` that of the
    others, of which the statistics are.
    """
    rows = []
    for experiment in experiments:
        for run in experiment.runs.values():
            for metric, table in _measures(run):
                values = table.iloc[-1].dropna().to_numpy()
                low, high = bootstrap_interval([values]) if len(values) else (np.nan, np.nan)
                rows.append(
                    {
                        "experiment": experiment.name,
                        "task": run.task,
                        "metric": metric,
                        "env_step": int(table.index[-1]),
                        "seeds": len(values),
                        "missing": len(run.seeds) - len(values),
                        "diverged": len(run.diverged),
                        "interquartile_mean": float(statistics.interquartile_mean([values]))
                        if len(values)
                        else np.nan,
                        "low": float(low),
                        "high": float(high),
                        "mean": values.mean() if len(values) else np.nan,
                        "std": values.std(ddof=1) if len(values) > 1 else np.nan,
                    }
                )
    return pd.DataFrame(rows)


def comparisons_by_task(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Every experiment on every task beside its published `counterparts`, a row for each.

    Compared are the means at the last env step that both have; `difference` is ours without the
    published one, with Welch's 95% interval.
    """
    rows = [
        {"experiment": experiment.name, "task": run.task, "metric": metric} | compared
        for experiment in experiments
        for run in experiment.runs.values()
        for other in counterparts(run)
        for metric, table in _measures(run)
        if (compared := _comparison(other, run.task, metric, table))
    ]
    return pd.DataFrame(rows)


def _measures(run: Run) -> list[tuple[str, pd.DataFrame]]:
    names = dict.fromkeys((RETURN, normalized_metric(run.task)))
    tables = [(name, run.table(name)) for name in names]
    return [(name, table) for name, table in tables if len(table)]


def _comparison(other: Published, task: str, metric: str, table: pd.DataFrame) -> dict[str, object]:
    # Before any training there is nothing to compare.
    steps = set(table.dropna(how="all").index) & set(other.steps(task, metric)) - {0}
    if not steps:
        return {}
    step = max(steps)
    published, values = other.at(task, metric, step), table.loc[step].dropna().to_numpy()
    difference = values.mean() - published["mean"]
    margin = np.nan
    if len(values) > 1 and published.seeds > 1:
        squares = [published["std"] ** 2 / published.seeds, values.var(ddof=1) / len(values)]
        degrees = [published.seeds - 1, len(values) - 1]
        if sum(squares) > 0:
            freedom = sum(squares) ** 2 / sum(
                square**2 / degree for square, degree in zip(squares, degrees, strict=True)
            )
            margin = student.ppf(0.5 + CONFIDENCE / 2, freedom) * np.sqrt(sum(squares))
    return {
        "env_step": step,
        "mean": values.mean(),
        "seeds": len(values),
        "missing": table.shape[1] - len(values),
        "published_algorithm": other.name,
        "published_mean": published["mean"],
        "published_std": published["std"],
        "published_seeds": published.seeds,
        "difference": difference,
        "difference_low": difference - margin,
        "difference_high": difference + margin,
    }


def suites_of(tasks: Sequence[str]) -> dict[str, list[str]]:
    """Suite -> its tasks among those given, of which scores can be normalised.

    With tasks of several suites there is `all` as well.
    """
    known = [task for task in tasks if is_normalized(task)]
    suites = {
        name: [task for task in known if suite(task) == name]
        for name in SUITES
        if any(suite(task) == name for task in known)
    }
    return suites | ({"all": known} if len(suites) > 1 else {})


def aggregates(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Normalised scores of every experiment over the tasks of every suite that it has.

    At the last env step at which all these tasks were evaluated. Statistics have a column each,
    and `<statistic> low` and `<statistic> high`. `seeds` is their number, of all tasks together,
    and `missing` that of those without a score then.
    """
    rows = []
    for experiment in experiments:
        for name, tasks in suites_of(sorted(experiment.tasks)).items():
            steps = experiment.steps(tasks)
            if not steps:
                continue
            scores = experiment.scores(tasks, steps[-1])
            seeds = sum(len(values) for values in scores)
            row: dict[str, object] = {
                "experiment": experiment.name,
                "suite": name,
                "tasks": len(scores),
                "env_step": steps[-1],
                "seeds": seeds,
                "missing": sum(len(experiment.runs[task].seeds) for task in tasks) - seeds,
            }
            for label, statistic in STATISTICS.items():
                row[label] = float(statistic(scores))
                low, high = bootstrap_interval(scores, statistic, RESAMPLES)
                row |= {f"{label} low": float(low), f"{label} high": float(high)}
            rows.append(row)
    return pd.DataFrame(rows)


def aggregate_comparisons(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Normalised means over tasks beside the published ones, at the last env step of both.

    A row for each of the `common_counterparts` of the tasks of a suite.
    """
    rows = []
    for experiment in experiments:
        for name, tasks in suites_of(sorted(experiment.tasks)).items():
            ours = experiment.aggregate(tasks)
            for other in common_counterparts(experiment, tasks):
                theirs = other.aggregate(tasks)["mean"]
                steps = ours.index.intersection(theirs.index)
                if not steps.max() > 0:
                    continue
                rows.append(
                    {
                        "experiment": experiment.name,
                        "suite": name,
                        "tasks": len(tasks),
                        "env_step": int(steps.max()),
                        "mean": ours["mean"][steps.max()],
                        "missing": int(ours.missing[steps.max()]),
                        "published_algorithm": other.name,
                        "published_mean": theirs[steps.max()],
                    }
                )
    return pd.DataFrame(rows)


def performance_profiles(experiments: Sequence[Experiment], tasks: Sequence[str]) -> pd.DataFrame:
    """The share of seeds above each normalised score, with intervals, where all were evaluated.

    Columns `experiment`, `score`, `share`, `low`, `high`.
    """
    step = last_common_step(experiments, tasks)
    if step is None:
        return pd.DataFrame()
    frames = []
    for experiment in experiments:
        scores = experiment.scores(tasks, step)

        def profile(values: statistics.Scores) -> np.ndarray:
            return statistics.performance_profile(values, PROFILE_THRESHOLDS)

        low, high = bootstrap_interval(scores, profile, RESAMPLES)
        frames.append(
            pd.DataFrame(
                {
                    "experiment": experiment.name,
                    "score": PROFILE_THRESHOLDS,
                    "share": profile(scores),
                    "low": low,
                    "high": high,
                }
            )
        )
    return pd.concat(frames)


def improvements(experiments: Sequence[Experiment], tasks: Sequence[str]) -> pd.DataFrame:
    """How probably a seed of one experiment is better than one of another, for all pairs.

    Columns `first`, `second`, `probability`, `low`, `high`.
    """
    step = last_common_step(experiments, tasks)
    rows: list[tuple[str, str, float, float, float]] = []
    for index, first in enumerate(experiments):
        if step is None:
            break
        for second in experiments[index + 1 :]:
            ours, theirs = first.scores(tasks, step), second.scores(tasks, step)
            value = statistics.probability_of_improvement(ours, theirs)
            numbers = np.random.default_rng(0)
            drawn = statistics.probability_of_improvement(
                statistics.resample(ours, RESAMPLES, numbers),
                statistics.resample(theirs, RESAMPLES, numbers),
            )
            low, high = statistics.percentile_interval(drawn)
            rows.append((first.name, second.name, float(value), float(low), float(high)))
    return pd.DataFrame(rows, columns=["first", "second", "probability", "low", "high"])


def common_tasks(experiments: Sequence[Experiment]) -> list[str]:
    """Tasks with normalised scores that all of them have."""
    if not experiments:
        return []
    shared = set.intersection(*(experiment.tasks for experiment in experiments))
    return sorted(task for task in shared if is_normalized(task))


def last_common_step(experiments: Sequence[Experiment], tasks: Sequence[str]) -> int | None:
    """The last env step at which all of them were evaluated on all these tasks."""
    if not tasks or not experiments:
        return None
    common = set.intersection(*(set(experiment.steps(tasks)) for experiment in experiments))
    return max(common, default=None)


class LastScore(NamedTuple):
    """Returns at the last evaluation.

    Attributes:
      seeds: number of seeds with a return.
      missing: number of the other ones.
      mean, std: of those that have one; NaN if there are none.
    """

    seeds: int
    missing: int
    mean: float
    std: float


def last_scores(run: Run) -> LastScore:
    """Of the last evaluation of a run."""
    values = run.table(RETURN).iloc[-1].dropna().to_numpy()
    mean = float(values.mean()) if len(values) else float("nan")
    std = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return LastScore(len(values), len(run.seeds) - len(values), mean, std)


def seeds_of(seeds: int, missing: int) -> int | str:
    """A number of seeds, and of how many it is where some are missing."""
    return f"{seeds} of {seeds + missing}" if missing else seeds

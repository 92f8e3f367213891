"""Tables of results, as pandas frames; the numbers behind the figures and the page."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student

from purejax_simba import statistics
from purejax_simba.report.methods import Experiment, Published, counterpart
from purejax_simba.report.published import RETURN, SUITES, is_normalized, normalized_metric, suite
from purejax_simba.report.reading import Run
from purejax_simba.statistics import CONFIDENCE, Statistic, bootstrap_interval

STATISTICS: dict[str, Statistic] = {
    "interquartile mean": statistics.interquartile_mean,
    "median": statistics.median,
    "mean": statistics.mean,
    "optimality gap": statistics.optimality_gap,
}
RESAMPLES = 2_000
PROFILE_THRESHOLDS = np.linspace(0.0, 2.0, 101)


def results_by_task(experiments: Sequence[Experiment]) -> pd.DataFrame:
    """Every experiment on every task at its last evaluation, beside the published figure.

    Compared are the means, with those of the nearest published algorithm, at the last env step
    `compared_env_step` that both have: `difference` is ours without the published one, with Welch's
    95% interval. MyoSuite has a row for the return and one for the success rate, which is what is
    normalised there.
    """
    rows = []
    for experiment in experiments:
        other = counterpart(experiment)
        for task, run in experiment.runs.items():
            for metric in dict.fromkeys((RETURN, normalized_metric(task))):
                table = run.table(metric)
                step = int(table.index.max())
                values = table.loc[step].dropna().to_numpy()
                low, high = bootstrap_interval([values])
                row = {
                    "experiment": experiment.name,
                    "task": task,
                    "metric": metric,
                    "env_step": step,
                    "seeds": len(values),
                    "diverged": len(run.diverged),
                    "interquartile_mean": float(statistics.interquartile_mean([values])),
                    "low": float(low),
                    "high": float(high),
                    "mean": values.mean(),
                    "std": values.std(ddof=1) if len(values) > 1 else np.nan,
                }
                rows.append(row | (_comparison(other, task, metric, table) if other else {}))
    return pd.DataFrame(rows)


def _comparison(other: Published, task: str, metric: str, table: pd.DataFrame) -> dict[str, object]:
    # Before any training there is nothing to compare.
    steps = set(table.dropna(how="all").index) & set(other.steps(task, metric)) - {0}
    if not steps:
        return {}
    step = max(steps)
    published, values = other.at(task, metric, step), table.loc[step].dropna().to_numpy()
    difference = values.mean() - published["mean"]
    squares = [published["std"] ** 2 / published.seeds]
    degrees = [published.seeds - 1]
    if len(values) > 1:
        squares.append(values.var(ddof=1) / len(values))
        degrees.append(len(values) - 1)
    margin = np.nan
    if len(values) > 1 and sum(squares) > 0:
        freedom = sum(squares) ** 2 / sum(
            square**2 / degree for square, degree in zip(squares, degrees, strict=True)
        )
        margin = student.ppf(0.5 + CONFIDENCE / 2, freedom) * np.sqrt(sum(squares))
    return {
        "published_algorithm": other.name,
        "compared_env_step": step,
        "compared_mean": values.mean(),
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
    and `<statistic> low` and `<statistic> high`. `compared mean` and `published mean` are ours and
    that of the nearest published algorithm, on the same tasks, at the last env step that both have.
    """
    rows = []
    for experiment in experiments:
        other = counterpart(experiment)
        for name, tasks in suites_of(sorted(experiment.tasks)).items():
            steps = experiment.steps(tasks)
            if not steps:
                continue
            scores = experiment.scores(tasks, steps[-1])
            row: dict[str, object] = {
                "experiment": experiment.name,
                "suite": name,
                "tasks": len(scores),
                "env_step": steps[-1],
                "seeds": sum(len(values) for values in scores),
            }
            for label, statistic in STATISTICS.items():
                row[label] = float(statistic(scores))
                low, high = bootstrap_interval(scores, statistic, RESAMPLES)
                row |= {f"{label} low": float(low), f"{label} high": float(high)}
            rows.append(row | (_compare_aggregates(experiment, other, tasks) if other else {}))
    return pd.DataFrame(rows)


def _compare_aggregates(
    experiment: Experiment, other: Published, tasks: Sequence[str]
) -> dict[str, object]:
    ours, theirs = experiment.aggregate(tasks)["mean"], other.aggregate(tasks)["mean"]
    steps = ours.index.intersection(theirs.index)
    if not steps.max() > 0:
        return {}
    return {
        "compared env_step": int(steps.max()),
        "compared mean": ours[steps.max()],
        "published mean": theirs[steps.max()],
    }


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
    """Returns at the last evaluation: number of seeds, their mean and standard deviation."""

    seeds: int
    mean: float
    std: float


def last_scores(run: Run) -> LastScore:
    """Of the seeds that were evaluated then."""
    values = run.table(RETURN).iloc[-1].dropna().to_numpy()
    std = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return LastScore(len(values), float(values.mean()), std)

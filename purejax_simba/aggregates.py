"""Summaries of a few seeds on several tasks, with intervals (Agarwal et al., arXiv 2108.13264).

Scores are one array per task, `(..., seeds)`, because tasks need not have the same number of seeds.
Every statistic reduces the last axis and combines the tasks; leading axes, such as that of the
resamples, stay.
"""

from collections.abc import Callable, Sequence

import numpy as np

Scores = Sequence[np.ndarray]
Statistic = Callable[[Scores], np.ndarray]

CONFIDENCE = 0.95


def interquartile_mean(scores: Scores) -> np.ndarray:
    """The mean of all seeds of all tasks together without the lowest and the highest quarter.

    Each quarter is rounded down. NaN if one of them is NaN, which belongs to no quarter.
    """
    ordered = np.sort(np.concatenate([np.asarray(s, np.float64) for s in scores], axis=-1))
    cut = ordered.shape[-1] // 4
    middle = np.mean(ordered[..., cut : ordered.shape[-1] - cut], axis=-1)
    return np.where(np.isnan(ordered).any(-1), np.nan, middle)


def mean(scores: Scores) -> np.ndarray:
    """The mean over tasks of their means."""
    return np.mean(_task_means(scores), axis=0)


def median(scores: Scores) -> np.ndarray:
    """The median over tasks of their means."""
    return np.median(_task_means(scores), axis=0)


def optimality_gap(scores: Scores) -> np.ndarray:
    """How far below 1 seeds are on average; those above it count as there."""
    return 1.0 - mean([np.minimum(values, 1.0) for values in scores])


def performance_profile(scores: Scores, thresholds: np.ndarray) -> np.ndarray:
    """The share of seeds above each threshold, `(..., thresholds)`, averaged over tasks."""
    shares = [
        np.mean(np.asarray(values)[..., None, :] > thresholds[:, None], axis=-1)
        for values in scores
    ]
    return np.mean(shares, axis=0)


def probability_of_improvement(first: Scores, second: Scores) -> np.ndarray:
    """How often a seed of `first` is better than one of `second`, averaged over tasks.

    Ties count half (the Mann-Whitney statistic).
    """
    shares = []
    for a, b in zip(first, second, strict=True):
        left, right = np.asarray(a)[..., :, None], np.asarray(b)[..., None, :]
        shares.append(np.mean((left > right) + 0.5 * (left == right), axis=(-2, -1)))
    return np.mean(shares, axis=0)


def improvement_interval(
    first: Scores, second: Scores, resamples: int = 10_000
) -> tuple[np.ndarray, np.ndarray]:
    """Inside lie 95% of the probabilities of improvement of resampled seeds of both."""
    numbers = np.random.default_rng(0)
    drawn = (resample(scores, resamples, numbers) for scores in (first, second))
    return _percentile_interval(probability_of_improvement(*drawn))


def resample(scores: Scores, count: int, numbers: np.random.Generator) -> list[np.ndarray]:
    """The seeds of each task drawn again, with replacement: `(count, ..., seeds)` a task.

    Leading axes, the env steps of a curve, say, keep the same seeds together.
    """
    drawn = []
    for values in scores:
        seeds = np.shape(values)[-1]
        picks = numbers.integers(seeds, size=(count, seeds))
        drawn.append(np.moveaxis(np.asarray(values, np.float64)[..., picks], -2, 0))
    return drawn


def bootstrap_interval(
    scores: Scores, statistic: Statistic = interquartile_mean, resamples: int = 10_000
) -> tuple[np.ndarray, np.ndarray]:
    """95% of the statistics of resampled seeds lie inside; NaN if no task has two seeds.

    Stratified: each task keeps its number of seeds. The random numbers are the same in every call.
    """
    if max((np.shape(values)[-1] for values in scores), default=0) < 2:
        unknown = np.full(np.shape(statistic(scores)), np.nan) if len(scores) else np.array(np.nan)
        return unknown, unknown
    return _percentile_interval(statistic(resample(scores, resamples, np.random.default_rng(0))))


def _percentile_interval(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middle 95% of the values along the first axis."""
    tail = (1.0 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1.0 - tail], axis=0)
    return low, high


def _task_means(scores: Scores) -> np.ndarray:
    return np.stack([np.mean(values, axis=-1) for values in scores])

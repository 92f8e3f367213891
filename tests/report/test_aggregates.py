"""Summaries of seeds and tasks, against scipy's."""

import math

import numpy as np
import pytest
import scipy.stats

from purejax_simba.aggregates import (
    bootstrap_interval,
    interquartile_mean,
    mean,
    median,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)

RAGGED = [np.array([0.1, 0.5, 0.9]), np.array([1.2, 0.8]), np.array([0.4, 0.4, 0.7, 2.0])]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 10, 17])
def test_interquartile_mean(count):
    values = np.random.default_rng(count).normal(size=count)
    expected = scipy.stats.trim_mean(values, 0.25)
    assert interquartile_mean([values]) == pytest.approx(expected, rel=1e-12)


def test_interquartile_mean_takes_the_seeds_of_all_tasks_together():
    expected = scipy.stats.trim_mean(np.concatenate(RAGGED), 0.25)
    assert interquartile_mean(RAGGED) == pytest.approx(expected, rel=1e-12)


def test_mean_median_and_gap_weigh_tasks_equally():
    means = [0.5, 1.0, 0.875]
    assert mean(RAGGED) == pytest.approx(sum(means) / 3)
    assert median(RAGGED) == pytest.approx(0.875)
    capped = [(0.1 + 0.5 + 0.9) / 3, (1.0 + 0.8) / 2, (0.4 + 0.4 + 0.7 + 1.0) / 4]
    assert optimality_gap(RAGGED) == pytest.approx(1.0 - sum(capped) / 3)


@pytest.mark.parametrize("count", [3, 5, 10])
def test_bootstrap_interval(count):
    values = np.random.default_rng(count).normal(size=count)
    expected = scipy.stats.bootstrap(
        (values,),
        lambda x, axis: scipy.stats.trim_mean(x, 0.25, axis=axis),
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    # Two estimates of the same quantiles, from different random numbers.
    assert bootstrap_interval([values]) == pytest.approx(tuple(expected), abs=0.03)
    assert bootstrap_interval([np.full(3, 3.0)]) == (3.0, 3.0)
    assert all(math.isnan(bound) for bound in bootstrap_interval([values[:1]]))


def test_resampling_is_stratified():
    # Tasks differ a hundredfold, seeds of a task do not: drawing among all would spread widely.
    scores = [np.full(4, 1.0), np.full(3, 100.0)]
    assert bootstrap_interval(scores, mean) == (50.5, 50.5)
    # scipy draws the samples of several data sets independently, which is what strata are.
    numbers = np.random.default_rng(0)
    tasks = [numbers.normal(size=6), 3.0 * numbers.normal(size=4)]
    expected = scipy.stats.bootstrap(
        tasks,
        lambda a, b, axis: (np.mean(a, axis=axis) + np.mean(b, axis=axis)) / 2,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert bootstrap_interval(tasks, mean) == pytest.approx(tuple(expected), abs=0.05)


def test_a_curve_is_resampled_as_a_whole():
    """Every env step has the interval it would have by itself."""
    curve = np.random.default_rng(3).normal(size=(4, 5))
    low, high = bootstrap_interval([curve], mean)
    for step in range(4):
        expected = bootstrap_interval([curve[step]], mean)
        assert (low[step], high[step]) == pytest.approx(expected, rel=1e-12)


def test_performance_profile_counts_seeds_above_each_threshold():
    profile = performance_profile(RAGGED, np.array([0.0, 0.5, 1.0, 3.0]))
    assert profile == pytest.approx([1.0, (1 / 3 + 1 + 2 / 4) / 3, (0 + 1 / 2 + 1 / 4) / 3, 0.0])


def test_probability_of_improvement_is_the_mann_whitney_statistic():
    other = [values[::-1] - 0.2 for values in RAGGED]
    expected = [
        scipy.stats.mannwhitneyu(a, b).statistic / (len(a) * len(b))
        for a, b in zip(RAGGED, other, strict=True)
    ]
    assert probability_of_improvement(RAGGED, other) == pytest.approx(np.mean(expected))
    assert probability_of_improvement(RAGGED, RAGGED) == pytest.approx(0.5)

"""Running statistics against float64 after a million steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba.data.normalisation import (
    LARGEST_COUNT,
    PRIOR_COUNT,
    Pair,
    RewardScale,
    RunningMoments,
)

# Optimisation must not undo what keeps the sums accurate.
pytestmark = pytest.mark.optimised

STEPS = 1_000_000
BOUND = 1e-5
# Mean and standard deviation of each component.
MEANS = np.array([0.0, 1000.0, -3.0, 50.0])
DEVIATIONS = np.array([1.0, 1.0, 0.003, 20.0])
DISCOUNT, VALUE_RANGE = 0.99, 5.0


def _reference_moments(stream: np.ndarray) -> tuple[float, float]:
    """The published recurrence for one component, in Python's float64."""
    mean, variance, count = 0.0, 1.0, 1e-4
    for x in stream.astype(np.float64).tolist():
        delta, total = x - mean, count + 1.0
        squares = variance * count + delta * delta * count / total
        mean, variance, count = mean + delta / total, squares / total, total
    return mean, variance


def _reference_batches(stream: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The published recurrence for batches `(T, b, n)`, in numpy's float64."""
    mean, variance, count = np.zeros(stream.shape[-1]), np.ones(stream.shape[-1]), 1e-4
    for batch in stream.astype(np.float64):
        size = len(batch)
        delta, total = batch.mean(0) - mean, count + size
        squares = variance * count + batch.var(0) * size + delta**2 * count * size / total
        mean, variance, count = mean + delta * size / total, squares / total, total
    return mean, variance


def _take_in(moments: RunningMoments, stream: jax.Array) -> RunningMoments:
    def take_in(moments: RunningMoments, x: jax.Array) -> tuple[RunningMoments, None]:
        return moments.update(x), None

    return jax.lax.scan(take_in, moments, stream)[0]


@jax.jit
def _moments(stream: jax.Array) -> RunningMoments:
    return _take_in(RunningMoments.create(stream.shape[-1]), stream)


@jax.jit
def _plain_float32(stream: jax.Array) -> tuple[jax.Array, jax.Array]:
    def take_in(carry: tuple, x: jax.Array) -> tuple[tuple, None]:
        mean, variance, count = carry
        delta, total = x[0] - mean, count + 1.0
        squares = variance * count + delta**2 * count / total
        return (mean + delta / total, squares / total, total), None

    size = stream.shape[-1]
    start = (jnp.zeros(size), jnp.ones(size), jnp.float32(PRIOR_COUNT))
    (mean, variance, _), _ = jax.lax.scan(take_in, start, stream)
    return mean, variance


def _relative(ours: Any, theirs: Any) -> np.ndarray:
    theirs = np.asarray(theirs, np.float64)
    return np.abs(np.asarray(ours, np.float64) - theirs) / np.abs(theirs)


@pytest.fixture(scope="module")
def observations() -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((STEPS, 1, len(MEANS)))
    # A drift makes the running mean move throughout, as that of a learning policy does.
    drift = np.linspace(1.0, 2.0, STEPS)[:, None, None]
    return (MEANS + DEVIATIONS * (noise + drift)).astype(np.float32)


@pytest.fixture(scope="module")
def reference(observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    columns = [_reference_moments(observations[:, 0, i]) for i in range(len(MEANS))]
    means, variances = zip(*columns, strict=True)
    return np.array(means), np.array(variances)


def test_moments_are_those_of_float64_after_a_million_steps(observations, reference):
    moments = _moments(observations)
    mean, variance = reference
    assert int(moments.count) == STEPS
    assert _relative(moments.mean.high, mean).max() <= BOUND
    assert _relative(moments.variance, variance).max() <= BOUND
    # What is left of a mean 1000 times the deviation, in units of the deviation.
    pair = np.asarray(moments.mean.high, np.float64) + np.asarray(moments.mean.low, np.float64)
    assert (np.abs(pair - mean) / np.sqrt(variance)).max() <= BOUND
    x = observations[-1, 0]
    expected = (x.astype(np.float64) - mean) / np.sqrt(variance + 1e-8)
    np.testing.assert_allclose(moments.normalise(x), expected, rtol=BOUND, atol=BOUND)


def test_plain_float32_statistics_would_miss_the_bound(observations, reference):
    mean, variance = _plain_float32(observations)
    error = np.maximum(_relative(mean, reference[0]), _relative(variance, reference[1]))
    assert error.max() > 10 * BOUND


def test_moments_of_batches_in_many_runs():
    runs, steps, batch = 3, 5_000, 6
    generator = np.random.default_rng(1)
    noise = generator.standard_normal((runs, steps, batch, len(MEANS)))
    stream = (MEANS + DEVIATIONS * (noise + 1.0)).astype(np.float32)
    batched = jax.vmap(_moments)(stream)
    assert batched.count.tolist() == [steps * batch] * runs
    variances = jax.vmap(lambda moments: moments.variance)(batched)
    for run in range(runs):
        mean, variance = _reference_batches(stream[run])
        assert _relative(batched.mean.high[run], mean).max() <= BOUND
        assert _relative(variances[run], variance).max() <= BOUND


def test_before_the_first_vector_moments_are_the_prior():
    moments = RunningMoments.create(3)
    np.testing.assert_allclose(moments.variance, np.ones(3), rtol=1e-6)
    x = jnp.array([1.0, -2.0, 3.0])
    np.testing.assert_allclose(moments.normalise(x), x, rtol=1e-6)


def test_a_component_that_never_changes_stays_finite():
    moments = _moments(np.full((1000, 1, 1), 7.0, np.float32))
    mean, variance = _reference_moments(np.full(1000, 7.0))
    np.testing.assert_allclose(moments.mean.high, [mean], rtol=BOUND)
    np.testing.assert_allclose(moments.variance, [variance], rtol=BOUND)


@pytest.mark.parametrize("size", [1e18, 1e20, 3e38])
def test_numbers_whose_squares_have_no_room_stay_finite(size):
    stream = np.random.default_rng(4).uniform(-size, size, (5_000, 8, 2)).astype(np.float32)
    stream[..., 1] /= np.float32(size)
    moments = _moments(stream)
    x = moments.normalise(stream)
    assert jnp.isfinite(x).all() and jnp.isfinite(moments.variance).all()
    assert jnp.abs(x[..., 0]).max() < 2.0
    # The others are as they would be alone.
    mean, variance = _reference_batches(stream[..., 1:])
    assert _relative(moments.variance[1], variance).max() <= BOUND
    np.testing.assert_allclose(moments.mean.high[1], mean[0], atol=BOUND)


def test_large_numbers_that_have_room_are_those_of_float64():
    stream = np.random.default_rng(5).normal(3e12, 1e12, (5_000, 8, 1)).astype(np.float32)
    moments = _moments(stream)
    mean, variance = _reference_batches(stream)
    assert _relative(moments.mean.high, mean).max() <= BOUND
    assert _relative(moments.variance, variance).max() <= BOUND


def test_what_is_infinite_is_not_hidden():
    moments = RunningMoments.create(1)
    assert not jnp.isfinite(moments.normalise(jnp.array([jnp.inf]))).any()
    assert not jnp.isfinite(moments.update(jnp.array([[jnp.inf]])).mean.high).any()


def test_the_count_has_no_end():
    """Statistics do not break where int32 ends, and still follow a stream that changes."""
    size = 1024
    stream = np.random.default_rng(6).normal(50.0, 3.0, (2_000, size, 1)).astype(np.float32)
    moments = RunningMoments.create(1).replace(
        mean=Pair(jnp.full(1, 10.0), jnp.zeros(1)),
        squares=Pair(jnp.full(1, 4.0 * LARGEST_COUNT), jnp.zeros(1)),
        count=jnp.int32(LARGEST_COUNT - size // 2),
    )
    for batch in np.split(stream, 4):
        moments = jax.jit(_take_in)(moments, batch)
        assert int(moments.count) == LARGEST_COUNT
    mean, variance, count = np.full(1, 10.0), np.full(1, 4.0), float(LARGEST_COUNT)
    for batch in stream.astype(np.float64):
        delta, total = batch.mean(0) - mean, count + size
        squares = variance * count + batch.var(0) * size + delta**2 * count * size / total
        mean, variance = mean + delta * size / total, squares / total
    assert _relative(moments.mean.high, mean).max() <= BOUND
    assert _relative(moments.variance, variance).max() <= BOUND
    assert variance[0] > 6.0  # so that there was something to follow


def _reference_scale(reward: np.ndarray, done: np.ndarray) -> dict[str, float]:
    """The published reward scaling of one environment, in Python's float64."""
    discount = float(np.float32(DISCOUNT))
    mean, variance, count, total, largest = 0.0, 1.0, 1e-4, 0.0, 0.0
    for r, ended in zip(reward.astype(np.float64).tolist(), done.tolist(), strict=True):
        total = r + discount * (0.0 if ended else total)
        largest = max(largest, abs(total))
        delta, after = total - mean, count + 1.0
        squares = variance * count + delta * delta * count / after
        mean, variance, count = mean + delta / after, squares / after, after
    denominator = max((variance + 1e-8) ** 0.5, largest / VALUE_RANGE)
    return {"total": total, "variance": variance, "largest": largest, "denominator": denominator}


@jax.jit
def _scale(reward: jax.Array, done: jax.Array) -> RewardScale:
    def take_in(scale: RewardScale, x: tuple[jax.Array, jax.Array]) -> tuple[RewardScale, None]:
        return scale.update(*x, jnp.float32(DISCOUNT)), None

    return jax.lax.scan(take_in, RewardScale.create(reward.shape[1]), (reward, done))[0]


def _alternating(generator: np.random.Generator) -> np.ndarray:
    return generator.standard_normal(STEPS) * 3.0


def _positive(generator: np.random.Generator) -> np.ndarray:
    """Returns far from zero with a small spread, and a slow growth."""
    return generator.uniform(0.9, 1.1, STEPS) * np.linspace(1.0, 1.5, STEPS)


@pytest.mark.parametrize("rewards", [_alternating, _positive], ids=lambda f: f.__name__.strip("_"))
def test_reward_scale_is_that_of_float64_after_a_million_steps(
    rewards: Callable[[np.random.Generator], np.ndarray],
):
    generator = np.random.default_rng(2)
    reward = rewards(generator).astype(np.float32)
    done = generator.random(STEPS) < 1e-3
    scale = _scale(reward[:, None], done[:, None])
    ours = {
        "total": scale.discounted_return[0],
        "variance": scale.moments.variance[0],
        "largest": scale.largest,
        "denominator": scale.denominator(jnp.float32(VALUE_RANGE)),
    }
    for name, theirs in _reference_scale(reward, done).items():
        assert _relative(ours[name], theirs) <= BOUND, name


@pytest.mark.parametrize("sign", [1, -1])
def test_reward_scale_takes_in_all_environments_of_a_run(sign):
    """The return that is furthest from zero is a loss in one of the two."""
    generator = np.random.default_rng(3)
    reward = sign * generator.standard_normal((500, 4)).astype(np.float32)
    done = generator.random(reward.shape) < 0.05
    scale = _scale(reward, done)
    total = np.zeros(4)
    history = []
    for r, ended in zip(reward.astype(np.float64), done, strict=True):
        total = r + float(np.float32(DISCOUNT)) * np.where(ended, 0.0, total)
        history.append(total)
    _, variance = _reference_batches(np.array(history)[..., None])
    np.testing.assert_allclose(scale.discounted_return, total, rtol=BOUND, atol=1e-6)
    np.testing.assert_allclose(scale.moments.variance, variance, rtol=BOUND)
    np.testing.assert_allclose(scale.largest, np.abs(history).max(), rtol=BOUND)
    denominator = max(np.sqrt(variance[0] + 1e-8), np.abs(history).max() / VALUE_RANGE)
    np.testing.assert_allclose(scale.denominator(jnp.float32(VALUE_RANGE)), denominator, rtol=BOUND)


def test_before_the_first_reward_nothing_is_scaled():
    scale = RewardScale.create(2)
    np.testing.assert_allclose(scale.denominator(jnp.float32(VALUE_RANGE)), 1.0, rtol=1e-6)

"""The dataset on the device: what is drawn from it, and its statistics against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba.normalisation import EPSILON, PRIOR_COUNT
from purejax_simba.transitions import Transitions

BOUND = 1e-5
# More than two chunks, and a first one that is not full.
SIZE = 10_000
MEANS = np.array([0.0, 1000.0, -3.0])
DEVIATIONS = np.array([1.0, 1.0, 0.003])


def _arrays(size: int = SIZE) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    stream = (MEANS + DEVIATIONS * random.normal(size=(size + 1, 3))).astype(np.float32)
    ended = random.random(size) < 0.01
    ended[-1] = True
    following = stream[1:].copy()
    following[ended] += 1.0  # the next episode begins elsewhere
    return {
        "observation": stream[:-1],
        "action": random.uniform(-1.0, 1.0, (size, 2)).astype(np.float32),
        "reward": (1.0 + random.normal(size=size)).astype(np.float32),
        "terminated": ended & (random.random(size) < 0.5),
        "ended": ended,
        "next_observation": following,
    }


ARRAYS = _arrays()


@pytest.fixture(scope="module")
def transitions() -> Transitions:
    return jax.tree.map(jnp.asarray, Transitions.create(**ARRAYS))


def test_an_observation_within_an_episode_is_stored_once(transitions):
    assert len(transitions.observation) == SIZE + ARRAYS["ended"].sum()


@pytest.mark.parametrize("discount", [0.9, 0.99])
def test_transitions_are_those_of_the_data(transitions, discount):
    index = np.array([0, 17, SIZE - 1, *np.flatnonzero(ARRAYS["ended"])[:20]])
    batch = transitions.take(jnp.asarray(index), jnp.float32(discount))
    for ours, name in zip(batch, ("observation", "action", "reward"), strict=False):
        np.testing.assert_array_equal(ours, ARRAYS[name][index])
    np.testing.assert_array_equal(batch.next_observation, ARRAYS["next_observation"][index])
    expected = np.where(ARRAYS["terminated"][index], 0.0, np.float32(discount))
    np.testing.assert_array_equal(batch.discount, expected)


def test_every_transition_is_drawn_equally_often():
    few = Transitions.create(**{name: array[:8] for name, array in ARRAYS.items()})
    few = jax.tree.map(jnp.asarray, few)
    batch = few.sample(jax.random.key(0), jnp.int32(0), 8_000, jnp.float32(0.9))
    counts = [(batch.reward == reward).sum() for reward in ARRAYS["reward"][:8]]
    # Binomial with mean 1000: five standard deviations are 148.
    assert all(abs(int(count) - 1000) < 148 for count in counts)


def _moments(stream: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance with the prior (0, 1, of weight 1e-4) as one more sample."""
    stream = stream.astype(np.float64)
    total = len(stream) + PRIOR_COUNT
    mean = stream.sum(0) / total
    squares = ((stream - mean) ** 2).sum(0) + PRIOR_COUNT * (1.0 + mean**2)
    return mean, squares / total


def test_observation_statistics_of_one_pass_are_those_of_float64(transitions):
    moments = jax.jit(Transitions.observation_moments)(transitions)
    mean, variance = _moments(ARRAYS["observation"])
    ours = np.asarray(moments.mean.high, np.float64) + np.asarray(moments.mean.low, np.float64)
    np.testing.assert_allclose(ours, mean, atol=BOUND * DEVIATIONS.max(), rtol=BOUND)
    np.testing.assert_allclose(moments.variance, variance, rtol=BOUND)
    assert moments.count == SIZE


@pytest.mark.parametrize("value_range", [5.0, 500.0])
def test_the_reward_scale_of_one_pass_is_that_of_float64(transitions, value_range):
    discounts = jnp.array([0.95, 0.995], jnp.float32)
    scales = jax.jit(jax.vmap(Transitions.reward_scale, (None, 0)))(transitions, discounts)
    denominators = jax.vmap(lambda scale: scale.denominator(value_range))(scales)
    for number, discount in enumerate(np.asarray(discounts, np.float64)):
        returns = np.empty(SIZE)
        last = 0.0
        for step in range(SIZE):
            kept = 0.0 if ARRAYS["ended"][step] else last
            returns[step] = last = float(ARRAYS["reward"][step]) + discount * kept
        _, variance = _moments(returns[:, None])
        largest = np.abs(returns).max()
        expected = max(np.sqrt(variance[0] + EPSILON), largest / value_range)
        np.testing.assert_allclose(denominators[number], expected, rtol=BOUND)
        np.testing.assert_allclose(scales.discounted_return[number], [last], rtol=BOUND)

"""The dataset on the device: what is drawn from it, and its statistics against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba.data.normalisation import EPSILON, PRIOR_COUNT
from purejax_simba.data.transitions import Transitions

BOUND = 1e-5
# With a rest beyond whole batches.
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
    batch = few.sample(jax.random.key(0), 8_000, jnp.float32(0.9))
    counts = [(batch.reward == reward).sum() for reward in ARRAYS["reward"][:8]]
    # Binomial with mean 1000: five standard deviations are 148.
    assert all(abs(int(count) - 1000) < 148 for count in counts)


def _published_pass(
    arrays: dict[str, np.ndarray], discount: float, batch: int
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """What the published code has after its pass, in float64: it takes whole batches in order.

    A batch is handed on as the step of so many environments. Successors and the returns of all
    places go into the statistics; both begin with mean 0, variance 1 and weight 1e-4.

    Returns:
      Mean and variance of the observations; variance and largest size of the returns.
    """
    count, mean, variance = PRIOR_COUNT, np.zeros(3), np.ones(3)
    return_count, return_mean, return_variance = PRIOR_COUNT, 0.0, 1.0
    returns, largest = np.zeros(batch), 0.0
    successor = arrays["next_observation"].astype(np.float64)
    successor[arrays["terminated"]] = 0.0
    for first in range(0, len(arrays["reward"]) - batch + 1, batch):
        rows = slice(first, first + batch)
        seen = successor[rows]
        delta, total = seen.mean(0) - mean, count + batch
        squares = variance * count + seen.var(0) * batch + delta**2 * count * batch / total
        count, mean, variance = total, mean + delta * batch / total, squares / total

        going = 1.0 - arrays["ended"][rows]
        returns = arrays["reward"][rows].astype(np.float64) + discount * going * returns
        shift, total = returns.mean() - return_mean, return_count + batch
        squares = return_variance * return_count + returns.var() * batch
        squares += shift**2 * return_count * batch / total
        return_count, return_variance = total, squares / total
        return_mean += shift * batch / total
        largest = max(largest, np.abs(returns).max())
    return {"mean": mean, "variance": variance}, {"variance": return_variance, "largest": largest}


@pytest.mark.parametrize("batch", [256, 1000, 3])
def test_observation_statistics_of_one_pass_are_the_published_ones(transitions, batch):
    moments = jax.jit(Transitions.observation_moments, static_argnums=1)(transitions, batch)
    expected, _ = _published_pass(ARRAYS, 0.99, batch)
    ours = np.asarray(moments.mean.high, np.float64) + np.asarray(moments.mean.low, np.float64)
    np.testing.assert_allclose(ours, expected["mean"], atol=BOUND * DEVIATIONS.max(), rtol=BOUND)
    np.testing.assert_allclose(moments.variance, expected["variance"], rtol=BOUND)
    assert moments.count == SIZE // batch * batch


@pytest.mark.parametrize("value_range", [5.0, 500.0])
@pytest.mark.parametrize("batch", [256, 3])
def test_the_reward_scale_of_one_pass_is_the_published_one(transitions, value_range, batch):
    discounts = jnp.array([0.95, 0.995], jnp.float32)
    one_pass = jax.vmap(Transitions.reward_scale, (None, 0, None))
    scales = jax.jit(one_pass, static_argnums=2)(transitions, discounts, batch)
    denominators = jax.vmap(lambda scale: scale.denominator(value_range))(scales)
    for number, discount in enumerate(np.asarray(discounts, np.float64)):
        _, returns = _published_pass(ARRAYS, discount, batch)
        expected = max(np.sqrt(returns["variance"] + EPSILON), returns["largest"] / value_range)
        np.testing.assert_allclose(denominators[number], expected, rtol=BOUND)


def test_fewer_transitions_than_a_batch_are_one_batch():
    few = {name: array[:20] for name, array in ARRAYS.items()}
    few["ended"] = few["terminated"] = np.zeros(20, bool)
    stored = jax.tree.map(jnp.asarray, Transitions.create(**few))
    scale, moments = stored.reward_scale(jnp.float32(0.9), 256), stored.observation_moments(256)
    expected, returns = _published_pass(few, 0.9, 20)
    np.testing.assert_allclose(scale.moments.variance, [returns["variance"]], rtol=BOUND)
    np.testing.assert_allclose(moments.variance, expected["variance"], rtol=BOUND)
    assert moments.count == 20

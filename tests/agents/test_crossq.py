"""CrossQ: the joint pass, whose latter half no gradient reaches, and its statistics."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.helpers import updates


def _normalise(layer: dict, x: jax.Array) -> jax.Array:
    centred = x - x.mean(0)
    scaled = centred / jnp.sqrt((centred**2).mean(0) + 1e-3)
    return scaled * layer["scale"] + layer["bias"]


def _critic(params: dict, x: jax.Array) -> jax.Array:
    """Value `(rows,)` by a critic in training that is still warming up."""
    x = _normalise(params["norm_input"], x)
    for index in range(2):
        layer = params[f"hidden_{index}"]
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
        x = _normalise(params[f"norm_{index}"], x)
    return (x @ params["output"]["kernel"] + params["output"]["bias"])[:, 0]


def test_critics_pass_both_halves_at_once_and_learn_from_the_first():
    agent, numbers = updates.make("crossq")
    state, batch = updates.start(agent, numbers)
    assert not hasattr(state, "target_critic")
    noise = updates.noise(5)
    after, metrics, _ = jax.jit(agent.update)(state, batch, noise, numbers, np.int32(0))

    mean, log_std = agent.actor_critic.actor(state.actor, batch.next_observation, numbers)
    action, log_density = updates.sample(mean, log_std, noise.next_action)
    rows = np.concatenate(
        [
            np.concatenate([batch.observation, batch.next_observation]),
            np.concatenate([batch.action, action.astype(np.float32)]),
        ],
        axis=1,
    )
    networks = state.critic["params"]["network"]
    both = jax.vmap(_critic, in_axes=(0, None))(networks, rows)[:, updates.BATCH :]
    target = batch.reward + batch.discount * (np.asarray(both).min(0) - log_density)

    def loss(networks: dict) -> jax.Array:
        values = jax.vmap(_critic, in_axes=(0, None))(networks, rows)[:, : updates.BATCH]
        return ((values - target.astype(np.float32)) ** 2).mean(1).sum()

    value, gradient = jax.jit(jax.value_and_grad(loss))(networks)
    np.testing.assert_allclose(metrics.critic_loss, value, rtol=1e-4)
    # Adam's first moment after one step, with beta1 0.5.
    moments = after.critic_optimizer.mu["params"]["network"]
    jax.tree.map(
        lambda moment, gradient: np.testing.assert_allclose(
            moment, 0.5 * gradient, rtol=1e-3, atol=1e-5
        ),
        moments,
        gradient,
    )
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient)) > 0.1

    statistics = after.critic["batch_stats"]["network"]["norm_input"]
    for critic in range(2):
        np.testing.assert_allclose(statistics["mean"][critic], 0.01 * rows.mean(0), atol=1e-6)
        expected = 0.99 + 0.01 * rows.var(0)
        np.testing.assert_allclose(statistics["variance"][critic], expected, rtol=1e-5)


def test_the_actors_statistics_move_with_the_policy_alone():
    agent, numbers = updates.make("crossq")
    state, batch = updates.start(agent, numbers)
    update = jax.jit(lambda number: agent.update(state, batch, updates.noise(6), numbers, number))
    for number, count in ((0, 0), (1, 0), (2, 1), (3, 0)):
        after, metrics, _ = update(np.int32(number))
        statistics = after.actor["batch_stats"]["norm_input"]
        assert int(statistics["batches"]) == count
        expected = 0.01 * count * batch.observation.mean(0)
        np.testing.assert_allclose(statistics["mean"], expected, atol=1e-6)
        # Adam's first moment, with beta1 0.9, of a metric that counts for three updates.
        expected = 0.1 * metrics.temperature_loss / 3
        np.testing.assert_allclose(after.temperature_optimizer.mu, expected, rtol=1e-5)


def test_acting_takes_the_running_statistics():
    agent, numbers = updates.make("crossq")
    state, batch = updates.start(agent, numbers)
    key = jax.random.key(0)
    together = agent.act(state.actor, batch.observation, key, numbers)
    alone = [agent.act(state.actor, row[None], key, numbers)[0] for row in batch.observation]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-5, atol=1e-6)

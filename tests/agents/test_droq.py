"""DroQ: where dropout is, and that its masks differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba.agents import mlp
from tests.helpers import updates


def test_a_hidden_layer_is_linear_dropout_layer_norm_relu(monkeypatch):
    mask = np.float32([0, 1, 1, 1, 0, 1, 1, 1])
    monkeypatch.setattr(mlp, "dropout", lambda key, x, rate: x * mask * (10 * rate))
    network = mlp.MLP(hidden_dim=8, num_layers=2, outputs=3, layer_norm=True)
    x = updates.draw(0, updates.BATCH, 5)
    params = network.init(jax.random.key(0), x)["params"]
    ours = network.apply({"params": params}, x, 0.2, rngs={"dropout": jax.random.key(1)})
    h = x.astype(np.float64)
    for index in range(2):
        layer = params[f"hidden_{index}"]
        h = (h @ np.asarray(layer["kernel"]) + layer["bias"]) * mask * 2
        h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)
        h = np.maximum(h, 0)
    expected = h @ np.asarray(params["output"]["kernel"]) + params["output"]["bias"]
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_every_critic_layer_and_pass_of_every_update_has_a_mask_of_its_own(monkeypatch):
    seen: list[np.ndarray] = []
    dropout = mlp.dropout

    def record(key: jax.Array, x: jax.Array, rate: jax.Array) -> jax.Array:
        jax.debug.callback(
            lambda *found: seen.append(np.hstack(found)), jax.random.key_data(key), rate
        )
        return dropout(key, x, rate)

    monkeypatch.setattr(mlp, "dropout", record)
    agent, numbers = updates.make("droq", dropout_rate=0.25, policy_delay=1)
    state, batch = updates.start(agent, numbers)
    update = jax.jit(agent.update)
    for seed in (0, 1):
        jax.block_until_ready(update(state, batch, updates.noise(seed), numbers, jnp.int32(0)))
    jax.effects_barrier()
    # Two critics of two layers: their own pass, that of the target and that of the actor's loss.
    assert len(seen) == 2 * 2 * 2 * 3
    assert len(np.unique(seen, axis=0)) == len(seen)
    assert {row[-1] for row in seen} == {0.25}


def test_the_actor_maximises_the_mean_and_the_target_is_the_smaller_value():
    agent, numbers = updates.make("droq", policy_delay=1)
    np.testing.assert_allclose(numbers.dropout_rate, 0.01)
    # Without dropout the networks are those that diagnostics look at.
    numbers = numbers.replace(dropout_rate=np.float32(0.0))
    state, batch = updates.start(agent, numbers)
    noise = updates.noise(3)
    after, metrics, _ = jax.jit(agent.update)(state, batch, noise, numbers, jnp.int32(0))

    def values(critics: dict, observation: np.ndarray, action: np.ndarray) -> np.ndarray:
        inputs = (observation, action.astype(np.float32), numbers)
        return np.asarray(updates.outputs(agent, critics, *inputs), np.float64)[..., 0]

    policy = agent.actor_critic.actor(state.actor, batch.next_observation, numbers)
    action, log_density = updates.sample(*policy, noise.next_action)
    following = values(state.target_critic, batch.next_observation, action).min(0)
    target = batch.reward + batch.discount * (following - log_density)
    errors = values(state.critic, batch.observation, batch.action) - target
    np.testing.assert_allclose(metrics.critic_loss, (errors**2).mean(1).sum(), rtol=1e-4)

    policy = agent.actor_critic.actor(state.actor, batch.observation, numbers)
    action, log_density = updates.sample(*policy, noise.action)
    expected = log_density - values(after.critic, batch.observation, action).mean(0)
    np.testing.assert_allclose(metrics.actor_loss, expected.mean(), rtol=1e-4)

"""BRO: quantile targets without pessimism, and exploration by the optimistic actor."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba.agents.bro import OptimisticActor, positive
from tests.helpers import updates

QUANTILES = 5


@pytest.fixture(scope="module")
def bro():
    """An agent, its numbers, a state, a batch and the jitted update."""
    agent, numbers = updates.make("bro", num_bins=QUANTILES)
    state, batch = updates.start(agent, numbers)

    def update(state: Any, batch: Any, noise: Any, numbers: Any) -> Any:
        return agent.update(state, batch, noise, numbers, state.updates)[:2]

    return agent, numbers, state, batch, jax.jit(update)


def _shift(params: dict, observation: np.ndarray, mean: jax.Array) -> jax.Array:
    network = OptimisticActor(updates.ACTION, hidden_dim=8, num_blocks=1)
    return network.apply({"params": params}, observation, mean)


def test_the_target_is_the_mean_of_the_critics_quantile_by_quantile(bro):
    agent, numbers, state, batch, update = bro
    noise = updates.noise(3)
    _, metrics = update(state, batch, noise, numbers)
    mean, log_std = agent.actor_critic.actor(state.actor, batch.next_observation, numbers)
    action, log_density = updates.sample(mean, log_std, noise.next_action)
    inputs = batch.next_observation, action.astype(np.float32), numbers
    one, other = np.asarray(updates.outputs(agent, state.target_critic, *inputs), np.float64)
    quantiles = (one + other) / 2 - log_density[:, None]
    target = batch.reward[:, None] + batch.discount[:, None] * quantiles
    loss = 0.0
    for output in updates.outputs(agent, state.critic, batch.observation, batch.action, numbers):
        for i in range(QUANTILES):
            error = target - np.asarray(output)[:, i, None]
            weight = np.abs((i + 0.5) / QUANTILES - (error < 0))
            huber = np.where(np.abs(error) <= 1, 0.5 * error**2, np.abs(error) - 0.5)
            loss += (weight * huber).mean()
    np.testing.assert_allclose(metrics.critic_loss, loss, rtol=1e-4)


def test_the_actor_maximises_the_mean_of_the_critics(bro):
    agent, numbers, state, batch, update = bro
    noise = updates.noise(4)
    after, metrics = update(state, batch, noise, numbers)
    mean, log_std = agent.actor_critic.actor(state.actor, batch.observation, numbers)
    action, log_density = updates.sample(mean, log_std, noise.action)
    inputs = batch.observation, action.astype(np.float32), numbers
    values = np.asarray(updates.outputs(agent, after.critic, *inputs)).mean((0, 2))
    np.testing.assert_allclose(metrics.actor_loss, (log_density - values).mean(), rtol=1e-4)
    # Adam's first moment of the temperature, with beta1 0.5.
    expected = 0.5 * metrics.temperature_loss
    np.testing.assert_allclose(after.temperature_optimizer.mu, expected, rtol=1e-5)


def test_weights_decay_in_all_networks(bro):
    _, numbers, state, batch, update = bro
    decay = 100.0  # enough to be seen after one step
    noise = updates.noise(4)
    plain, decayed = (
        update(state, batch, noise, numbers.replace(weight_decay=np.float32(rate)))[0]
        for rate in (0.0, decay)
    )

    def networks(state: Any) -> tuple:
        return state.actor, state.critic, state.exploration.actor

    for own, without, with_decay in zip(*map(networks, (state, plain, decayed)), strict=True):
        expected = jax.tree.map(lambda leaf: -3e-4 * decay * leaf, own)
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected)) > 1e-2
        # Other gradients may turn the sign of a step, which is as long as the learning rate.
        jax.tree.map(
            lambda new, old, step: np.testing.assert_allclose(new - old, step, atol=7e-4),
            with_decay,
            without,
            expected,
        )


def test_it_explores_with_the_optimistic_actor_and_is_evaluated_without(bro):
    agent, numbers, state, batch, _ = bro
    own = jax.tree.map(lambda leaf: 20.0 * leaf, state.exploration.actor["shift"])
    shifted = state.exploration.replace(actor=state.exploration.actor | {"shift": own})
    state = state.replace(exploration=shifted)
    noise = updates.draw(9, updates.BATCH, updates.ACTION)
    mean, log_std = agent.actor_critic.actor(state.actor, batch.observation, numbers)
    shift = _shift(shifted.actor, batch.observation, mean)
    assert np.abs(shift).max() > 0.1
    action = agent.explore(state, batch.observation, noise, numbers)
    expected = np.tanh(mean + shift + 0.75 * np.exp(log_std) * noise)
    np.testing.assert_allclose(action, expected, rtol=1e-5, atol=1e-6)
    evaluated = agent.act(state.actor, batch.observation, jax.random.key(0), numbers)
    np.testing.assert_allclose(evaluated, np.tanh(mean), rtol=1e-5, atol=1e-6)


def test_the_optimistic_actor_climbs_the_upper_bound(bro):
    agent, numbers, state, batch, update = bro
    noise = updates.noise(5)
    after, _ = update(state, batch, noise, numbers)
    # The policy and the critics are those of after their own updates.
    mean, log_std = agent.actor_critic.actor(after.actor, batch.observation, numbers)
    std = np.exp(log_std)
    normal = jax.random.normal(jax.random.fold_in(noise.key, 4), mean.shape)

    def loss(params: dict) -> jax.Array:
        optimistic_mean = mean + _shift(params, batch.observation, mean)
        optimistic_std = 0.75 * std
        action = jnp.tanh(optimistic_mean + optimistic_std * normal)
        one, other = updates.outputs(agent, after.critic, batch.observation, action, numbers)
        upper = ((one + other) / 2 + 1.0 * jnp.abs(one - other) / 2).mean(-1)
        narrow = optimistic_std / 0.75
        divergence = jnp.log(std / narrow) + (narrow**2 + (optimistic_mean - mean) ** 2) / (
            2 * std**2
        )
        return -upper.mean() + 0.25 * (divergence - 0.5).sum(-1).mean()

    gradient = jax.jit(jax.grad(loss))(state.exploration.actor)
    # Adam's first moment after one step, with beta1 0.9.
    moments = after.exploration.actor_optimizer[0].mu
    jax.tree.map(
        lambda moment, gradient: np.testing.assert_allclose(
            moment, 0.1 * gradient, rtol=1e-3, atol=1e-6
        ),
        moments,
        gradient,
    )
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient)) > 1e-2

    # Optimism and penalty, with beta1 0.5, by the divergence before the step.
    shift = _shift(state.exploration.actor, batch.observation, mean)
    excess = (0.5 * (shift / std) ** 2).sum(-1).mean() / updates.ACTION - 0.05
    squashed = [(np.log(weight) + 10.0) / 8.75 - 1.0 for weight in (1.0, 0.25)]
    slopes = [w * 8.75 * (1.0 - t**2) for w, t in zip((1.0, 0.25), squashed, strict=True)]
    moments = after.exploration.weights_optimizer.mu
    expected = [0.5 * excess * slopes[0], -0.5 * excess * slopes[1]]
    np.testing.assert_allclose(moments, expected, rtol=1e-3)


def test_optimism_falls_and_its_penalty_grows_when_the_policies_diverge(bro):
    _, numbers, state, batch, update = bro
    optimism, penalty = (positive(raw) for raw in state.exploration.weights)
    np.testing.assert_allclose([optimism, penalty], [1.0, 0.25], rtol=1e-5)
    outcomes = []
    for size in (1e-3, 1e3):
        shift = {"kernel": size * state.exploration.actor["shift"]["kernel"]}
        own = state.exploration.replace(actor=state.exploration.actor | {"shift": shift})
        outcomes.append(update(state.replace(exploration=own), batch, updates.noise(6), numbers)[0])
    # Adam's first step has the length of its learning rate, 3e-5.
    for after, sign in zip(outcomes, (1.0, -1.0), strict=True):
        moved = np.subtract(after.exploration.weights, state.exploration.weights)
        np.testing.assert_allclose(moved, [sign * 3e-5, -sign * 3e-5], rtol=1e-2)

"""REDQ: the target of a random pair of critics, the policy's mean of all, its delay."""

import itertools

import jax
import numpy as np

from purejax_simba.agents.agent import UpdateMetrics
from tests.helpers import updates

CRITICS = 4


def test_the_target_is_the_smaller_value_of_a_random_pair():
    agent, numbers = updates.make("redq", num_critics=CRITICS)
    state, batch = updates.start(agent, numbers)
    noise = updates.noise(7)
    mean, log_std = agent.actor_critic.actor(state.actor, batch.next_observation, numbers)
    action, log_density = updates.sample(mean, log_std, noise.next_action)
    next_values = updates.plain_critics(state.target_critic, batch.next_observation, action)
    values = updates.plain_critics(state.critic, batch.observation, batch.action)
    losses = {}
    for pair in itertools.combinations(range(CRITICS), 2):
        # The temperature is 1 at the start.
        target = batch.reward + batch.discount * (next_values[list(pair)].min(0) - log_density)
        losses[pair] = ((values - target) ** 2).mean(1).sum()
    assert min(np.diff(sorted(losses.values()))) > 5e-3

    @jax.jit
    def update(key: jax.Array) -> UpdateMetrics:
        return agent.update(state, batch, noise._replace(key=key), numbers, np.int32(0))[1]

    drawn = []
    for seed in range(40):
        loss = float(update(jax.random.key(seed)).critic_loss)
        matching = [pair for pair, value in losses.items() if abs(value / loss - 1) < 1e-4]
        assert len(matching) == 1
        drawn += matching
    assert set(drawn) == set(losses)


def test_the_policy_follows_the_mean_of_all_critics_after_twenty_updates():
    agent, numbers = updates.make("redq", num_critics=CRITICS)
    state, batch = updates.start(agent, numbers)
    noise = updates.noise(8)
    update = jax.jit(lambda number: agent.update(state, batch, noise, numbers, number))
    for number in (0, 18, 20):
        waiting, metrics, _ = update(np.int32(number))
        jax.tree.map(np.testing.assert_array_equal, waiting.actor, state.actor)
        np.testing.assert_array_equal(waiting.log_temperature, state.log_temperature)
        assert float(metrics.actor_loss) == 0.0

    after, metrics, _ = update(np.int32(39))
    mean, log_std = agent.actor_critic.actor(state.actor, batch.observation, numbers)
    action, log_density = updates.sample(mean, log_std, noise.action)
    values = updates.plain_critics(after.critic, batch.observation, action)
    loss = (log_density - values.mean(0)).mean()
    # What comes once in twenty updates is reported twenty times as large.
    np.testing.assert_allclose(metrics.actor_loss, 20 * loss, rtol=1e-4)
    changed = jax.tree.map(lambda new, old: np.any(new != old), after.actor, state.actor)
    assert all(jax.tree.leaves(changed))
    np.testing.assert_allclose(numbers.target_entropy, -0.5 * updates.ACTION)

"""FlashSAC in the loop; its networks, update and formulas are held by golden traces."""

import collections
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba.agents import flash_sac
from purejax_simba.agents.registry import agent_settings
from purejax_simba.config import Config, ConfigError, ReplayConfig
from purejax_simba.run_state import Counters, RunState
from purejax_simba.training import make_program
from tests.helpers import updates

STARTS = 20


@functools.cache
def _states(count: int) -> list[RunState]:
    """After each of the first interactions of a run."""
    config = Config(
        task="gymnax/Pendulum-v1",
        total_env_steps=2_000,
        learning_starts=STARTS,
        num_environments=2,
        agent=agent_settings("flash_sac", actor_hidden_dim=8, critic_hidden_dim=8),
        replay=ReplayConfig(batch_size=8),
    )
    program = make_program(config)
    numbers = program.hyperparameters()
    state, counters = jax.jit(program.init)(jax.random.key(0), numbers), Counters.create()
    interact, states = jax.jit(program.interact), []
    for _ in range(count):
        counters, state = interact(counters, state, numbers)
        states.append(state)
    return states


@pytest.mark.slow
def test_noise_is_held_from_the_first_action_of_the_policy_on():
    seen = []
    for state in _states(60):
        held = state.agent.exploration
        seen.append((int(held.steps), int(held.length), tuple(jax.random.key_data(held.key))))
    random, acting = seen[: STARTS // 2], seen[STARTS // 2 :]
    assert {(steps, length) for steps, length, _ in random} == {(0, 0)}
    for (before, length, key), (steps, _, next_key) in itertools.pairwise(acting):
        assert steps == (1 if before == length else before + 1)
        assert (next_key == key) == (before < length)
    assert max(length for _, length, _ in acting) > 1


def test_how_long_noise_is_held_follows_the_power_law():
    lengths = jax.vmap(
        lambda uniform: flash_sac.HeldNoise.create(jnp.int32(0)).step(jnp.int32(1), uniform, 2.0)
    )(jnp.linspace(0, 1, 10_001)[:-1]).length
    found = collections.Counter(np.asarray(lengths).tolist())
    weights = np.arange(1, 17) ** -2.0
    expected = 10_000 * weights / weights.sum()
    np.testing.assert_allclose([found[k] for k in range(1, 17)], expected, atol=1.5)


@pytest.mark.slow
def test_the_prior_of_the_reward_scale_is_counted_at_every_step():
    variance, count, mean = 1.0, 0, 0.0
    for state in _states(60)[:5]:
        returns = np.asarray(state.reward_scale.discounted_return, np.float64)
        total, distance = count + 2, returns.mean() - mean
        squares = returns.var() * 2 + distance**2 * count * 2 / total
        variance = (variance * (count + 1e-4) + squares) / total
        mean, count = mean + distance * 2 / total, total
    np.testing.assert_allclose(state.reward_scale.moments.variance[0], variance, rtol=1e-5)


@pytest.mark.parametrize(("name", "steps"), [("flash_sac", 1), ("simba_v2", 0)])
def test_rewards_are_counted_before_the_updates_of_their_step(name, steps):
    """As the authors' loop does, where SimbaV2's does so after them."""
    agent = agent_settings(name, actor_hidden_dim=8, critic_hidden_dim=8)
    program = make_program(Config("gymnax/Pendulum-v1", agent=agent))

    def update(key, counters, state, hyperparameters, count):
        seen = state.reward_scale.moments.count
        return counters, state.replace(progress=state.progress.replace(updates=seen))

    program.update = update
    numbers = program.hyperparameters()
    state = jax.jit(program.init)(jax.random.key(0), numbers)
    _, state = jax.jit(program.interact)(Counters.create(), state, numbers)
    assert (state.progress.updates, state.reward_scale.moments.count) == (steps, 1)


def test_the_actor_sees_the_first_entries_only():
    agent, numbers = updates.make("flash_sac", actor_observation_size=3)
    state, batch = updates.start(agent, numbers)
    act = jax.jit(lambda observation: agent.act(state.actor, observation, None, numbers))
    critic = agent.actor_critic.critic
    other = batch.observation.copy()
    other[:, 3:] += 1.0
    np.testing.assert_array_equal(act(batch.observation), act(other))
    values = [
        critic(jax.tree.map(lambda x: x[0], state.critic), observation, batch.action, numbers)
        for observation in (batch.observation, other)
    ]
    assert not np.allclose(*values)
    with pytest.raises(ConfigError, match=r"^--agent\.actor-observation-size is 5: an observation"):
        updates.make("flash_sac", actor_observation_size=5)


@pytest.mark.slow
def test_what_is_learned_keeps_its_norm():
    agent, numbers = updates.make("flash_sac")
    state, batch = updates.start(agent, numbers)
    state, _, _ = jax.jit(agent.update)(state, batch, updates.noise(5), numbers, np.int32(0))
    encoder = state.actor["params"]["encoder"]
    kernel = np.asarray(encoder["block_0"]["dense_in"]["kernel"])
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1.0, rtol=1e-5)
    norm = encoder["norm_input"]
    together = np.sum(np.square(norm["scale"])) + np.sum(np.square(norm["bias"]))
    np.testing.assert_allclose(together, updates.OBSERVATION, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(encoder["norm"]["scale"]), 8**0.5, rtol=1e-5)

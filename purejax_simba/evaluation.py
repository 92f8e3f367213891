"""Evaluation: the policy that is evaluated, and its episodes inside the compiled program."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

import envs
from envs import episodes
from purejax_simba.agents.agent import Agent, HyperParameters, Params
from purejax_simba.config import Config, known
from purejax_simba.data.normalisation import RunningMoments
from purejax_simba.division import per_device
from purejax_simba.precision import in_full


class EvaluationMetrics(NamedTuple):
    """Means over episodes, `()` each; `avg_length` counts interactions."""

    avg_return: jax.Array
    avg_length: jax.Array
    avg_success: jax.Array


def evaluation_policy(
    config: Config,
    agent: Agent,
    actor: Params,
    observation_moments: RunningMoments,
    hyperparameters: HyperParameters,
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The deterministic policy: raw observations `(..., O)` to actions `(..., A)`.

    It takes a PRNG key too, for agents that are not deterministic in evaluation either.
    """

    def policy(observation: jax.Array, key: jax.Array) -> jax.Array:
        if config.normalize_observations:
            observation = observation_moments.normalise(observation)
        return finite(agent.act(actor, observation, key, hyperparameters))

    return policy


def finite(action: jax.Array) -> jax.Array:
    """Zero where not finite: nothing else of a diverged actor may reach a physics engine."""
    return jnp.where(jnp.isfinite(action), action, 0.0)


@in_full
def evaluate(
    environment: envs.Environment,
    policy: Callable[[jax.Array, jax.Array], jax.Array],
    key: jax.Array,
    num_episodes: int,
) -> EvaluationMetrics:
    """Plays whole episodes side by side, until all have ended.

    Args:
      environment: without automatic reset, with a known `episode_length`.
      policy: observations `(num_episodes, O)` and a PRNG key to actions `(num_episodes, A)`.
      num_episodes: episodes to average over. An episode succeeds if any of its steps does.
    """
    reset, advance = per_device(jax.vmap(environment.reset)), per_device(jax.vmap(environment.step))
    state, observation = reset(jax.random.split(key, num_episodes))
    policy_key = jax.random.fold_in(key, num_episodes)  # the next one after theirs
    zeros = jnp.zeros(num_episodes)

    def step(carry: tuple, time: jax.Array) -> tuple[tuple, jax.Array, None]:
        state, observation, running, totals = carry
        action = policy(observation, jax.random.fold_in(policy_key, time))
        state, timestep = advance(state, action)
        returns, lengths, successes = totals
        totals = (
            returns + jnp.where(running, timestep.reward, 0.0),
            lengths + running,
            successes | (running & timestep.success),
        )
        running = running & ~(timestep.terminated | timestep.truncated)
        return (state, timestep.observation, running, totals), running, None

    running = jnp.ones(num_episodes, bool)
    start = (state, observation, running, (zeros, zeros, ~running))
    (*_, totals), _ = episodes.play(step, start, known(environment.episode_length))
    return EvaluationMetrics(*(total.astype(jnp.float32).mean() for total in totals))

"""Episodes of a policy, recorded as a dataset."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import envs
from envs import episodes
from purejax_simba import trust
from purejax_simba.checks import check_seeds
from purejax_simba.config import ConfigError, known
from purejax_simba.datasets.dataset import Dataset, Origin, check_room, join, observations_of
from purejax_simba.runs.policies import load_policy
from purejax_simba.waiting import count_of, still

# Observations `(n, O)` and a PRNG key to actions `(n, A)`.
Policy = Callable[[jax.Array, jax.Array], jax.Array]

# Episodes that are played side by side.
_TOGETHER = 16
# Over which the returns of random actions and of the policy itself are averaged.
_REFERENCE_EPISODES = 32


def play(
    environment: envs.Environment, policy: Policy, key: jax.Array, num_episodes: int
) -> dict[str, jax.Array]:
    """Plays whole episodes side by side, in an environment without automatic reset.

    Returns:
      Their steps, `(L, n, ...)`, by their names in `Dataset`; those after the end of an episode do
      not count, and `counts` says which do.
    """
    reset_key, action_key = jax.random.split(key)
    state, observation = jax.vmap(environment.reset)(jax.random.split(reset_key, num_episodes))

    def step(carry: tuple, time: jax.Array) -> tuple[tuple, jax.Array, dict]:
        state, observation, running = carry
        action = policy(observation, keys[time])
        state, timestep = jax.vmap(environment.step)(state, action)
        ended = timestep.terminated | timestep.truncated
        steps = {
            "observation": observation,
            "action": action,
            "reward": timestep.reward,
            "terminated": timestep.terminated,
            "ended": ended,
            "next_observation": timestep.observation,
            "counts": running,
        }
        running = running & ~ended
        return (state, timestep.observation, running), running, steps

    length = known(environment.episode_length)
    keys = jax.random.split(action_key, length)
    start = (state, observation, jnp.ones(num_episodes, bool))
    return episodes.play(step, start, length)[1]


def noisy(policy: Policy, noise: float) -> Policy:
    """A policy with normal noise of this standard deviation on its actions."""

    def act(observation: jax.Array, key: jax.Array) -> jax.Array:
        policy_key, noise_key = jax.random.split(key)
        action = policy(observation, policy_key)
        return jnp.clip(action + noise * jax.random.normal(noise_key, action.shape), -1.0, 1.0)

    return act


def record_run(
    directory: Path,
    num_episodes: int,
    noise: float,
    run_seed: int | None,
    seed: int,
    name: str,
    given: Mapping[str, Any] | None = None,
) -> Dataset:
    """Records episodes of a finished run's policy.

    Args:
      directory, run_seed: of the run, and which of its seeds; default: its first.
      num_episodes, seed: of the episodes.
      noise: standard deviation of the noise on actions, whose range is [-1, 1].
      name: of the dataset.
      given: see `load_policy`.

    Returns:
      The dataset. The mean return of random actions and of the policy without noise are its
      reference returns.

    Raises:
      ConfigError: if the directory holds no finished run.
      envs.HostEnvironmentError: if an environment fails.
    """
    if num_episodes < 1:
        raise ConfigError(f"--episodes is {num_episodes}: give 1 or more")
    if not 0.0 <= noise < np.inf:
        raise ConfigError(f"--noise is {noise}: give a number of at least 0")
    check_seeds("seed", seed)
    policy = load_policy(directory, run_seed, given)
    environment, config = policy.environment, policy.config

    per_step = 2 * environment.observation_size + environment.action_size + 3
    check_room(name, num_episodes * known(environment.episode_length) * per_step)

    def random(observation: jax.Array, key: jax.Array) -> jax.Array:
        shape = (*observation.shape[:-1], environment.action_size)
        return jax.random.uniform(key, shape, minval=-1.0)

    def played(what: str, policy: Policy, stream: int, count: int) -> Dataset:
        key = jax.random.fold_in(jax.random.key(seed), stream)
        with envs.clear_errors(), still(f"playing {what}") as note:
            return Dataset(name, **_record(environment, policy, key, count, note))

    random_return = played("random actions", random, 0, _REFERENCE_EPISODES).mean_return()
    policy_return = played("the policy", policy, 1, _REFERENCE_EPISODES).mean_return()
    dataset = played("the episodes to record", noisy(policy, noise), 2, num_episodes)
    origin = Origin(
        trust.full_id(config.task),
        config.action_repeat,
        config.episode_length,
        random_return,
        policy_return,
        observations_of(environment),
    )
    return dataclasses.replace(dataset, origin=origin)


def _record(
    environment: envs.Environment,
    policy: Policy,
    key: jax.Array,
    num_episodes: int,
    note: Callable[[str], None],
) -> dict[str, Any]:
    """The steps of whole episodes, one after the other: `(N, ...)` by their names in `Dataset`.

    `note` is told how far it is.
    """
    together = min(_TOGETHER, num_episodes)
    play_some = jax.jit(lambda key: play(environment, policy, key, together))
    parts = []
    for first in range(0, num_episodes, together):
        note(f"{first} of {count_of(num_episodes, 'episode')}")
        steps = jax.device_get(play_some(jax.random.fold_in(key, first)))
        wanted = min(together, num_episodes - first)
        by_episode = {name: array.swapaxes(0, 1)[:wanted] for name, array in steps.items()}
        counts = by_episode.pop("counts")
        parts.append({name: array[counts] for name, array in by_episode.items()})
    return join(parts)

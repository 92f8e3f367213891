"""Plays host environments under automatic reset, and says with which seeds episodes began."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import envs
from envs import AutoReset
from envs.workers.environment import episode_seed

SHAPE = (2, 2)  # runs and environments
KEYS = jax.random.split(jax.random.key(3), SHAPE)


class Played(NamedTuple):
    """Episodes one after the other; leaves after `first` begin with an axis of steps.

    Attributes:
      first: the observations after the first reset.
      timesteps: what the steps returned.
      following: the observations to act on after each step.
      seeds: of an episode begun after so many steps.
    """

    first: np.ndarray
    timesteps: envs.TimeStep
    following: np.ndarray
    seeds: np.ndarray


def play(environment, actions) -> Played:
    """All runs and environments under automatic reset, in one compiled program."""
    environment = AutoReset(environment)

    def one(key, actions):
        def body(carry, action):
            state, key = carry
            state, timestep = environment.step(state, action)
            key, reset_key = jax.random.split(key)
            return (state, key), (timestep, state.observation, episode_seed(reset_key))

        state, first = environment.reset(key)
        key, reset_key = jax.random.split(key)
        _, (timesteps, following, seeds) = jax.lax.scan(body, (state, key), actions)
        return first, timesteps, following, jnp.append(episode_seed(reset_key), seeds)

    of_run = jax.vmap(one, in_axes=(0, 1), out_axes=(0, 1, 1, 1))
    of_all = jax.vmap(of_run, in_axes=(0, 1), out_axes=(0, 1, 1, 1))
    # What is optimised in the generated code is rounding; it runs for milliseconds.
    run = jax.jit(of_all, compiler_options={"xla_backend_optimization_level": 0})
    return Played(*jax.tree.map(np.asarray, run(KEYS, actions)))

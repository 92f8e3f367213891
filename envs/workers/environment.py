"""Environments in worker processes as one pure `Environment`.

They live in the processes of a pool for as long as this one does. A state names an episode; one
host call per step serves all environments of the runs that a device advances.
"""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.base import Environment, TimeStep, select
from envs.cores import count_cores
from envs.host_call import float_words, host_call
from envs.workers.pool import REWARD, SUCCESS, TERMINATED, TRUNCATED, HostPool
from envs.workers.program import FLAGS


@struct.dataclass
class HostState:
    """Which episode this is; `()` each. The rest of the state is in a worker.

    Attributes:
      episode: int32, its number.
      steps: int32, steps taken. A state can be stepped once.
      ended: bool. What the environment returns is part of what the next step is given, which
        keeps host calls in order.
    """

    episode: jax.Array
    steps: jax.Array
    ended: jax.Array


class HostEnvironment(Environment):
    """Environments of a `HostPool` as one `Environment`; actions in their own range.

    Every episode begins with the seed `episode_seed(key)`, so what happens in it follows from its
    key and its actions. (EnvPool takes a seed only for the first of the episodes that follow one
    another; what happens in all of them follows from the first key.)

    Observations are flattened part by part: entries of a dictionary in the order of their names, at
    every level, also where its space is an `OrderedDict`; entries of a tuple in theirs; arrays row
    by row; discrete values one-hot. What is kept from actors comes after everything else.

    Integer actions are rounded so that each has an equal share of [-1, 1].

    A step after the end of an episode does nothing and returns zeros.
    """

    elsewhere = True

    def __init__(
        self,
        name: str,
        source: dict[str, Any],
        episode_length: int | None = None,
        time_limit: float = 300.0,
        python: str = "",
    ):
        """Starts a worker process and asks it what the environment is like.

        Args:
          name: of the environment, for messages.
          source: what workers make environments from, see `program.Worker.make`.
          episode_length: a limit below the environment's own, or None.
          time_limit: seconds after which an environment that does not answer counts as hung.
          python: the interpreter of the processes; empty for this one.

        Raises:
          HostEnvironmentError: if the environment cannot be made or used.
        """
        cores = count_cores()
        self._pool = HostPool(
            name,
            source,
            time_limit=time_limit,
            num_workers=cores,
            # Every device calls for itself.
            workers_per_call=max(1, cores // jax.local_device_count()),
            python=python or sys.executable,
        )
        limits = [limit for limit in (episode_length, self._pool.episode_length) if limit]
        self._pool.episode_length = min(limits, default=None)
        self.episode_length = self._pool.episode_length
        description = self._pool.description
        self.layout = description.layout
        self.observation_size = description.observation_size
        self.actor_observation_size = description.actor_observation_size
        self.action_size = description.low.size
        self.action_low, self.action_high = description.low, description.high

    def reset(self, key: jax.Array) -> tuple[HostState, jax.Array]:
        """See `Environment.reset`."""
        return self._begin(key, jnp.int32(-1), jnp.ones((), bool))

    def restart(
        self, state: HostState, key: jax.Array, ended: jax.Array
    ) -> tuple[HostState, jax.Array]:
        """See `Environment.restart`."""
        fresh, observation = self._begin(key, state.episode, ended)
        return select(ended, fresh, state), observation

    def step(self, state: HostState, action: jax.Array) -> tuple[HostState, TimeStep]:
        """See `Environment.step`."""
        words = jnp.concatenate(
            [_words(state.episode, state.steps, state.ended), float_words(action)]
        )
        row = host_call(self._step_rows, words, FLAGS + self.observation_size, jnp.uint32)
        row = jax.lax.bitcast_convert_type(row, jnp.float32)
        terminated, truncated = row[TERMINATED] != 0, row[TRUNCATED] != 0
        timestep = TimeStep(
            observation=row[FLAGS:],
            reward=row[REWARD],
            terminated=terminated,
            truncated=truncated,
            success=row[SUCCESS] != 0,
        )
        state = HostState(
            episode=state.episode,
            steps=state.steps + ~state.ended,
            ended=state.ended | terminated | truncated,
        )
        return state, timestep

    def close(self) -> None:
        """Ends the worker processes, as happens when the environment is garbage."""
        self._pool.close()

    def _begin(
        self, key: jax.Array, previous: jax.Array, wanted: jax.Array
    ) -> tuple[HostState, jax.Array]:
        words = _words(episode_seed(key), previous, wanted)
        row = host_call(self._reset_rows, words, 1 + self.observation_size, jnp.uint32)
        state = HostState(
            episode=row[0].astype(jnp.int32),
            steps=jnp.zeros((), jnp.int32),
            ended=jnp.zeros((), bool),
        )
        return state, jax.lax.bitcast_convert_type(row[1:], jnp.float32)

    # What follows runs on the host, inside callbacks: numpy only.

    def _reset_rows(self, words: np.ndarray) -> np.ndarray:
        numbers = words.view(np.int32)
        episodes, observations = self._pool.reset(
            numbers[:, 0], previous=numbers[:, 1], wanted=numbers[:, 2] != 0
        )
        return np.concatenate(
            [episodes.view(np.uint32)[:, None], observations.view(np.uint32)], axis=1
        )

    def _step_rows(self, words: np.ndarray) -> np.ndarray:
        numbers = words.view(np.int32)
        results = self._pool.step(
            numbers[:, 0],
            numbers[:, 1],
            ended=numbers[:, 2] != 0,
            actions=numbers[:, 3:].view(np.float32),
        )
        return results.view(np.uint32)


def episode_seed(key: jax.Array) -> jax.Array:
    """The seed of the episode that begins with `key`: 31 bits, `()` uint32."""
    return jax.random.bits(key, (), jnp.uint32) >> 1


def _words(*numbers: jax.Array) -> jax.Array:
    return jnp.stack([number.astype(jnp.uint32) for number in numbers])

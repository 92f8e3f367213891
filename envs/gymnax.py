"""Adapter for gymnax environments with continuous actions: ids `gymnax/<name>`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces

from envs.base import TimeStep
from envs.pytrees import fix_types, flatten_observation


@struct.dataclass
class GymnaxState:
    """State of a `GymnaxEnvironment`: gymnax's own state and the key for its next step."""

    environment: Any
    key: jax.Array


class GymnaxEnvironment:
    """A gymnax environment as an `Environment`. Its own time limit truncates; none is added."""

    def __init__(self, environment: Any, parameters: Any = None):
        """Adapts `environment`, with its default parameters if none are given.

        Raises:
          ValueError: if the actions are not a bounded box.
        """
        self._environment = environment
        self._parameters = environment.default_params if parameters is None else parameters
        actions = environment.action_space(self._parameters)
        if not isinstance(actions, spaces.Box):
            raise ValueError(
                f"{environment.name} has {type(actions).__name__} actions; continuous ones (a Box) "
                "are needed"
            )
        self._action_shape = actions.shape
        low = np.broadcast_to(np.asarray(actions.low, np.float32), actions.shape)
        high = np.broadcast_to(np.asarray(actions.high, np.float32), actions.shape)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ValueError(f"{environment.name} has unbounded actions; they cannot be rescaled")
        self._center, self._half_width = (high + low) / 2, (high - low) / 2
        self.action_size = int(np.prod(actions.shape))
        self.episode_length: int | None = int(self._parameters.max_steps_in_episode)
        _, observation = jax.eval_shape(lambda: self.reset(jax.random.key(0)))
        (self.observation_size,) = observation.shape

    def reset(self, key: jax.Array) -> tuple[GymnaxState, jax.Array]:
        """See `Environment.reset`."""
        key, reset_key = jax.random.split(key)
        observation, state = self._environment.reset_env(reset_key, self._parameters)
        return GymnaxState(environment=fix_types(state), key=key), flatten_observation(observation)

    def step(self, state: GymnaxState, action: jax.Array) -> tuple[GymnaxState, TimeStep]:
        """See `Environment.step`."""
        key, step_key = jax.random.split(state.key)
        action = action.reshape(self._action_shape).astype(jnp.float32)
        # `step` would reset by itself and hide the final observation.
        observation, inner, reward, terminated, _ = self._environment.step_env(
            step_key,
            state.environment,
            self._center + self._half_width * action,
            self._parameters,
        )
        terminated = jnp.asarray(terminated, bool).reshape(())
        truncated = self._environment.is_truncated(inner, self._parameters)
        timestep = TimeStep(
            observation=flatten_observation(observation),
            reward=jnp.asarray(reward, jnp.float32).reshape(()),
            terminated=terminated,
            truncated=jnp.asarray(truncated, bool).reshape(()) & ~terminated,
            success=jnp.zeros((), bool),
        )
        return GymnaxState(environment=fix_types(inner), key=key), timestep

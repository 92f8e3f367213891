"""Adapter for gymnax environments with continuous actions: ids `gymnax/<name>`."""

import importlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.adapters.pytrees import fix_types, flatten_observation
from envs.base import Environment, TimeStep
from envs.registry import (
    TaskError,
    TaskSpec,
    advice_on_missing_packages,
    register,
    register_family,
    tasks,
    unknown_task,
)
from envs.workers.program import MOST_STEPS, Refused, action_range, declared

_INSTALL = "pip install gymnax six"  # gymnax forgets to ask for six
# The tasks with continuous actions: name -> (episode length, may end before it).
_TASKS = {
    "MountainCarContinuous-v0": (999, True),
    "Pendulum-v1": (200, False),
    "PointRobot-misc": (100, False),
    "Reacher-misc": (100, False),
    "Swimmer-misc": (500, False),
}

_LIMIT = "max_steps_in_episode"


@struct.dataclass
class GymnaxState:
    """State of a `GymnaxEnvironment`: gymnax's own state and the key for its next step."""

    inner: Any
    key: jax.Array


class GymnaxEnvironment(Environment):
    """A gymnax environment as an `Environment`. Its own time limit truncates.

    Its limit is the parameter `max_steps_in_episode`; without that, or with more steps than can be
    counted, none is known.

    Attributes:
      has_own_ends: whether the environment itself says when it truncates, so that the parameter
        need not be its limit.
    """

    def __init__(self, environment: Any, parameters: Any = None):
        """Adapts `environment`, with its default parameters if none are given.

        Raises:
          ValueError: if the actions are not a bounded box.
        """
        library = importlib.import_module("gymnax.environments")
        self._environment = environment
        parameters = environment.default_params if parameters is None else parameters
        limit = getattr(parameters, _LIMIT, None)
        self.episode_length = declared(limit)
        if limit is not None and limit > MOST_STEPS:
            parameters = parameters.replace(**{_LIMIT: MOST_STEPS})
        self._parameters = parameters
        truncate = getattr(type(environment), "is_truncated", None)
        self.has_own_ends = truncate is not library.environment.Environment.is_truncated
        self._truncates = self.has_own_ends or limit is not None
        actions = environment.action_space(self._parameters)
        if not isinstance(actions, library.spaces.Box):
            raise ValueError(
                f"{environment.name} has {type(actions).__name__} actions; continuous ones (a Box) "
                "are needed"
            )
        self._action_shape = actions.shape
        low = np.broadcast_to(np.asarray(actions.low, np.float32), actions.shape)
        high = np.broadcast_to(np.asarray(actions.high, np.float32), actions.shape)
        try:
            bottom, top = action_range(low, high, actions.dtype)
        except Refused as error:
            raise ValueError(f"{environment.name} {error}") from None
        self._low, self._high, self._dtype = low, high, actions.dtype
        shape = actions.shape
        self.action_range = bottom.ravel(), top.ravel()
        self._center = ((top + bottom) / 2).astype(np.float32).reshape(shape)
        self._half_width = ((top - bottom) / 2).astype(np.float32).reshape(shape)
        self.action_size = int(np.prod(actions.shape))
        _, observation = jax.eval_shape(lambda: self.reset(jax.random.key(0)))
        (self.observation_size,) = observation.shape

    def reset(self, key: jax.Array) -> tuple[GymnaxState, jax.Array]:
        """See `Environment.reset`."""
        key, reset_key = jax.random.split(key)
        observation, state = self._environment.reset_env(reset_key, self._parameters)
        return GymnaxState(inner=fix_types(state), key=key), flatten_observation(observation)

    def step(self, state: GymnaxState, action: jax.Array) -> tuple[GymnaxState, TimeStep]:
        """See `Environment.step`."""
        key, step_key = jax.random.split(state.key)
        action = action.reshape(self._action_shape).astype(jnp.float32)
        action = self._center + self._half_width * action
        if not jnp.issubdtype(self._dtype, jnp.floating):
            action = jnp.clip(jnp.floor(action + 0.5), self._low, self._high).astype(self._dtype)
        # `step` would reset by itself and hide the final observation.
        observation, inner, reward, terminated, _ = self._environment.step_env(
            step_key, state.inner, action, self._parameters
        )
        terminated = jnp.asarray(terminated, bool).reshape(())
        truncated = self._truncates and self._environment.is_truncated(inner, self._parameters)
        timestep = TimeStep(
            observation=flatten_observation(observation),
            reward=jnp.asarray(reward, jnp.float32).reshape(()),
            terminated=terminated,
            truncated=jnp.asarray(truncated, bool).reshape(()) & ~terminated,
            success=jnp.zeros((), bool),
        )
        return GymnaxState(inner=fix_types(inner), key=key), timestep

    def with_limit(self, steps: int) -> "GymnaxEnvironment":
        """The same with another limit; one that has ends of its own as it is."""
        if self.has_own_ends:
            return self
        parameters = self._parameters.replace(**{_LIMIT: steps})
        return GymnaxEnvironment(self._environment, parameters)


def _find(task_id: str) -> TaskSpec:
    """Covers every environment that gymnax knows, also those registered with it at run time."""
    gymnax = _import_gymnax()
    name = task_id.removeprefix("gymnax/")
    if name not in gymnax.registered_envs:
        raise unknown_task(task_id, [f"gymnax/{known}" for known in gymnax.registered_envs])
    return TaskSpec(id=task_id, suite="gymnax", build=partial(_build, name))


def _build(name: str, physics: str | None) -> Environment:
    environment, _ = _import_gymnax().make(name)
    try:
        return GymnaxEnvironment(environment)
    except ValueError as error:
        choices = ", ".join(tasks("gymnax"))
        raise TaskError(f"gymnax/{name}: {error}: choose from {choices}") from None


def _import_gymnax() -> Any:
    with advice_on_missing_packages(_INSTALL):
        return importlib.import_module("gymnax")


register_family("gymnax", _find)
for _name, (_length, _terminates) in _TASKS.items():
    register(
        f"gymnax/{_name}",
        partial(_build, _name),
        suite="gymnax",
        episode_length=_length,
        terminates=_terminates,
        package="gymnax",
        install=_INSTALL,
    )

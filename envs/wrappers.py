"""Wrappers, in the order in which they are put on: Rescale, TimeLimit, ActionRepeat, AutoReset."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.base import Environment, TimeStep


class RescaleAction:
    """Maps actions in [-1, 1] linearly to the range that the inner environment takes."""

    def __init__(self, environment: Environment, low: np.ndarray, high: np.ndarray):
        """`low` and `high` are the inner range, `(action_size,)` each, finite."""
        self.inner = environment
        self.observation_size = environment.observation_size
        self.action_size = environment.action_size
        self.episode_length = environment.episode_length
        self._center = np.asarray((high + low) / 2, np.float32)
        self._half_width = np.asarray((high - low) / 2, np.float32)

    def reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        """See `Environment.reset`."""
        return self.inner.reset(key)

    def step(self, state: Any, action: jax.Array) -> tuple[Any, TimeStep]:
        """See `Environment.step`."""
        return self.inner.step(state, jnp.asarray(self._center + self._half_width * action))

    def restart(self, state: Any, key: jax.Array, ended: jax.Array) -> tuple[Any, jax.Array]:
        """See `restart`."""
        return restart(self.inner, state, key, ended)


@struct.dataclass
class TimeLimitState:
    """State of `TimeLimit`: the inner state and the steps taken, `()` int32."""

    environment: Any
    steps: jax.Array


class TimeLimit:
    """Truncates an episode after a number of steps, unless it terminates in that very step."""

    def __init__(self, environment: Environment, episode_length: int):
        """`episode_length` counts steps of the inner environment."""
        inner = environment.episode_length
        self.inner = environment
        self.observation_size = environment.observation_size
        self.action_size = environment.action_size
        self._limit = episode_length
        self.episode_length: int | None = min(episode_length, inner or episode_length)

    def reset(self, key: jax.Array) -> tuple[TimeLimitState, jax.Array]:
        """See `Environment.reset`."""
        inner, observation = self.inner.reset(key)
        return TimeLimitState(environment=inner, steps=jnp.zeros((), jnp.int32)), observation

    def step(self, state: TimeLimitState, action: jax.Array) -> tuple[TimeLimitState, TimeStep]:
        """See `Environment.step`."""
        inner, timestep = self.inner.step(state.environment, action)
        steps = state.steps + 1
        truncated = timestep.truncated | (steps >= self._limit)
        timestep = replace(timestep, truncated=truncated & ~timestep.terminated)
        return TimeLimitState(environment=inner, steps=steps), timestep

    def restart(
        self, state: TimeLimitState, key: jax.Array, ended: jax.Array
    ) -> tuple[TimeLimitState, jax.Array]:
        """See `restart`."""
        inner, observation = restart(self.inner, state.environment, key, ended)
        steps = jnp.where(ended, 0, state.steps)
        return TimeLimitState(environment=inner, steps=steps), observation


class ActionRepeat:
    """Holds an action for several steps: rewards add up, and the end of an episode ends it.

    All else is that of the last step taken; that a task was solved before it does not count.
    """

    def __init__(self, environment: Environment, repeat: int):
        """`repeat` is the number of inner steps per step."""
        inner = environment.episode_length
        self.inner = environment
        self.observation_size = environment.observation_size
        self.action_size = environment.action_size
        self.episode_length = None if inner is None else math.ceil(inner / repeat)
        self.repeat = repeat

    def reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        """See `Environment.reset`."""
        return self.inner.reset(key)

    def step(self, state: Any, action: jax.Array) -> tuple[Any, TimeStep]:
        """See `Environment.step`."""

        def step_unless_ended(carry, _):
            state, so_far = carry
            next_state, timestep = self.inner.step(state, action)
            timestep = replace(timestep, reward=so_far.reward + timestep.reward)
            ended = so_far.terminated | so_far.truncated
            return _select(ended, (state, so_far), (next_state, timestep)), None

        # A scan, so that the graph of the inner step is compiled once.
        nothing = TimeStep(
            observation=jnp.zeros(self.observation_size, jnp.float32),
            reward=jnp.zeros((), jnp.float32),
            terminated=jnp.zeros((), bool),
            truncated=jnp.zeros((), bool),
            success=jnp.zeros((), bool),
        )
        (state, timestep), _ = jax.lax.scan(step_unless_ended, (state, nothing), length=self.repeat)
        return state, timestep

    def restart(self, state: Any, key: jax.Array, ended: jax.Array) -> tuple[Any, jax.Array]:
        """See `restart`."""
        return restart(self.inner, state, key, ended)


@struct.dataclass
class AutoResetState:
    """State of `AutoReset`.

    Attributes:
      environment: the inner state.
      observation: `(observation_size,)`, what the policy acts on next: the first observation
        of the new episode after an end.
      key: source of the keys of later episodes.
    """

    environment: Any
    observation: jax.Array
    key: jax.Array


class AutoReset:
    """Begins a new episode in the step that ends one. For training.

    The `TimeStep` always holds the true successor, so the final observation at the end of an
    episode; the observation to act on is `state.observation`. Under `vmap` the (expensive)
    reset is executed only in steps in which some environment ends.
    """

    def __init__(self, environment: Environment):
        """Wraps a fully wrapped environment."""
        self.inner = environment
        self.observation_size = environment.observation_size
        self.action_size = environment.action_size
        self.episode_length = environment.episode_length
        self._restart_where = _restart_where(partial(restart, environment))

    def reset(self, key: jax.Array) -> tuple[AutoResetState, jax.Array]:
        """See `Environment.reset`."""
        key, reset_key = jax.random.split(key)
        inner, observation = self.inner.reset(reset_key)
        return AutoResetState(environment=inner, observation=observation, key=key), observation

    def step(self, state: AutoResetState, action: jax.Array) -> tuple[AutoResetState, TimeStep]:
        """See `Environment.step`."""
        inner, timestep = self.inner.step(state.environment, action)
        key, reset_key = jax.random.split(state.key)
        ended = timestep.terminated | timestep.truncated
        inner, observation = self._restart_where(ended, reset_key, (inner, timestep.observation))
        return AutoResetState(environment=inner, observation=observation, key=key), timestep


def restart(
    environment: Environment, state: Any, key: jax.Array, ended: jax.Array
) -> tuple[Any, jax.Array]:
    """Begins a new episode where one has ended.

    An environment whose state is more than its arrays has a method `restart(state, key, ended)`
    that leaves episodes under way alone; every other one is reset, and the result is chosen.

    Args:
      environment: with a method `restart`, or without.
      state: its state.
      key: of the new episode.
      ended: `()` bool, whether to begin one.

    Returns:
      The state, and the first observation where `ended`; elsewhere it has no meaning.
    """
    own = getattr(environment, "restart", None)
    if own is not None:
        return own(state, key, ended)
    fresh, observation = environment.reset(key)
    return _select(ended, fresh, state), observation


def innermost(environment: Any) -> Any:
    """The environment under all wrappers."""
    while hasattr(environment, "inner"):
        environment = environment.inner
    return environment


def _restart_where(begin):
    """Makes `(ended, key, (state, observation)) -> begin(...) where ended, else unchanged`.

    `lax.cond` with a batched predicate would run both branches at every step. Here `vmap`
    turns the predicate into `any(ended)` instead, at each level of nesting.
    """

    @jax.custom_batching.custom_vmap
    def select_restart(ended, key, current):
        fresh = jax.lax.cond(ended.any(), lambda: begin(current[0], key, ended), lambda: current)
        return _select(ended, fresh, current)

    @select_restart.def_vmap
    def batched(axis_size, is_batched, *arguments):
        arguments = jax.tree.map(
            lambda batched, leaf: (
                leaf if batched else jnp.broadcast_to(leaf, (axis_size, *leaf.shape))
            ),
            is_batched,
            list(arguments),
        )
        results = _restart_where(jax.vmap(begin))(*arguments)
        return results, jax.tree.map(lambda _: True, results)

    return select_restart


def _select(predicate: jax.Array, on_true: Any, on_false: Any) -> Any:
    """`where` over pytrees whose leaves begin with the dimensions of the predicate."""

    def select(a: jax.Array, b: jax.Array) -> jax.Array:
        expanded = predicate.reshape(predicate.shape + (1,) * (a.ndim - predicate.ndim))
        return jnp.where(expanded, a, b)

    return jax.tree.map(select, on_true, on_false)

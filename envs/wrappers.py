"""Wrappers, in the order in which they are put on.

RescaleAction, TimeLimit, ActionRepeat; for training then Stagger and AutoReset.
"""

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs.base import Environment, TaskError, TimeStep, select


class Wrapper(Environment):
    """Passes everything on to an inner environment, whose state is its own.

    One with a state of its own overrides what has to do with states: `reset`, `step`, `restart`
    and `unwrapped_state`. One that is derived from this class itself and overrides `reset`
    alone begins all episodes with that.
    """

    def __init__(self, environment: Environment):
        """Takes everything over from `environment`."""
        self.inner = environment
        self.observation_size = environment.observation_size
        self.action_size = environment.action_size
        self.episode_length = environment.episode_length
        self.repeat = environment.repeat
        self.elsewhere = environment.elsewhere
        self.action_range = environment.action_range
        self.engine = environment.engine
        self.actor_observation_size = environment.actor_observation_size
        self.layout = environment.layout

    def reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        """See `Environment.reset`."""
        return self.inner.reset(key)

    def step(self, state: Any, action: jax.Array) -> tuple[Any, TimeStep]:
        """See `Environment.step`."""
        return self.inner.step(state, action)

    def restart(self, state: Any, key: jax.Array, ended: jax.Array) -> tuple[Any, jax.Array]:
        """See `Environment.restart`.

        Raises:
          TaskError: where episodes begin in a way of this wrapper's own, and others, in worker
            processes, would begin anew with them.
        """
        own = type(self)
        if own.reset is Wrapper.reset or own.restart is not Wrapper.restart:
            return self.inner.restart(state, key, ended)
        if self.elsewhere:
            raise TaskError(
                f"{own.__name__} has a reset of its own: give it a restart that goes with it"
            )
        return super().restart(state, key, ended)

    @property
    def unwrapped(self) -> Environment:
        """See `Environment.unwrapped`."""
        return self.inner.unwrapped

    def unwrapped_state(self, state: Any) -> Any:
        """See `Environment.unwrapped_state`."""
        return self.inner.unwrapped_state(state)

    def close(self) -> None:
        """See `Environment.close`."""
        self.inner.close()


class RescaleAction(Wrapper):
    """Maps actions in [-1, 1] linearly to the range that the inner environment takes."""

    def __init__(self, environment: Environment, low: np.ndarray, high: np.ndarray):
        """`low` and `high` are the inner range, `(action_size,)` each, finite."""
        super().__init__(environment)
        self.action_range = low, high
        self._center = np.asarray((high + low) / 2, np.float32)
        self._half_width = np.asarray((high - low) / 2, np.float32)

    def step(self, state: Any, action: jax.Array) -> tuple[Any, TimeStep]:
        """See `Environment.step`."""
        return self.inner.step(state, jnp.asarray(self._center + self._half_width * action))


@struct.dataclass
class TimeLimitState:
    """State of `TimeLimit`: the inner state and the steps taken, `()` int32."""

    inner: Any
    steps: jax.Array


class TimeLimit(Wrapper):
    """Truncates an episode after a number of steps, unless it terminates in that very step."""

    def __init__(self, environment: Environment, episode_length: int):
        """`episode_length` counts steps of the inner environment.

        Raises:
          TaskError: for one in worker processes, which would not know of the end.
        """
        if environment.elsewhere:
            raise TaskError("worker processes end episodes: give envs.make an episode_length")
        super().__init__(environment)
        self._limit = min(episode_length, environment.episode_length or episode_length)
        self.episode_length = self._limit

    def reset(self, key: jax.Array) -> tuple[TimeLimitState, jax.Array]:
        """See `Environment.reset`."""
        inner, observation = self.inner.reset(key)
        return TimeLimitState(inner=inner, steps=jnp.zeros((), jnp.int32)), observation

    def step(self, state: TimeLimitState, action: jax.Array) -> tuple[TimeLimitState, TimeStep]:
        """See `Environment.step`."""
        inner, timestep = self.inner.step(state.inner, action)
        steps = state.steps + 1
        truncated = timestep.truncated | (steps >= self._limit)
        timestep = replace(timestep, truncated=truncated & ~timestep.terminated)
        return TimeLimitState(inner=inner, steps=steps), timestep

    def restart(
        self, state: TimeLimitState, key: jax.Array, ended: jax.Array
    ) -> tuple[TimeLimitState, jax.Array]:
        """See `Environment.restart`."""
        inner, observation = self.inner.restart(state.inner, key, ended)
        steps = jnp.where(ended, 0, state.steps)
        return TimeLimitState(inner=inner, steps=steps), observation

    def unwrapped_state(self, state: TimeLimitState) -> Any:
        """See `Environment.unwrapped_state`."""
        return self.inner.unwrapped_state(state.inner)


class ActionRepeat(Wrapper):
    """Holds an action for several steps: rewards add up, and the end of an episode ends it.

    All else is that of the last step taken; that a task was solved before it does not count.
    """

    def __init__(self, environment: Environment, repeat: int):
        """`repeat` is the number of inner steps per step."""
        super().__init__(environment)
        if environment.episode_length is not None:
            self.episode_length = math.ceil(environment.episode_length / repeat)
        self.repeat = repeat * environment.repeat
        self._times = repeat

    def step(self, state: Any, action: jax.Array) -> tuple[Any, TimeStep]:
        """See `Environment.step`."""

        def step_unless_ended(carry, _):
            state, so_far = carry
            next_state, timestep = self.inner.step(state, action)
            timestep = replace(timestep, reward=so_far.reward + timestep.reward)
            ended = so_far.terminated | so_far.truncated
            return select(ended, (state, so_far), (next_state, timestep)), None

        # A scan, so that the graph of the inner step is compiled once.
        nothing = TimeStep(
            observation=jnp.zeros(self.observation_size, jnp.float32),
            reward=jnp.zeros((), jnp.float32),
            terminated=jnp.zeros((), bool),
            truncated=jnp.zeros((), bool),
            success=jnp.zeros((), bool),
        )
        (state, timestep), _ = jax.lax.scan(step_unless_ended, (state, nothing), length=self._times)
        return state, timestep


@struct.dataclass
class StaggerState:
    """State of `Stagger`: the inner state and the steps left to the first end, `()` int32."""

    inner: Any
    left: jax.Array


class Stagger(Wrapper):
    """Truncates the first episode after a random number of steps, all numbers alike likely.

    Many environments that begin together and end by their time limit do so together, too, again and
    again; what is learned then comes from one part of an episode at a time. Staggered once, they
    stay apart.
    """

    def reset(self, key: jax.Array) -> tuple[StaggerState, jax.Array]:
        """See `Environment.reset`."""
        key, stagger_key = jax.random.split(key)
        assert self.episode_length is not None  # what has no limit has no need of this
        left = jax.random.randint(stagger_key, (), 1, self.episode_length + 1)
        inner, observation = self.inner.reset(key)
        return StaggerState(inner=inner, left=left), observation

    def step(self, state: StaggerState, action: jax.Array) -> tuple[StaggerState, TimeStep]:
        """See `Environment.step`."""
        inner, timestep = self.inner.step(state.inner, action)
        truncated = timestep.truncated | (state.left == 1)
        timestep = replace(timestep, truncated=truncated & ~timestep.terminated)
        return StaggerState(inner=inner, left=jnp.maximum(state.left - 1, 0)), timestep

    def restart(
        self, state: StaggerState, key: jax.Array, ended: jax.Array
    ) -> tuple[StaggerState, jax.Array]:
        """See `Environment.restart`."""
        inner, observation = self.inner.restart(state.inner, key, ended)
        return StaggerState(inner=inner, left=jnp.where(ended, 0, state.left)), observation

    def unwrapped_state(self, state: StaggerState) -> Any:
        """See `Environment.unwrapped_state`."""
        return self.inner.unwrapped_state(state.inner)


@struct.dataclass
class AutoResetState:
    """State of `AutoReset`.

    Attributes:
      inner: the inner state.
      observation: `(observation_size,)`, what the policy acts on next: the first observation
        of the new episode after an end.
      key: source of the keys of later episodes.
    """

    inner: Any
    observation: jax.Array
    key: jax.Array


class AutoReset(Wrapper):
    """Begins a new episode in the step that ends one. For training.

    The `TimeStep` always holds the true successor, so the final observation at the end of an
    episode; the observation to act on is `state.observation`. Under `vmap` the (expensive)
    reset is executed only in steps in which some environment ends.
    """

    def __init__(self, environment: Environment):
        """Wraps a fully wrapped environment."""
        super().__init__(environment)
        self._restart_where = _restart_where(environment.restart)

    def reset(self, key: jax.Array) -> tuple[AutoResetState, jax.Array]:
        """See `Environment.reset`."""
        key, reset_key = jax.random.split(key)
        inner, observation = self.inner.reset(reset_key)
        return AutoResetState(inner=inner, observation=observation, key=key), observation

    def step(self, state: AutoResetState, action: jax.Array) -> tuple[AutoResetState, TimeStep]:
        """See `Environment.step`."""
        inner, timestep = self.inner.step(state.inner, action)
        key, reset_key = jax.random.split(state.key)
        ended = timestep.terminated | timestep.truncated
        inner, observation = self._restart_where(ended, reset_key, (inner, timestep.observation))
        return AutoResetState(inner=inner, observation=observation, key=key), timestep

    restart = Environment.restart

    def unwrapped_state(self, state: AutoResetState) -> Any:
        """See `Environment.unwrapped_state`."""
        return self.inner.unwrapped_state(state.inner)


def _restart_where(begin):
    """Makes `(ended, key, (state, observation)) -> begin(...) where ended, else unchanged`.

    `lax.cond` with a batched predicate would run both branches at every step. Here `vmap`
    turns the predicate into `any(ended)` instead, at each level of nesting.
    """

    @jax.custom_batching.custom_vmap
    def select_restart(ended, key, current):
        fresh = jax.lax.cond(ended.any(), lambda: begin(current[0], key, ended), lambda: current)
        return select(ended, fresh, current)

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

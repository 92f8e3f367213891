"""The environment interface that the learner sees."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct


class TaskError(ValueError):
    """A task that cannot be made as asked; the message is one line and says what to do."""


@struct.dataclass
class TimeStep:
    """What one environment step returns.

    Attributes:
      observation: `(observation_size,)` float32, the true successor of the state that was
        acted in. At the end of an episode it is the final observation of that episode,
        never the first one of the next.
      reward: `()` float32.
      terminated: `()` bool, the task ended here: the value of `observation` is zero.
      truncated: `()` bool, a time limit cut the episode here: `observation` keeps its value.
      success: `()` bool, the task counts as solved at this step (False where a task has no
        notion of success).
    """

    observation: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    success: jax.Array


class Environment:
    """One environment as two pure functions over an explicit state pytree.

    Its own are `reset`, `step` and the first three attributes; the others have defaults that hold
    for every environment whose state is all in its arrays.

    All functions describe a single environment. Callers `vmap` them over environments and runs, so
    they must be traceable, and the state they return must have the same shapes and dtypes (no weak
    types) at every step.

    Attributes:
      observation_size: length of the flat observation vector.
      action_size: length of the flat action vector; actions lie in [-1, 1] per component.
      episode_length: steps after which an episode is truncated, in steps of this environment
        (so after action repeat), or None where no limit is known in advance.
      repeat: steps of the environment under all wrappers that one step takes.
      elsewhere: whether part of its state is not in its arrays, but in worker processes: such a
        state cannot be copied, saved or stepped twice.
      action_range: lowest and highest values behind the actions -1 and 1, `(action_size,)` each,
        or None where they are not known.
      engine: which of the engines that there are for its task steps it; empty where it brings its
        own.
      actor_observation_size: how many entries of an observation, the first ones, are for the actor
        where the others are for critics only; None where all are for both.
      layout: name and shape of each part of the observation, in the order of the flat vector, or
        None where it is one part without a name.
    """

    observation_size: int
    action_size: int
    episode_length: int | None = None
    repeat: int = 1
    elsewhere: bool = False
    action_range: tuple[np.ndarray, np.ndarray] | None = None
    engine: str = ""
    actor_observation_size: int | None = None
    layout: list[tuple[str, tuple[int, ...]]] | None = None

    def reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        """Starts an episode: `key -> (state, observation)`."""
        raise NotImplementedError

    def step(self, state: Any, action: jax.Array) -> tuple[Any, TimeStep]:
        """Takes one step. A step after the end of an episode is allowed and meaningless."""
        raise NotImplementedError

    def restart(self, state: Any, key: jax.Array, ended: jax.Array) -> tuple[Any, jax.Array]:
        """Begins a new episode where one has ended, and leaves one under way alone.

        Args:
          state: of an episode that has ended or not.
          key: of the new episode.
          ended: `()` bool, whether to begin one.

        Returns:
          The state, and the first observation where `ended`; elsewhere it has no meaning.
        """
        fresh, observation = self.reset(key)
        return select(ended, fresh, state), observation

    def with_limit(self, steps: int) -> "Environment":
        """The same with another time limit; itself where its own cannot be changed."""
        return self

    @property
    def unwrapped(self) -> "Environment":
        """The environment under all wrappers."""
        return self

    def unwrapped_state(self, state: Any) -> Any:
        """The state of `unwrapped` that is in a state of this environment."""
        return state

    def close(self) -> None:
        """Frees what is not an array, processes for example."""


class Drawable(Environment):
    """An environment with a MuJoCo model, of which pictures can be made.

    Attributes:
      interval: seconds of a step.
    """

    interval: float

    def mujoco_model(self) -> Any:
        """A copy of the model, to draw with."""
        raise NotImplementedError

    def pose(self, model: Any, data: Any, state: Any) -> None:
        """Puts a state into the `mujoco.MjData` of that model, to draw it."""
        raise NotImplementedError


def select(predicate: jax.Array, on_true: Any, on_false: Any) -> Any:
    """`where` over pytrees whose leaves begin with the dimensions of the predicate."""

    def choose(a: jax.Array, b: jax.Array) -> jax.Array:
        expanded = predicate.reshape(predicate.shape + (1,) * (a.ndim - predicate.ndim))
        return jnp.where(expanded, a, b)

    return jax.tree.map(choose, on_true, on_false)

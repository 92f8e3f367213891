"""The environment interface that the learner sees."""

from typing import Any, Protocol

import jax
from flax import struct


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


class Environment(Protocol):
    """One environment as two pure functions over an explicit state pytree.

    Both functions describe a single environment. Callers `vmap` them over environments and
    runs, so they must be traceable, and the state they return must have the same shapes and
    dtypes (no weak types) at every step.

    Attributes:
      observation_size: length of the flat observation vector.
      action_size: length of the flat action vector; actions lie in [-1, 1] per component.
      episode_length: steps after which an episode is truncated, in steps of this environment
        (so after action repeat), or None where no limit is known in advance.
    """

    observation_size: int
    action_size: int
    episode_length: int | None

    def reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        """Starts an episode: `key -> (state, observation)`."""
        ...

    def step(self, state: Any, action: jax.Array) -> tuple[Any, TimeStep]:
        """Takes one step. A step after the end of an episode is allowed and meaningless."""
        ...

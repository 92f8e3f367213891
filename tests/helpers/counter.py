"""A counting environment whose every quantity is known."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs import Environment, TimeStep


@struct.dataclass
class Count:
    steps: jax.Array
    start: jax.Array


class Counter(Environment):
    """Observes (start, steps); pays the action; terminates after `ends_after` steps."""

    observation_size = 2
    action_size = 1

    def __init__(self, ends_after: int = 10**6):
        self.ends_after = ends_after
        self.host_resets = 0

    def reset(self, key: jax.Array) -> tuple[Count, jax.Array]:
        start = jax.random.uniform(key)
        # Counts executions, one for a whole batch.
        start = jax.pure_callback(
            self._count_reset,
            jax.ShapeDtypeStruct((), jnp.float32),
            start,
            vmap_method="broadcast_all",
        )
        state = Count(steps=jnp.zeros((), jnp.int32), start=start)
        return state, self._observe(state)

    def _count_reset(self, start):
        self.host_resets += 1
        return np.asarray(start)

    def step(self, state: Count, action: jax.Array) -> tuple[Count, TimeStep]:
        state = state.replace(steps=state.steps + 1)
        return state, TimeStep(
            observation=self._observe(state),
            reward=action[0],
            terminated=state.steps >= self.ends_after,
            truncated=jnp.zeros((), bool),
            success=state.steps == 2,
        )

    def _observe(self, state: Count) -> jax.Array:
        return jnp.stack([state.start, state.steps.astype(jnp.float32)])

"""Playing episodes to their end, and no further."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap


def play(step: Callable[..., Any], begin: Any, length: int) -> tuple[Any, Any]:
    """As `jax.lax.scan(step, begin, jnp.arange(length))`, until nothing is left to play.

    Under any number of `vmap`s all are stepped until nothing is left of any. (A loop of their own
    would step those that are done again and again from the same state, which environments in
    worker processes have left.)

    Args:
      step: `(carry, time) -> (carry, running, seen)`; `running`, bools of any shape, says what is
        left to play.
      begin: the first carry.
      length: steps after which it ends in any case.

    Returns:
      The last carry, and all that was seen, `(length, ...)`; zeros of steps that were not taken.
    """

    def go_on(state: tuple) -> jax.Array:
        time, running, *_ = state
        return (time < length) & _any_of_all(running)

    def body(state: tuple) -> tuple:
        time, _, carry, seen = state
        carry, running, now = step(carry, time)
        seen = jax.tree.map(lambda every, one: every.at[time].set(one), seen, now)
        return time + 1, running, carry, seen

    _, running, now = jax.eval_shape(step, begin, jnp.int32(0))
    seen = jax.tree.map(lambda one: jnp.zeros((length, *one.shape), one.dtype), now)
    first = (jnp.int32(0), jnp.ones(running.shape, bool), begin, seen)
    *_, carry, seen = jax.lax.while_loop(go_on, body, first)
    return carry, seen


@custom_vmap
def _any_of_all(running: jax.Array) -> jax.Array:
    """Whether any is True, `()`: one answer for all that are batched."""
    return running.any()


@_any_of_all.def_vmap
def _any_of_batch(axis_size: int, is_batched: Any, running: jax.Array) -> tuple[jax.Array, bool]:
    return _any_of_all(running), False

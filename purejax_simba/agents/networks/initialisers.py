"""Initialisers that are safe under `vmap`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap


def orthogonal(scale: float = 1.0, column_axis: int = -1) -> nn.initializers.Initializer:
    """Orthogonal matrices times `scale`, drawn one after another when batched.

    On a CPU a batched QR decomposition waits, inside the thread pool, for work that the same pool
    is to do; two of them at a time can block all its threads for good.
    """
    draw = nn.initializers.orthogonal(scale, column_axis)

    def initialise(key: jax.Array, shape, dtype=jnp.float32, out_sharding=None) -> jax.Array:
        return sequential_vmap(lambda key: draw(key, shape, dtype))(key)

    return initialise

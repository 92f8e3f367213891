"""What adapters of functional environments do to foreign pytrees."""

from typing import Any

import jax
import jax.numpy as jnp


def flatten_observation(observation: Any) -> jax.Array:
    """One float32 vector of all parts of an observation.

    Dictionaries are taken in the order of their sorted keys, tuples in their own order, arrays
    in row-major order.
    """
    leaves = [jnp.ravel(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(observation)]
    return jnp.concatenate(leaves)


def fix_types(state: Any) -> Any:
    """Gives Python numbers and weakly typed leaves a fixed dtype, the same at every step."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), state)

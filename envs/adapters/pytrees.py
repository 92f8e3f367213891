"""What adapters of functional environments do to foreign pytrees."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp


def flatten_observation(observation: Any) -> jax.Array:
    """One float32 vector of all parts of an observation.

    Entries of dictionaries are taken in the order of their names, at every level and whatever the
    type of the dictionary; those of tuples in their own order; arrays in row-major order.
    """
    return jnp.concatenate([jnp.ravel(leaf).astype(jnp.float32) for leaf in _leaves(observation)])


def _leaves(observation: Any) -> list[jax.Array]:
    if isinstance(observation, Mapping):
        nodes = [observation[name] for name in sorted(observation, key=str)]
    else:
        # An `OrderedDict` would be taken in its own order.
        nodes = jax.tree.leaves(observation, is_leaf=lambda node: isinstance(node, Mapping))
        if not any(isinstance(node, Mapping) for node in nodes):
            return nodes
    return [leaf for node in nodes for leaf in _leaves(node)]


def fix_types(state: Any) -> Any:
    """Gives Python numbers and weakly typed leaves a fixed dtype, the same at every step."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), state)

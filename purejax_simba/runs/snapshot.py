"""Everything of all runs that changes, as arrays: in memory, and as a checkpoint names them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purejax_simba.config import ConfigError
from purejax_simba.program import Program
from purejax_simba.run_state import Counters, RunState
from purejax_simba.runs.checkpoint import Checkpoint, named_leaves, tree_of
from purejax_simba.runs.compiling import state_shapes
from purejax_simba.runs.placement import Inputs

_REPLAY = "state.replay."


class Snapshot(NamedTuple):
    """Everything that changes, as numpy arrays; random keys are their words.

    Attributes:
      counters: see `Counters`.
      state: `RunState` with a leading axis of runs.
    """

    counters: Counters
    state: RunState

    def named(self) -> dict[str, np.ndarray]:
        """The arrays by name, as a checkpoint has them."""
        return {name: np.asarray(leaf) for name, leaf in named_leaves(self).items()}


def keys_as_words(tree: Any) -> Any:
    """Arrays as numpy knows them."""

    def words(leaf: jax.Array) -> jax.Array:
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if is_key else leaf

    return jax.tree.map(words, tree)


def words_as_keys(tree: Any, shapes: Any) -> Any:
    """The opposite, by the types that `shapes` has."""

    def key(leaf: np.ndarray, shape: jax.ShapeDtypeStruct) -> Any:
        is_key = jax.dtypes.issubdtype(shape.dtype, jax.dtypes.prng_key)
        return jax.random.wrap_key_data(jnp.asarray(leaf)) if is_key else leaf

    return jax.tree.map(key, tree, shapes)


def snapshot_shapes(program: Program, inputs: Inputs) -> Snapshot:
    """Shapes of the arrays of a snapshot of these runs."""
    state = jax.eval_shape(keys_as_words, state_shapes(program, *inputs))
    return Snapshot(jax.eval_shape(Counters.create), state)


def snapshot_of(checkpoint: Checkpoint, shapes: Snapshot) -> Snapshot:
    """What a checkpoint holds, for runs whose replay may be longer now.

    Raises:
      ConfigError: if the checkpoint is of other runs.
    """
    has_replay = checkpoint.notes["replay"]

    def fit(name: str, array: np.ndarray | None, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        if name.startswith(_REPLAY) and array is None and not has_replay:
            return np.zeros(shape.shape, shape.dtype)
        if name.startswith(_REPLAY) and array is not None:
            # With more env steps the ring is longer; until it is full, its end is what is free.
            missing = [(0, n - m) for n, m in zip(shape.shape, array.shape, strict=True)]
            extra = missing.pop(1)[1]
            if extra > 0 and not any(m for _, m in missing) and _holds(shape.dtype, array.dtype):
                widths = [(0, 0)] * array.ndim
                widths[1] = (0, extra)
                return np.pad(array.astype(shape.dtype), widths)
        found = "nothing" if array is None else f"{array.dtype}{array.shape}"
        raise ConfigError(
            f"{name} of the checkpoint is {found}, and {shape.dtype}{shape.shape} is needed: "
            "it was made with another version or other physics"
        )

    snapshot: Snapshot = tree_of(checkpoint.arrays, shapes, fit)
    if has_replay:
        return snapshot
    start = np.int32(checkpoint.notes["interactions"])
    counters = snapshot.counters.replace(replay_start=start)
    return snapshot._replace(counters=counters)


def _holds(wide: np.dtype, narrow: np.dtype) -> bool:
    return wide == narrow or (wide.kind == narrow.kind == "u" and wide.itemsize > narrow.itemsize)

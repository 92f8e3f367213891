"""The numbers of a run that can differ between runs of one compiled program."""

from types import SimpleNamespace
from typing import Any

import jax
from flax import struct


@struct.dataclass
class SphereScales:
    """Start values and scales of the learnable vectors of a hyperspherical network.

    A vector with start `init` and scale `scale` is stored as `scale` in every component and
    used as `vector * init / scale`, so that `scale` sets how fast it moves under Adam
    (SimbaV2, arXiv 2502.15280, section 4.1). Scalers of the embedder and those of the blocks have
    numbers of their own. All are `()` float32.
    """

    shift: Any
    scaler_init: Any
    scaler_scale: Any
    block_scaler_init: Any
    block_scaler_scale: Any
    alpha_init: Any
    alpha_scale: Any


@jax.tree_util.register_pytree_with_keys_class
class HyperParameters(SimpleNamespace):
    """Traced scalars, `()` each; `vmap` over a leading axis for many runs.

    Every traced setting of the agent is there under its name, float32, or int32 where it is whole.
    What is computed from settings is listed in `purejax_simba.defaults.hyperparameters`.
    """

    def replace(self, **numbers: Any) -> "HyperParameters":
        """The same with other numbers."""
        return HyperParameters(**(vars(self) | numbers))

    def importance_exponent_at(self, progress: jax.Array) -> jax.Array:
        """Beta after a part of the run, from 0 to 1; it rises linearly to 1."""
        start = self.importance_exponent
        return start + (1.0 - start) * progress.clip(0.0, 1.0)

    def learning_rate_at(self, updates: jax.Array) -> jax.Array:
        """Learning rate of the update that follows `updates` earlier ones.

        It goes linearly from `learning_rate` to `learning_rate_end` over
        `learning_rate_decay_updates` updates and stays there.
        """
        progress = updates.astype(self.learning_rate.dtype) / self.learning_rate_decay_updates
        remaining = 1.0 - progress.clip(0.0, 1.0)
        return self.learning_rate_end + (self.learning_rate - self.learning_rate_end) * remaining

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], tuple[str, ...]]:
        """Numbers with their names, and the names, for JAX."""
        names = tuple(sorted(vars(self)))
        return [(jax.tree_util.GetAttrKey(n), getattr(self, n)) for n in names], names

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], numbers: Any) -> "HyperParameters":
        """The opposite, for JAX."""
        return cls(**dict(zip(names, numbers, strict=True)))

"""The numbers of an agent that can differ between runs of one compiled program."""

from typing import Any

import jax
import numpy as np
from flax import struct


@struct.dataclass
class SphereScales:
    """Start values and scales of the learnable vectors of a hyperspherical network.

    A vector with start `init` and scale `scale` is stored as `scale` in every component and
    used as `vector * init / scale`, so that `scale` sets how fast it moves under Adam
    (SimbaV2, arXiv 2502.15280, section 4.1). Scalers of the embedder and those of the blocks have
    numbers of their own. All are `()` float32.
    """

    shift: jax.Array
    scaler_init: jax.Array
    scaler_scale: jax.Array
    block_scaler_init: jax.Array
    block_scaler_scale: jax.Array
    alpha_init: jax.Array
    alpha_scale: jax.Array


@struct.dataclass
class HyperParameters:
    """Traced scalars, `()` each; `vmap` over a leading axis for many runs.

    All are float32 but for `target_update_interval`, int32. What an agent does not use is there
    all the same, and costs nothing.

    Attributes:
      learning_rate: of the first update; it falls linearly to `learning_rate_end` over
        `learning_rate_decay_updates` updates and stays there.
      discount: per interaction, in [0, 1).
      tau: weight of the online critic in the moving average that is the target critic.
      target_entropy: in nats, for the whole action vector.
      initial_temperature: entropy coefficient before the first update.
      value_range: g_max; values are represented on [-g_max, g_max].
      behaviour_cloning_weight: lambda of the loss that pulls policy actions to the batch's
        actions, relative to the mean absolute value (arXiv 2306.02451).
      weight_decay: decoupled, as in AdamW.
      actor, critic: scales of the hyperspherical networks.
      return_bound: rewards are scaled so that returns stay within [-return_bound, return_bound];
        g_max, or infinity for no bound.
      target_update_interval: target networks move at every so many updates.
      exploration_noise: standard deviation of noise on actions while training (TD3).
      target_noise: of noise on the actions of the target, which is clipped to
        [-target_noise_clip, target_noise_clip] (TD3).
      dropout_rate: share of the critics' hidden units that an update leaves out (DroQ).
      priority_exponent: alpha, of the errors by which transitions are drawn (arXiv 1511.05952).
      importance_exponent: beta at the beginning of a run, of the weights that make up for it.
    """

    learning_rate: jax.Array
    learning_rate_end: jax.Array
    learning_rate_decay_updates: jax.Array
    discount: jax.Array
    tau: jax.Array
    target_entropy: jax.Array
    initial_temperature: jax.Array
    value_range: jax.Array
    behaviour_cloning_weight: jax.Array
    weight_decay: jax.Array
    actor: SphereScales
    critic: SphereScales
    return_bound: Any = np.float32(np.inf)
    target_update_interval: Any = np.int32(1)
    exploration_noise: Any = np.float32(0.0)
    target_noise: Any = np.float32(0.0)
    target_noise_clip: Any = np.float32(0.0)
    dropout_rate: Any = np.float32(0.0)
    priority_exponent: Any = np.float32(0.0)
    importance_exponent: Any = np.float32(0.0)

    def importance_exponent_at(self, progress: jax.Array) -> jax.Array:
        """Beta after a part of the run, from 0 to 1; it rises linearly to 1."""
        start = self.importance_exponent
        return start + (1.0 - start) * progress.clip(0.0, 1.0)

    def learning_rate_at(self, updates: jax.Array) -> jax.Array:
        """Learning rate of the update that follows `updates` earlier ones."""
        progress = updates.astype(self.learning_rate.dtype) / self.learning_rate_decay_updates
        remaining = 1.0 - progress.clip(0.0, 1.0)
        return self.learning_rate_end + (self.learning_rate - self.learning_rate_end) * remaining

"""Batch renormalisation (arXiv 1702.03275), as CrossQ uses it (arXiv 1902.05605v4)."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class BatchRenorm(nn.Module):
    """Normalises features by the statistics of the batch, corrected towards running ones.

    In training, with mu_B and sigma_B of the batch and mu and sigma the running ones,

        r = clip(sigma_B / sigma, 1 / max_ratio, max_ratio)
        d = clip((mu_B - mu) / sigma, -max_shift, max_shift)
        y = scale * ((x - mu_B) / sigma_B * r + d) + bias

    and no gradient passes through r and d. During the warm-up r = 1 and d = 0, which is batch
    normalisation. Otherwise the running statistics take the place of the batch's, which gives the
    same output as long as nothing is clipped.

    The running mean and variance (not the standard deviation, as in the paper on batch
    renormalisation) are exponential averages. They live in the collection `batch_stats`, which has
    to be mutable in training.

    Attributes:
      momentum: weight of the old running statistics.
      epsilon: added to variances.
      warm_up: batches before r and d take effect.
      max_ratio, max_shift: bounds of r and d.
    """

    momentum: float = 0.99
    epsilon: float = 1e-3
    warm_up: int = 100_000
    max_ratio: float = 3.0
    max_shift: float = 5.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """x `(..., features)`; all axes but the last are the batch."""
        shape = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_variance = self.variable("batch_stats", "variance", jnp.ones, shape)
        # A float, so that gradients with respect to a tree that it is part of exist.
        batches = self.variable("batch_stats", "batches", jnp.zeros, ())
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)

        running_std = jnp.sqrt(running_variance.value + self.epsilon)
        if not train:
            return (x - running_mean.value) * (scale / running_std) + bias

        axes = tuple(range(x.ndim - 1))
        mean, variance = x.mean(axes), x.var(axes)
        std = jnp.sqrt(variance + self.epsilon)
        ratio = (std / running_std).clip(1.0 / self.max_ratio, self.max_ratio)
        shift = ((mean - running_mean.value) / running_std).clip(-self.max_shift, self.max_shift)
        warm = batches.value >= self.warm_up
        ratio = jax.lax.stop_gradient(jnp.where(warm, ratio, 1.0))
        shift = jax.lax.stop_gradient(jnp.where(warm, shift, 0.0))
        if not self.is_initializing():
            old, new = self.momentum, 1.0 - self.momentum
            batches.value = batches.value + 1
            running_mean.value = old * running_mean.value + new * mean
            running_variance.value = old * running_variance.value + new * variance
        return (x - mean) * (scale * ratio / std) + (scale * shift + bias)

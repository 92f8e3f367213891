"""The tanh-Gaussian policy distribution."""

import jax
import jax.numpy as jnp

LOG_STD_MIN, LOG_STD_MAX = -10.0, 2.0


def bound_log_std(raw: jax.Array) -> jax.Array:
    """Squashes a network output smoothly into [LOG_STD_MIN, LOG_STD_MAX]."""
    return LOG_STD_MIN + 0.5 * (LOG_STD_MAX - LOG_STD_MIN) * (1.0 + jnp.tanh(raw))


def sample(mean: jax.Array, log_std: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Reparameterised action and its log density.

    Args:
      mean, log_std: `(..., action_size)` of the Gaussian before the tanh.
      noise: `(..., action_size)` standard normal.

    Returns:
      The action `(..., action_size)` in (-1, 1) and its log density `(...)`, the Gaussian's minus
      the log determinant of the tanh (SAC, arXiv 1812.05905, appendix C).
    """
    pre_tanh = mean + jnp.exp(log_std) * noise
    # log(1 - tanh(x)^2) written so that it stays exact where tanh saturates.
    log_determinant = 2.0 * (jnp.log(2.0) - pre_tanh - jax.nn.softplus(-2.0 * pre_tanh))
    log_density = -0.5 * (noise**2 + jnp.log(2.0 * jnp.pi)) - log_std - log_determinant
    return jnp.tanh(pre_tanh), log_density.sum(-1)

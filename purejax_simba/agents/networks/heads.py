"""What actors and critics have on top of an encoder, a module `(..., n)` to `(..., features)`."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

LOG_STD_MIN, LOG_STD_MAX = -10.0, 2.0


def bound_log_std(raw: jax.Array) -> jax.Array:
    """Squashes a network output smoothly into [LOG_STD_MIN, LOG_STD_MAX]."""
    return LOG_STD_MIN + 0.5 * (LOG_STD_MAX - LOG_STD_MIN) * (1.0 + jnp.tanh(raw))


class Actor(nn.Module):
    """Observation `(..., O)` to mean and log std `(..., A)` of the Gaussian before the tanh.

    `dense` makes a linear layer from its name and its number of features.
    """

    action_size: int
    encoder: nn.Module
    dense: Callable[[str, int], nn.Module]

    @nn.compact
    def __call__(self, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = self.encoder(observation)
        mean = self.dense("mean", self.action_size)(x)
        return mean, bound_log_std(self.dense("log_std", self.action_size)(x))


class Critic(nn.Module):
    """Observation and action to `(..., outputs)`; `dense` as in `Actor`."""

    outputs: int
    encoder: nn.Module
    dense: Callable[[str, int], nn.Module]

    @nn.compact
    def __call__(self, observation: jax.Array, action: jax.Array) -> jax.Array:
        x = self.encoder(jnp.concatenate([observation, action], axis=-1))
        return self.dense("value", self.outputs)(x)

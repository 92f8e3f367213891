"""BroNet: residual networks with a layer norm after every linear layer (arXiv 2405.16158)."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from purejax_simba.agents.networks.dense import Dense
from purejax_simba.agents.networks.initialisers import orthogonal
from purejax_simba.agents.networks.observed import observe
from purejax_simba.agents.networks.policy import bound_log_std


def _dense(name: str, features: int) -> Dense:
    return Dense(features, kernel_init=orthogonal(math.sqrt(2.0)), name=name)


class Block(nn.Module):
    """x + LayerNorm(linear(relu(LayerNorm(linear(x)))))."""

    hidden_dim: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = nn.LayerNorm(name="norm_in")(_dense("dense_in", self.hidden_dim)(x))
        h = observe(self, nn.relu(h), "activation")
        h = nn.LayerNorm(name="norm_out")(_dense("dense_out", self.hidden_dim)(h))
        return observe(self, x + h, "feature")


class Encoder(nn.Module):
    """`(..., n)` to `(..., hidden_dim)`: linear, layer norm, relu and the blocks."""

    hidden_dim: int
    num_blocks: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.LayerNorm(name="norm")(_dense("embedder", self.hidden_dim)(x)))
        observe(self, x, "feature", "activation", of="embedder")
        for index in range(self.num_blocks):
            x = Block(self.hidden_dim, name=f"block_{index}")(x)
        return x


class Actor(nn.Module):
    """Observation `(..., O)` to mean and log std `(..., A)` of the Gaussian before the tanh."""

    action_size: int
    hidden_dim: int
    num_blocks: int

    @nn.compact
    def __call__(self, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = Encoder(self.hidden_dim, self.num_blocks, name="encoder")(observation)
        mean = _dense("mean", self.action_size)(x)
        return mean, bound_log_std(_dense("log_std", self.action_size)(x))


class OptimisticActor(nn.Module):
    """What the optimistic policy adds to the mean `(..., A)` of the conservative one.

    It sees that mean beside the observation `(..., O)`; the sum starts close to the mean
    (arXiv 2310.19527).
    """

    action_size: int
    hidden_dim: int
    num_blocks: int

    @nn.compact
    def __call__(self, observation: jax.Array, mean: jax.Array) -> jax.Array:
        x = jnp.concatenate([observation, mean], axis=-1)
        x = Encoder(self.hidden_dim, self.num_blocks, name="encoder")(x)
        shift = Dense(self.action_size, orthogonal(0.01), use_bias=False, name="shift")
        return shift(x)


class Critic(nn.Module):
    """Observation and action to `(..., outputs)`."""

    outputs: int
    hidden_dim: int
    num_blocks: int

    @nn.compact
    def __call__(self, observation: jax.Array, action: jax.Array) -> jax.Array:
        x = jnp.concatenate([observation, action], axis=-1)
        x = Encoder(self.hidden_dim, self.num_blocks, name="encoder")(x)
        return _dense("value", self.outputs)(x)

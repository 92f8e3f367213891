"""Pre-layer-norm residual networks of SimBa, the first version (arXiv 2410.09754)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from purejax_simba.agents.networks.dense import Dense
from purejax_simba.agents.networks.initialisers import orthogonal
from purejax_simba.agents.networks.observed import observe
from purejax_simba.agents.networks.policy import bound_log_std

EXPANSION = 4


class Block(nn.Module):
    """x + MLP(LayerNorm(x)) with an inverted bottleneck."""

    hidden_dim: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def dense(name: str, features: int) -> Dense:
            return Dense(features, kernel_init=nn.initializers.he_normal(), name=name)

        h = nn.LayerNorm(name="norm")(x)
        h = nn.relu(dense("dense_in", self.hidden_dim * EXPANSION)(h))
        observe(self, h, "activation")
        return observe(self, x + dense("dense_out", self.hidden_dim)(h), "feature")


def _orthogonal_dense(name: str, features: int) -> Dense:
    return Dense(features, kernel_init=orthogonal(), name=name)


class Encoder(nn.Module):
    """`(..., n)` to `(..., hidden_dim)`."""

    hidden_dim: int
    num_blocks: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = _orthogonal_dense("embedder", self.hidden_dim)(x)
        observe(self, x, "feature", of="embedder")
        for index in range(self.num_blocks):
            x = Block(self.hidden_dim, name=f"block_{index}")(x)
        return observe(self, nn.LayerNorm(name="norm")(x), "feature", of="norm")


class Actor(nn.Module):
    """Observation `(..., O)` to mean and log std `(..., A)` of the Gaussian before the tanh."""

    action_size: int
    hidden_dim: int
    num_blocks: int

    @nn.compact
    def __call__(self, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = Encoder(self.hidden_dim, self.num_blocks, name="encoder")(observation)
        mean = _orthogonal_dense("mean", self.action_size)(x)
        return mean, bound_log_std(_orthogonal_dense("log_std", self.action_size)(x))


class Critic(nn.Module):
    """Observation and action to `(..., 1)`: the value."""

    hidden_dim: int
    num_blocks: int

    @nn.compact
    def __call__(self, observation: jax.Array, action: jax.Array) -> jax.Array:
        x = jnp.concatenate([observation, action], axis=-1)
        x = Encoder(self.hidden_dim, self.num_blocks, name="encoder")(x)
        return _orthogonal_dense("value", 1)(x)

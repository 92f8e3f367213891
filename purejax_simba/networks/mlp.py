"""Plain multilayer perceptrons with ReLU, as in SAC and TD3."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from purejax_simba.networks.dense import Dense


def _dense(name: str, features: int) -> Dense:
    # Uniform within +-1/sqrt(inputs), as layers are by default in the library of TD3's authors.
    uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
    return Dense(features, kernel_init=uniform, name=name)


class MLP(nn.Module):
    """`(..., n)` to `(..., outputs)` with hidden layers of one width."""

    hidden_dim: int
    num_layers: int
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for index in range(self.num_layers):
            x = nn.relu(_dense(f"hidden_{index}", self.hidden_dim)(x))
        return _dense("output", self.outputs)(x)


class Critic(nn.Module):
    """Observation and action to `(..., outputs)`."""

    hidden_dim: int
    num_layers: int
    outputs: int = 1

    @nn.compact
    def __call__(self, observation: jax.Array, action: jax.Array) -> jax.Array:
        x = jnp.concatenate([observation, action], axis=-1)
        return MLP(self.hidden_dim, self.num_layers, self.outputs, name="mlp")(x)

"""Plain multilayer perceptrons with ReLU, as in SAC and TD3."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from purejax_simba.agents.networks.dense import Dense
from purejax_simba.agents.networks.dropout import dropout
from purejax_simba.agents.networks.observed import observe


def _dense(name: str, features: int) -> Dense:
    # Uniform within +-1/sqrt(inputs), as layers are by default in the library of TD3's authors.
    uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
    return Dense(features, kernel_init=uniform, name=name)


class MLP(nn.Module):
    """`(..., n)` to `(..., outputs)` with hidden layers of one width.

    A hidden layer is linear, dropout (with a rate and a key of the name `dropout`), layer norm (if
    there is any) and relu.
    """

    hidden_dim: int
    num_layers: int
    outputs: int
    layer_norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, dropout_rate: jax.Array | None = None) -> jax.Array:
        for index in range(self.num_layers):
            x = _dense(f"hidden_{index}", self.hidden_dim)(x)
            if dropout_rate is not None:
                x = dropout(self.make_rng("dropout"), x, dropout_rate)
            if self.layer_norm:
                x = nn.LayerNorm(name=f"norm_{index}")(x)
            x = nn.relu(x)
            observe(self, x, "feature", "activation", of=f"hidden_{index}")
        return _dense("output", self.outputs)(x)


class Critic(nn.Module):
    """Observation and action to `(..., outputs)`; dropout and layer norm as in `MLP`."""

    hidden_dim: int
    num_layers: int
    outputs: int = 1
    layer_norm: bool = False

    @nn.compact
    def __call__(
        self, observation: jax.Array, action: jax.Array, dropout_rate: jax.Array | None = None
    ) -> jax.Array:
        x = jnp.concatenate([observation, action], axis=-1)
        mlp = MLP(self.hidden_dim, self.num_layers, self.outputs, self.layer_norm, name="mlp")
        return mlp(x, dropout_rate)

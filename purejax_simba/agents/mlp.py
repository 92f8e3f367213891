"""Plain multilayer perceptrons with ReLU, as in SAC and TD3."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from purejax_simba.agents.layers import Dense
from purejax_simba.agents.observed import observe

_LEVELS = 2**16


def dropout(key: jax.Array, x: jax.Array, rate: jax.Array | float) -> jax.Array:
    """Zeroes every component of x `(..., n)` with probability `rate` and scales up the others.

    The rate may be traced; it is rounded to a multiple of 2^-16, because drawing 16 random bits a
    component, two components from each random word, takes a third of the time that drawing
    uniform numbers does.
    """
    words = jax.random.bits(key, (-(-x.size // 2),), jnp.uint32)
    bits = jax.lax.bitcast_convert_type(words, jnp.uint16).ravel()[: x.size].reshape(x.shape)
    dropped = jnp.round(jnp.asarray(rate) * _LEVELS)
    keep = bits >= dropped.astype(jnp.uint16)
    return jnp.where(keep, x * (_LEVELS / (_LEVELS - dropped)), 0.0)


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

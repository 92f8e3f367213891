"""Networks of CrossQ: batch renormalisation before every linear layer (arXiv 1902.05605v4)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from purejax_simba.agents.networks.batch_renorm import BatchRenorm
from purejax_simba.agents.networks.dense import Dense
from purejax_simba.agents.networks.observed import observe


class Network(nn.Module):
    """`(..., n)` to `(..., outputs)`; `train` as in `BatchRenorm`."""

    hidden_dim: int
    num_layers: int
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = BatchRenorm(name="norm_input")(x, train)
        for index in range(self.num_layers):
            x = nn.relu(Dense(self.hidden_dim, name=f"hidden_{index}")(x))
            observe(self, x, "feature", "activation", of=f"hidden_{index}")
            x = BatchRenorm(name=f"norm_{index}")(x, train)
        return Dense(self.outputs, name="output")(x)


class Critic(nn.Module):
    """Observation and action to `(..., 1)`: the value."""

    hidden_dim: int
    num_layers: int

    @nn.compact
    def __call__(self, observation: jax.Array, action: jax.Array, train: bool) -> jax.Array:
        x = jnp.concatenate([observation, action], axis=-1)
        return Network(self.hidden_dim, self.num_layers, 1, name="network")(x, train)

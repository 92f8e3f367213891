"""A linear layer."""

import flax.linen as nn
import jax

from purejax_simba.agents.networks.matmul import matmul


class Dense(nn.Module):
    """x @ kernel + bias, `(..., n)` to `(..., features)`: `flax.linen.Dense` with our `matmul`."""

    features: int
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        y = matmul(x, kernel)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,))
        return y

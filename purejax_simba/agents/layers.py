"""What networks of several agents are made of."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap

# Entries of a matrix that is worth a place of its own before it is transposed.
_WORTH_A_COPY = 256 * 512
# What the log standard deviations of a policy are squashed into.
LOG_STD_MIN, LOG_STD_MAX = -10.0, 2.0


@jax.custom_vjp
def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x @ kernel for x `(..., n)` and kernel `(n, m)`."""
    return x @ kernel


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return x @ kernel, (x, kernel)


def _backward(
    operands: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = operands
    # XLA's CPU library has no kernel for a product that contracts the first axis of both sides, and
    # would undo a transposition that nothing holds in place.
    rows = x.reshape(-1, x.shape[-1])
    columns = jax.lax.platform_dependent(rows, cpu=_transpose_on_cpu, default=_transpose)
    kernel_gradient = columns @ gradient.reshape(-1, gradient.shape[-1])
    return jnp.einsum("...m,nm->...n", gradient, kernel), kernel_gradient


def _transpose(rows: jax.Array) -> jax.Array:
    return jax.lax.optimization_barrier(rows.T)


def _transpose_on_cpu(rows: jax.Array) -> jax.Array:
    if rows.size < _WORTH_A_COPY:
        return _transpose(rows)
    # XLA would compute the rows anew, column by column, while it transposes them, which takes twice
    # as long as the transposition. It fuses nothing into a conditional.
    always = jax.lax.optimization_barrier(jnp.bool_(True))
    return jax.lax.cond(always, jnp.transpose, lambda rows: jnp.zeros_like(rows.T), rows)


matmul.defvjp(_forward, _backward)


def orthogonal(scale: float = 1.0, column_axis: int = -1) -> nn.initializers.Initializer:
    """Orthogonal matrices times `scale`, drawn one after another when batched.

    On a CPU a batched QR decomposition waits, inside the thread pool, for work that the same pool
    is to do; two of them at a time can block all its threads for good.
    """
    draw = nn.initializers.orthogonal(scale, column_axis)

    def initialise(key: jax.Array, shape, dtype=jnp.float32, out_sharding=None) -> jax.Array:
        return sequential_vmap(lambda key: draw(key, shape, dtype))(key)

    return initialise


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


def as_functions(module: nn.Module, *sizes: int) -> tuple[Callable[..., dict], Callable[..., Any]]:
    """A module that has parameters only, and needs no hyperparameters.

    Args:
      module: of the network.
      sizes: lengths of its inputs.

    Returns:
      `init(key) -> params` and `apply(params, *inputs, hyperparameters) -> output`.
    """
    inputs = [jnp.zeros((1, size)) for size in sizes]

    def init(key: jax.Array) -> dict:
        return module.init(key, *inputs)["params"]

    def apply(params: dict, *arguments: Any) -> Any:
        *inputs, _ = arguments
        return module.apply({"params": params}, *inputs)

    return init, apply

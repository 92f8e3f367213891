"""Matrix product whose gradients suit the fast kernels of every backend."""

import jax
import jax.numpy as jnp

# Entries of a matrix that is worth a place of its own before it is transposed.
_WORTH_A_COPY = 256 * 512


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

"""Factorisations of batches on several devices of a CPU end, and are right."""

import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.physics.corrections.cholesky import serial_cholesky
from purejax_simba.runs.devices import PER_RUN, make_mesh, use_all_cores
from tests.helpers import tiny

SIZE, BATCH, DEVICES, STEPS = 30, 128, 2, 1000


@pytest.mark.slow
def test_two_devices_do_not_wait_for_each_other():
    """In a process of its own, which has no more threads than devices."""
    tiny.run_module("tests.envs.physics.corrections.test_cholesky", timeout=120)


def factorise() -> None:
    """Factorises on two devices at once, many times."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:DEVICES])
    use_all_cores(DEVICES)

    def repeat(matrices: jax.Array) -> jax.Array:
        def again(matrices, _):
            lower, _ = jax.scipy.linalg.cho_factor(matrices, lower=True)
            lower = jnp.tril(lower)
            return lower @ jnp.swapaxes(lower, -1, -2), None

        return jax.lax.scan(again, matrices, None, length=STEPS)[0]

    both = jax.shard_map(
        jax.vmap(jax.vmap(serial_cholesky()(repeat))),
        mesh=make_mesh(DEVICES),
        in_specs=PER_RUN,
        out_specs=PER_RUN,
    )
    jax.block_until_ready(jax.jit(both)(positive_definite(DEVICES, BATCH)))


def positive_definite(*batch: int) -> jax.Array:
    """Matrices to factorise."""
    factors = jax.random.normal(jax.random.key(0), (*batch, SIZE, SIZE)) / SIZE
    return factors @ jnp.swapaxes(factors, -1, -2) + jnp.eye(SIZE)


def test_the_numbers_are_those_of_numpy():
    matrices, vectors = positive_definite(3, 4), jnp.ones((3, 4, SIZE))

    @jax.vmap
    @jax.vmap
    @serial_cholesky()
    def solve(matrix, vector):
        factor = jax.scipy.linalg.cho_factor(matrix)
        direct = jax.scipy.linalg.solve(matrix, vector, assume_a="pos")
        return jax.scipy.linalg.cho_solve(factor, vector), direct

    expected = np.linalg.solve(np.asarray(matrices, float), np.ones((3, 4, SIZE, 1)))[..., 0]
    for solution in solve(matrices, vectors):
        np.testing.assert_allclose(solution, expected, rtol=1e-4)


if __name__ == "__main__":
    sys.exit(factorise())

"""Cholesky factorisations that cannot wait for each other.

On a CPU, jaxlib before 0.11 shares the matrices of a batch out among XLA's threads and blocks one
of them until all are done. Where as many batches as there are threads are being factorised, by
several devices for example, each waits for a thread for ever: two are enough on two cores.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax

_may_hang = jax.__version_info__ < (0, 11)
_cho_factor = jax.scipy.linalg.cho_factor
_solve = jax.scipy.linalg.solve


@contextlib.contextmanager
def serial_cholesky() -> Iterator[None]:
    """Inside, those of `jax.scipy.linalg` are traced so that a CPU takes matrices one by one."""
    if not _may_hang:
        yield
        return
    linalg = jax.scipy.linalg
    with (
        mock.patch.object(linalg, "cho_factor", _serial_cho_factor),
        mock.patch.object(linalg, "solve", _serial_solve),
    ):
        yield


def _serial_cho_factor(a: jax.Array, lower: bool = False, **options: Any) -> tuple[jax.Array, bool]:
    def factor(a: jax.Array) -> jax.Array:
        return _cho_factor(a, lower, **options)[0]

    return _serial_on_cpu(factor, a), lower


def _serial_solve(a: jax.Array, b: jax.Array, **options: Any) -> jax.Array:
    return _serial_on_cpu(functools.partial(_solve, **options), a, b)


def _serial_on_cpu(function: Callable[..., jax.Array], *matrices: jax.Array) -> jax.Array:
    """The function of one simulation, by the platform that the program is compiled for."""
    serial = jax.custom_batching.sequential_vmap(function)
    return jax.lax.platform_dependent(*matrices, cpu=serial, default=function)

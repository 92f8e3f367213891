"""MJX's line search, ended when it is done.

MJX writes it as a scan over all iterations that are allowed (50), in which those after the last one
that is needed do nothing, so that it can be differentiated backwards. Under `vmap` they do
everything and their results are thrown away. As a loop with a condition, it ends when the line
searches of all simulations have; the numbers are the same.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar
from unittest import mock

import jax
from jax.flatten_util import ravel_pytree
from mujoco.mjx._src import solver

_Carry = TypeVar("_Carry")


@contextlib.contextmanager
def short_line_search() -> Iterator[None]:
    """Inside, MJX's solver is traced with line searches that end early."""
    with mock.patch.object(solver, "_while_loop_scan", _while_loop):
        yield


def _while_loop(
    condition: Callable[[_Carry], jax.Array],
    body: Callable[[_Carry], _Carry],
    begin: _Carry,
    most_iterations: int,
) -> _Carry:
    del most_iterations  # the condition counts them
    # What is carried is numbers, of which one depends on the others: as arrays of their own a GPU
    # would copy each after every iteration. Booleans and counts are exact in one array with them.
    flat, parts = ravel_pytree(begin)
    flat = jax.lax.while_loop(
        lambda flat: condition(parts(flat)), lambda flat: ravel_pytree(body(parts(flat)))[0], flat
    )
    return parts(flat)

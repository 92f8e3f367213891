"""Calls from a compiled program to a numpy function on the host, one for a whole batch.

`jax.pure_callback` and `io_callback` turn what they pass on into JAX arrays. That takes a tenth of
a millisecond per call, and several times as much where calls of several devices meet at Python's
interpreter lock. Here the function gets the program's own buffers as numpy arrays.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from envs import jax_internals

Function = Callable[[np.ndarray], np.ndarray]


class HostEnvironmentError(RuntimeError):
    """What the host says about an environment that cannot go on, in one line."""


def host_call(function: Function, row: jax.Array, size: int, dtype: Any) -> jax.Array:
    """Calls `function` with a row, or under any number of `vmap`s once with all rows.

    The call is made whenever its result is used, exactly once, and never merged with another.

    Args:
      function: `(rows, row size)` -> `(rows, size)` of `dtype`. What it gets is only valid until it
        returns, and it may use numpy, but not JAX, which could wait for the program that waits
        for it. Calls of several devices may run at the same time.
      row: `(row size,)`, or more dimensions with the rows in the last.
      size: entries of the result.
      dtype: its type.

    Returns:
      `(..., size)`.
    """
    return _host_call.bind(row, function=function, size=size, dtype=jnp.dtype(dtype))


def float_words(numbers: jax.Array) -> jax.Array:
    """Numbers as float32, in uint32 words of the same bits."""
    return jax.lax.bitcast_convert_type(numbers.astype(jnp.float32), jnp.uint32)


_host_call = Primitive("host_call")


@_host_call.def_impl
def _call_now(row: jax.Array, *, function: Function, size: int, dtype: np.dtype) -> jax.Array:
    return jnp.asarray(_of_rows(function, row, size))


@_host_call.def_abstract_eval
def _result(row: Any, *, function: Function, size: int, dtype: np.dtype) -> Any:
    return jax.core.ShapedArray((*row.shape[:-1], size), dtype)


def _batch(rows: Any, axes: Any, **parameters: Any) -> tuple[jax.Array, int]:
    return _host_call.bind(jnp.moveaxis(rows[0], axes[0], 0), **parameters), 0


def _lower(context: Any, row: Any, *, function: Function, size: int, dtype: np.dtype) -> Any:
    if _left_out is not None:
        _left_out.append(function)
        return mlir.lower_fun(partial(_stand_in, size, dtype), multiple_results=False)(context, row)
    sharding = jax_internals.call_sharding(context)
    results, _, _ = mlir.emit_python_callback(
        context,
        partial(_call_in_program, function, size),
        None,
        [row],
        context.avals_in,
        context.avals_out,
        has_side_effect=True,
        returns_token=False,
        sharding=sharding,
    )
    return results


def _stand_in(size: int, dtype: np.dtype, row: jax.Array) -> jax.Array:
    return jnp.broadcast_to(row.sum(-1, keepdims=True).astype(dtype), (*row.shape[:-1], size))


def _of_rows(function: Function, row: Any, size: int) -> np.ndarray:
    rows = np.asarray(row)
    return function(rows.reshape(-1, rows.shape[-1])).reshape(*rows.shape[:-1], size)


def _call_in_program(function: Function, size: int, row: Any) -> tuple[np.ndarray]:
    try:
        return (_of_rows(function, row, size),)
    except BaseException as error:
        _raised.append(error)
        raise


batching.primitive_batchers[_host_call] = _batch
# Every lowering registers the function with its own program.
mlir.register_lowering(_host_call, _lower, cacheable=False)

_left_out: list[Function] | None = None


@contextlib.contextmanager
def left_out() -> Iterator[list[Function]]:
    """Inside, programs are lowered without their calls, to see what else they are made of.

    JAX cannot lower calls for devices that are not here. Something of the same shape is in the
    place of each; such a program is not one to run.

    Yields:
      The functions that would be called.
    """
    global _left_out
    functions = _left_out = []
    try:
        yield functions
    finally:
        _left_out = None


# What was raised inside a call. JAX passes on only its text, within a long one of its own.
_raised: list[BaseException] = []


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Raises what a function on the host raised in a program, not what JAX makes of it.

    Raises:
      BaseException: whatever it was.
    """
    _raised.clear()
    try:
        yield
    except jax.errors.JaxRuntimeError:
        if not _raised:
            raise
        error = _raised[0]
        _raised.clear()
        jax_internals.forget_failed_calls()
        raise error from None

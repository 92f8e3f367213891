"""Simulations as one batch, however many `vmap`s (of runs, of environments) are around a call.

An engine is thousands of operations: to batch them once more for each `vmap` takes JAX seconds at
every place at which a program calls it, and no cache keeps that.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir


def simulate_together(simulate: Callable[..., Any], outline: Any, *arguments: Any) -> Any:
    """Calls `simulate` with the simulations of all `vmap`s around it. It has no derivative.

    Args:
      simulate: `(on_cpu, *arguments) -> result`, traced when it is known for which platform and
        for how many simulations, which are the leading axis of all arrays.
      outline: shapes and types of the result for one simulation.
      arguments: trees of the arrays of one simulation.

    Returns:
      The result for one simulation.
    """
    leaves, structure = jax.tree.flatten(arguments)
    arrays = [jnp.asarray(leaf) for leaf in leaves]
    results = _simulate.bind(
        *arrays,
        simulate=simulate,
        structure=structure,
        rank=arrays[0].ndim,
        outline=tuple(jax.tree.leaves(outline)),
    )
    return jax.tree.unflatten(jax.tree.structure(outline), results)


_simulate = Primitive("simulate")
_simulate.multiple_results = True
_simulate_jitted = jax.jit(
    _simulate.bind, static_argnames=("simulate", "structure", "rank", "outline")
)


@_simulate.def_impl
def _simulate_now(*arrays: jax.Array, **parameters: Any) -> list[jax.Array]:
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        return _simulate_all(jax.default_backend() == "cpu", *arrays, **parameters)
    return _simulate_jitted(*arrays, **parameters)


@_simulate.def_abstract_eval
def _results(*arrays: Any, rank: int, outline: tuple, **_: Any) -> list[Any]:
    batch = arrays[0].shape[: arrays[0].ndim - rank]
    return [jax.core.ShapedArray((*batch, *leaf.shape), leaf.dtype) for leaf in outline]


def _batch(arrays: Any, axes: Any, **parameters: Any) -> tuple[list[jax.Array], list[int]]:
    (size,) = {a.shape[axis] for a, axis in zip(arrays, axes, strict=True) if axis is not None}
    rows = [
        jnp.broadcast_to(a, (size, *a.shape)) if axis is None else jnp.moveaxis(a, axis, 0)
        for a, axis in zip(arrays, axes, strict=True)
    ]
    results = _simulate.bind(*rows, **parameters)
    return results, [0] * len(results)


def _simulate_all(
    on_cpu: bool,
    *arrays: jax.Array,
    simulate: Callable[..., Any],
    structure: Any,
    rank: int,
    outline: tuple,
) -> list[jax.Array]:
    batch = arrays[0].shape[: arrays[0].ndim - rank]
    worlds = math.prod(batch)
    rows = [array.reshape(worlds, *array.shape[len(batch) :]) for array in arrays]
    results = jax.tree.leaves(simulate(on_cpu, *jax.tree.unflatten(structure, rows)))
    return [
        result.astype(leaf.dtype).reshape(*batch, *leaf.shape)
        for result, leaf in zip(results, outline, strict=True)
    ]


batching.primitive_batchers[_simulate] = _batch
for _platform, _on_cpu in ((None, False), ("cpu", True)):
    mlir.register_lowering(
        _simulate,
        mlir.lower_fun(partial(_simulate_all, _on_cpu), multiple_results=True),
        platform=_platform,
    )

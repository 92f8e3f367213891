"""One run on several devices, which divide its environments and its batches among themselves.

A function of a run is the same one wherever it is computed: its arrays are whole, whatever devices
hold pieces of them, and the compiler adds the communication that this takes (GSPMD, arXiv
2105.04663). So random draws, means and gradients are those of the whole run. What is here says
where arrays are divided; without an axis `DEVICE_AXIS` of devices it does nothing.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.sharding import PartitionSpec

DEVICE_AXIS = "device"

_T = TypeVar("_T")
_Function = TypeVar("_Function", bound=Callable[..., Any])


def divide(tree: _T) -> _T:
    """The same arrays, divided along their leading axis."""
    if not _is_divided():
        return tree
    return jax.lax.with_sharding_constraint(tree, PartitionSpec(DEVICE_AXIS))


def per_device(function: _Function) -> _Function:
    """The same function, each device computing it for its own environments.

    Its arrays have a leading axis of environments, which do not depend on each other. The compiler
    would have devices wait for each other where a loop goes on until all environments are done, as
    the solvers of physics do, and would bring everything to one device for host calls.
    """
    if not _is_divided():
        return function
    own = PartitionSpec(DEVICE_AXIS)
    return jax.shard_map(
        function, in_specs=own, out_specs=own, axis_names={DEVICE_AXIS}, check_vma=False
    )


def _is_divided() -> bool:
    return DEVICE_AXIS in jax.sharding.get_abstract_mesh().axis_names

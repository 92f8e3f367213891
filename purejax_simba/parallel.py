"""Where runs are computed: how they are spread over the devices of this machine."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax._src import xla_bridge
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from envs.cores import count_cores

RUN_AXIS = "run"
# On a CPU: fast kernels for matrix products and none of the library's own fusions around them,
# whose overhead per operation is large at the sizes of a minibatch.
CPU_FLAGS = "--xla_cpu_experimental_ynn_fusion_type=INDIVIDUAL_DOT"

# Elements of a hidden layer over a batch, from which two runs side by side would not find room in
# the cache of a core (a megabyte or two).
_ELEMENTS_WORTH_A_TURN = 128 * 128


def use_all_cores(num_runs: int) -> None:
    """Makes one virtual device per core where JAX would compute on a CPU.

    XLA's CPU threads meet at every small operation; runs that have a core for themselves never
    wait for another. Call this before anything else touches JAX; where devices exist already, or
    accelerators are in use, it does nothing.
    """
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms not in ("", "cpu") or jax_is_initialised():
        return
    # A number of runs below one is refused later, with advice.
    num_runs = max(num_runs, 1)
    os.environ["XLA_FLAGS"] = f"{CPU_FLAGS} {os.environ.get('XLA_FLAGS', '')}"
    jax.config.update("jax_num_cpu_devices", _devices_for(num_runs, count_cores()))


def jax_is_initialised() -> bool:
    """Whether JAX has chosen its devices already."""
    return xla_bridge.backends_are_initialized()


def _devices_for(num_runs: int, limit: int) -> int:
    """The fewest devices on which no device has more runs than it must have."""
    most_per_device = -(-num_runs // limit)
    return -(-num_runs // most_per_device)


def make_mesh(num_runs: int) -> Mesh:
    """A mesh of the local devices that the runs need, as evenly as they can be spread."""
    devices = jax.local_devices()
    count = _devices_for(num_runs, len(devices))
    return Mesh(np.array(devices[:count]), (RUN_AXIS,))


def runs_at_a_time(num_runs: int, mesh: Mesh, batch_size: int, critic_hidden_dim: int) -> int:
    """How many runs to train side by side, a multiple of the devices; the others wait for a turn.

    All of them, but on a CPU one per device as soon as networks are not small: their updates are
    bound by the memory that they pass over, and what is gained by doing an operation for several
    runs at once is less than what the cache loses.
    """
    large = batch_size * critic_hidden_dim >= _ELEMENTS_WORTH_A_TURN
    if large and jax.default_backend() == "cpu":
        return mesh.size
    return -(-num_runs // mesh.size) * mesh.size


def map_runs(
    function: Callable[..., Any],
    mesh: Mesh,
    in_axes: Sequence[int | None],
    out_axes: Any = 0,
    donate: Sequence[int] = (),
) -> jax.stages.Wrapped:
    """Compiles a function of one run for many, each device computing its own runs.

    Args:
      function: of one run.
      mesh: from `make_mesh`.
      in_axes: per argument 0 if it has a leading axis of runs, None if runs share it.
      out_axes: the same for the output, or for each of a tuple.
      donate: arguments whose memory the outputs may take over.
    """

    def specification(axis: Any) -> Any:
        return jax.tree.map(
            lambda a: PartitionSpec() if a is None else PartitionSpec(RUN_AXIS),
            axis,
            is_leaf=lambda a: a is None,
        )

    # Without check_vma each device makes host calls for its own runs only.
    sharded = jax.shard_map(
        jax.vmap(function, in_axes=tuple(in_axes), out_axes=out_axes),
        mesh=mesh,
        in_specs=tuple(specification(axis) for axis in in_axes),
        out_specs=specification(out_axes),
        check_vma=False,
    )
    return jax.jit(sharded, donate_argnums=tuple(donate))


def shard_runs(tree: Any, mesh: Mesh) -> Any:
    """Places arrays with a leading axis of runs."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(RUN_AXIS)))


def place_shared(tree: Any, mesh: Mesh) -> Any:
    """Places arrays that all runs share, once on each device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def split_runs(tree: Any, size: int, mesh: Mesh) -> list[Any]:
    """Groups of `size` runs of arrays with a leading axis of runs, each placed on the mesh.

    Where they come out uneven, the last run fills up the last group.
    """
    count = len(jax.tree.leaves(tree)[0])
    groups = []
    for first in range(0, count, size):
        numbers = np.minimum(np.arange(first, first + size), count - 1)
        groups.append(shard_runs(jax.tree.map(lambda leaf, n=numbers: leaf[n], tree), mesh))
    return groups


def join_runs(groups: Iterable[Any], count: int) -> Any:
    """The opposite of `split_runs`, for numpy arrays of `count` runs; a copy."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *groups)

"""Where runs are computed: JAX before it is first used, and how runs are spread over devices."""

import functools
import hashlib
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from envs import jax_internals
from envs.cores import count_cores
from purejax_simba.agents.agent import HyperParameters
from purejax_simba.config import Config, ConfigError
from purejax_simba.defaults import hyperparameters
from purejax_simba.division import DEVICE_AXIS
from purejax_simba.program import Program
from purejax_simba.runs import processes
from purejax_simba.waiting import count_of

RUN_AXIS = "run"
# Where an argument or result of a function of many runs is: each run's own on its devices, or
# the same for all runs.
PER_RUN, SHARED = PartitionSpec(RUN_AXIS), PartitionSpec()
# On a CPU: fast kernels for matrix products and none of the library's own fusions around them,
# whose overhead per operation is large at the sizes of a minibatch. Operations in the order of
# least memory: what could be computed side by side has no core to itself, and misses the cache.
CPU_FLAGS = (
    "--xla_cpu_experimental_ynn_fusion_type=INDIVIDUAL_DOT "
    "--xla_cpu_enable_concurrency_optimized_scheduler=false"
)

# Elements of a hidden layer over a batch, from which two runs side by side would not find room in
# the cache of a core (a megabyte or two).
_ELEMENTS_WORTH_A_TURN = 128 * 128
# What compiles faster is not worth a file.
_SECONDS_WORTH_KEEPING = 0.5


def use_all_cores(num_runs: int, devices_per_run: int = 1) -> None:
    """Makes one virtual device per core where JAX would compute on a CPU, as far as there is use.

    XLA's CPU threads meet at every small operation; runs that have a core for themselves never
    wait for another. Call this before anything else touches JAX; where devices exist already, or
    accelerators are in use, it does nothing.
    """
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms not in ("", "cpu") or jax_internals.is_initialised():
        return
    # Numbers below one, and too many devices per run, are refused later, with advice.
    cores, devices_per_run = count_cores(), max(devices_per_run, 1)
    side_by_side = _devices_for(max(num_runs, 1), max(cores // devices_per_run, 1))
    os.environ["XLA_FLAGS"] = f"{CPU_FLAGS} {os.environ.get('XLA_FLAGS', '')}"
    jax.config.update("jax_num_cpu_devices", min(side_by_side * devices_per_run, cores))


def use_compilation_cache() -> None:
    """Lets JAX keep its compiled programs below `$XDG_CACHE_HOME` (or `~/.cache`).

    A directory that the user has chosen (`JAX_COMPILATION_CACHE_DIR`) is left as it is. JAX never
    keeps programs with host callbacks, such as those that train in C MuJoCo. Nor does a user whom
    the system does not know, in a container for example, keep any: there is no home.
    """
    chosen: str | None = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if chosen is not None or home.startswith("~"):
        return
    place = Path(home) / "purejax_simba" / _machine()
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _SECONDS_WORTH_KEEPING)


def _machine() -> str:
    """A name for this kind of processor: home directories are shared, instruction sets are not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    features = sorted({line for line in lines if line.startswith(("flags", "Features"))})
    digest = hashlib.sha256("\n".join(features or lines).encode()).hexdigest()[:8]
    return f"{platform.machine()}-{digest}"


def _devices_for(num_runs: int, limit: int) -> int:
    """The fewest devices (or teams of them) of which none has more runs than it must have."""
    most_per_device = -(-num_runs // limit)
    return -(-num_runs // most_per_device)


def spans_processes(devices_per_run: int) -> bool:
    """Whether a run takes more devices than a process has: then all compute all runs together."""
    return jax.process_count() > 1 and devices_per_run > jax.local_device_count()


def make_mesh(
    num_runs: int, devices_per_run: int = 1, targets: Sequence[jax.Device] | None = None
) -> Mesh:
    """A mesh of the devices that the runs need, as evenly as they can be spread.

    They are those of this process, or of all together if a run `spans_processes`, or devices that
    are not here, see `runs.targets`.

    Returns:
      A mesh with an axis of runs and, with several devices per run, one of the devices of a run.

    Raises:
      ConfigError: if the devices cannot be divided so.
    """
    together = spans_processes(devices_per_run)
    devices = np.array(targets or (jax.devices() if together else jax.local_devices()))
    if len(devices) % devices_per_run:
        choices = [str(n) for n in range(1, len(devices) + 1) if len(devices) % n == 0]
        raise ConfigError(
            f"--devices-per-run {devices_per_run} does not divide the "
            f"{count_of(len(devices), 'device')} that there are: give one of {', '.join(choices)}"
        )
    rows = len(devices) // devices_per_run
    if not together:  # where no process may be left without a device
        rows = _devices_for(num_runs, rows)
    devices = devices[: rows * devices_per_run]
    if devices_per_run == 1:
        return Mesh(devices, (RUN_AXIS,))
    return Mesh(devices.reshape(rows, devices_per_run), (RUN_AXIS, DEVICE_AXIS))


def runs_at_a_time(num_runs: int, mesh: Mesh, batch_size: int, critic_hidden_dim: int) -> int:
    """How many runs to train side by side, as many on each device; the others wait for a turn.

    All of them, but on a CPU one at a time as soon as networks are not small: their updates are
    bound by the memory that they pass over, and what is gained by doing an operation for several
    runs at once is less than what the cache loses.
    """
    rows = mesh.shape[RUN_AXIS]
    own_batch_size = batch_size * rows // mesh.size
    large = own_batch_size * critic_hidden_dim >= _ELEMENTS_WORTH_A_TURN
    if large and mesh.devices.flat[0].platform == "cpu":
        return rows
    return -(-num_runs // rows) * rows


def map_runs(
    function: Callable[..., Any],
    mesh: Mesh,
    in_specs: Sequence[Any],
    out_specs: Any = PER_RUN,
    donate: Sequence[int] = (),
) -> jax.stages.Wrapped:
    """Compiles a function of one run for many, each device computing its own runs.

    Where a run has several devices, the function is still that of the whole run (see `division`).

    Args:
      function, mesh: of one run, and from `make_mesh`.
      in_specs: of each argument `PER_RUN` if it has a leading axis of runs, `SHARED` if not, or a
        tree of these and of what `divided_runs` gives.
      out_specs: the same for the output.
      donate: arguments whose memory the outputs may take over.
    """

    def axes(specs: Any) -> Any:
        return jax.tree.map(lambda spec: None if spec == SHARED else 0, specs)

    def over_runs(specs: Any) -> Any:
        return jax.tree.map(lambda spec: PartitionSpec(*spec[:1]), specs)

    in_specs = tuple(in_specs)
    # Without check_vma each device makes host calls for its own runs only.
    sharded = jax.shard_map(
        jax.vmap(function, in_axes=axes(in_specs), out_axes=axes(out_specs)),
        mesh=mesh,
        in_specs=over_runs(in_specs),
        out_specs=over_runs(out_specs),
        axis_names={RUN_AXIS},
        check_vma=False,
    )
    return jax.jit(
        sharded,
        in_shardings=shardings(in_specs, mesh),
        out_shardings=shardings(out_specs, mesh),
        donate_argnums=tuple(donate),
    )


def shapes_of_runs(shapes: Any, count: int) -> Any:
    """Shapes of arrays of so many runs, from those of one run."""
    return jax.tree.map(lambda leaf: leaf.update(shape=(count, *leaf.shape)), shapes)


def divided_runs(axes: Any, mesh: Mesh) -> Any:
    """Specifications of arrays of runs that are divided among the devices of each run, if several.

    `axes` says for each leaf which axis of one run's array that is; -1: each device has all of it.
    """

    def specification(axis: int) -> PartitionSpec:
        if axis < 0 or DEVICE_AXIS not in mesh.axis_names:
            return PER_RUN
        return PartitionSpec(RUN_AXIS, *[None] * axis, DEVICE_AXIS)

    return jax.tree.map(specification, axes)


def shardings(specs: Any, mesh: Mesh) -> Any:
    """Where specifications put arrays on a mesh."""
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)


def shard_runs(tree: Any, mesh: Mesh, specs: Any = PER_RUN) -> Any:
    """Places arrays with a leading axis of runs, which every process of the mesh has."""
    where = shardings(specs, mesh)
    if mesh.is_multi_process:
        return jax.tree.map(_place_parts, tree, jax.tree.broadcast(where, tree))
    return jax.device_put(tree, where)


def _place_parts(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """As `jax.device_put`, which would have processes compare the whole of their arrays."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_place_parts(jax.random.key_data(leaf), sharding))
    leaf = np.asarray(leaf)
    return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])


def fetch(tree: Any) -> Any:
    """Whole arrays of numpy from arrays that may have parts in several processes."""
    return jax.tree.map(_fetch, tree)


def _fetch(leaf: jax.Array) -> np.ndarray:
    if not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        everywhere = NamedSharding(leaf.sharding.mesh, SHARED)  # type: ignore[attr-defined]
        leaf = jax.jit(lambda array: array, out_shardings=everywhere)(leaf)
    return jax.device_get(leaf)


def split_runs(tree: Any, size: int, mesh: Mesh, specs: Any = PER_RUN) -> list[Any]:
    """Groups of `size` runs of arrays with a leading axis of runs, each placed on the mesh.

    Where they come out uneven, the last run fills up the last group.
    """
    count = len(jax.tree.leaves(tree)[0])
    groups = []
    for first in range(0, count, size):
        numbers = np.minimum(np.arange(first, first + size), count - 1)
        group = jax.tree.map(lambda leaf, n=numbers: leaf[n], tree)
        groups.append(shard_runs(group, mesh, specs))
    return groups


def join_runs(groups: Iterable[Any], count: int) -> Any:
    """The opposite of `split_runs`, for numpy arrays of `count` runs; a copy."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *groups)


class Inputs(NamedTuple):
    """What makes runs different from each other, with a leading axis of runs."""

    keys: jax.Array
    hyperparameters: HyperParameters


def make_inputs(configs: Sequence[Config], action_size: int) -> Inputs:
    """Keys and hyperparameters of the seeds of all configurations, one after the other."""
    keys = [jax.random.key(seed) for config in configs for seed in config.seeds]
    numbers: list[HyperParameters] = []
    for config in configs:
        numbers += [hyperparameters(config, action_size)] * config.num_seeds
    return Inputs(jnp.stack(keys), jax.tree.map(lambda *leaves: jnp.stack(leaves), *numbers))


@dataclass(frozen=True, eq=False)
class Placement:
    """The runs of a program, of one configuration or more, in groups that take turns.

    There is one group, except where `runs_at_a_time` says that a device is faster with one run.

    Attributes:
      inputs: of all runs.
      own: which of them are this process's, as indices.
      num_processes: among which the runs are shared: 1 if all of them compute all runs together.
      mesh: the devices of this process, or of all if they do.
      at_a_time: the size of a group.
    """

    inputs: Inputs
    own: np.ndarray
    num_processes: int
    mesh: jax.sharding.Mesh
    at_a_time: int

    @classmethod
    def choose(cls, program: Program, configs: Sequence[Config] = ()) -> "Placement":
        """Spreads the runs of a program over the devices that there are.

        `configs` are resolved, and equal to the program's own but for hyperparameters, seeds and
        names; by default that one.
        """
        config = program.config
        inputs = make_inputs(configs or [config], program.environment.action_size)
        count = len(inputs.keys)
        together = spans_processes(config.devices_per_run)
        own = np.arange(count) if together else processes.share(count)
        mesh = make_mesh(len(own), config.devices_per_run)
        at_a_time = runs_at_a_time(len(own), mesh, config.batch_size, config.critic_width)
        return cls(inputs, own, 1 if together else jax.process_count(), mesh, at_a_time)

    @property
    def count(self) -> int:
        """The number of runs, in all processes together."""
        return len(self.inputs.keys)

    @functools.cached_property
    def groups(self) -> list[Inputs]:
        """The inputs of this process's runs, on their devices."""
        return self.split(self.inputs)

    def split(self, tree: Any, specs: Any = PER_RUN) -> list[Any]:
        """Groups, on their devices, of arrays with a leading axis of all runs."""
        own = jax.tree.map(lambda leaf: leaf[self.own], tree)
        return split_runs(own, self.at_a_time, self.mesh, specs)

    def join(self, groups: Sequence[Any]) -> Any:
        """The opposite of `split`: arrays of all runs, from numpy arrays of each group."""
        own = join_runs(groups, len(self.own))
        return own if self.num_processes == 1 else processes.gather(own, self.count)

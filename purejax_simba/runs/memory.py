"""Will it fit? Answered from shapes alone, before anything is compiled."""

import bisect
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax

from purejax_simba.config import ConfigError, known
from purejax_simba.errors import FailedError
from purejax_simba.program import Program
from purejax_simba.runs.devices import make_mesh, runs_at_a_time
from purejax_simba.settings import declarations, flag
from purejax_simba.waiting import count_of

GIB = 2**30
# Settings of agents on which their memory depends.
_SIZES = (
    *("critic_hidden_dim", "actor_hidden_dim", "num_critics", "num_bins"),
    *("critic_num_blocks", "actor_num_blocks"),
)


# What an update has in memory besides the state, by platform: how much of the activations of both
# losses, or of the larger ones, whose place the others take, and how often the trained parameters.
# As XLA's own figures say of all agents; elsewhere nothing was fitted, and it is that of a GPU.
_UPDATES: dict[str, tuple[Callable[[Sequence[int]], int], float, float]] = {
    "cpu": (sum, 0.23, 3.5),
    "gpu": (max, 0.9, 0.4),
}


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays (or shapes of arrays) in a tree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def bytes_per_run(program: Program, platform: str | None = None) -> dict[str, int]:
    """Memory of one run, on all of its devices together, by purpose.

    Args:
      program: of one run.
      platform: of the devices; default: of those that are here.

    `updates` is what a gradient step needs besides its state: the activations of a batch, kept for
    the backward pass, gradients, and copies of kernels in another layout; see `_UPDATES`.
    `checkpoint` is the copy from which one is written, where that is in the memory of the runs.
    """
    platform = platform or jax.default_backend()
    state, config = program.state_shapes, program.config
    agent = state.agent
    optimizer = tree_bytes([x for name, x in vars(agent).items() if name.endswith("_optimizer")])
    parameters = tree_bytes(agent) - optimizer
    trained = tree_bytes((agent.actor, getattr(agent, "critic", ())))
    of_actor, of_critic = map(tree_bytes, program.activation_shapes)
    # Besides the activations there are the parameters of the networks that a gradient passes.
    of_critics = tree_bytes(getattr(agent, "critic", ()))
    activations = max(of_actor - trained, 0), max(of_critic - of_critics, 0)
    replay, environment = tree_bytes(state.replay), tree_bytes(state.environment)
    copy = 0
    if platform == "cpu" and config.interactions_per_checkpoint:
        copy = parameters + optimizer + environment + replay * config.checkpoint.replay
    # Every device has all parameters, and a part of everything else.
    devices = config.devices_per_run
    joined, kept, copies = _UPDATES.get(platform, _UPDATES["gpu"])
    updates = int(kept * joined(activations) + copies * trained * devices)
    return {
        "replay": replay,
        "parameters": parameters * devices,
        "optimizer": optimizer * devices,
        "updates": updates,
        "environment": environment,
        "checkpoint": copy,
    }


class _Need(NamedTuple):
    """What a program needs, in bytes.

    Attributes:
      kept: for each run, as long as it lasts.
      working: for each of those that are updated side by side.
      data: for what all runs share, on each device.
      in_one: whether all devices share one memory, as CPU cores do.
    """

    kept: int
    working: int
    data: int
    in_one: bool

    @classmethod
    def of(cls, program: Program, platform: str | None = None) -> "_Need":
        """That of the runs of a program."""
        platform = platform or jax.default_backend()
        per_run = bytes_per_run(program, platform)
        working = per_run.pop("updates")
        kept = sum(per_run.values())
        return cls(kept, working, tree_bytes(program.data), platform == "cpu")

    def together(self, runs: int, num_devices: int, at_a_time: int) -> int:
        """Of so many runs, advanced so many at a time, in the memory of all devices together."""
        places = -(-runs // at_a_time) * at_a_time  # uneven groups are filled up
        return self.kept * places + self.working * at_a_time + self.data * num_devices

    def in_each(self, runs: int, num_devices: int, at_a_time: int) -> int:
        """The same in each memory."""
        return -(-self.together(runs, num_devices, at_a_time) // self.memories(num_devices))

    def memories(self, num_devices: int) -> int:
        """How many the devices have."""
        return 1 if self.in_one else num_devices


def check_memory(
    program: Program,
    num_devices: int,
    at_a_time: int,
    num_runs: int | None = None,
    num_processes: int = 1,
) -> int:
    """Refuses a program that cannot fit; returns the bytes that the runs of a process need.

    Args:
      program: of one run.
      num_devices: of this process, among which its runs are spread.
      at_a_time: runs that are advanced side by side; the others need no memory for an update.
      num_runs: of all configurations; default: the seeds of the program's own.
      num_processes: that share the runs.

    Raises:
      ConfigError: with the memory needed and what would make it smaller.
    """
    config = program.config
    runs = config.num_seeds if num_runs is None else num_runs
    own_runs = -(-runs // num_processes)
    need, available = _Need.of(program), _available_bytes()
    rows = max(1, num_devices // config.devices_per_run)

    def needed(count: int) -> int:
        side_by_side = -(-min(at_a_time, count) // rows) * rows
        return need.in_each(count, num_devices, side_by_side)

    if available is not None and needed(own_runs) > available:
        data = need.data * num_devices // need.memories(num_devices)
        if data > available:
            raise ConfigError(
                f"{config.offline.dataset} takes {data / GIB:.2f} GiB of each device's memory "
                f"and {available / GIB:.2f} GiB are free: record a smaller dataset"
            )
        fits = num_processes * _most(own_runs, lambda count: needed(count) <= available)
        what, name = largest(program)
        advice = f"--num-seeds {fits} or " if fits else ""
        raise ConfigError(
            f"{count_of(runs, 'seed')} need{'s' if runs == 1 else ''} "
            f"{(needed(own_runs) - data) / GIB:,.1f} GiB "
            f"({need.kept / GIB:,.2f} GiB each for good, most of it {what}) and "
            f"{(available - data) / GIB:.1f} GiB are free: give {advice}a smaller {name}"
        )
    return need.together(own_runs, num_devices, at_a_time)


def largest(program: Program) -> tuple[str, str]:
    """What takes most of the memory of a run, and the flag of a setting that makes it smaller."""
    sizes = bytes_per_run(program)
    networks = sum(sizes[name] for name in ("parameters", "optimizer", "updates"))
    config = program.config
    # No replay has fewer transitions than there are environments.
    is_least = config.stored_transitions == known(config.num_environments)
    if sizes["replay"] >= max(networks, sizes["environment"]) and not is_least:
        return "replay", flag("replay.capacity")
    if is_least or sizes["environment"] > networks:
        return "environments", flag("num_environments")
    # What is larger than usual; without that, the width of the critics, which comes first.
    usual, given = declarations(type(config.agent)), config.agent.given()
    factors = {f"agent.{n}": given[n] / (usual[n].default or 2) for n in _SIZES if n in given}
    factors["replay.batch_size"] = config.batch_size / 256
    return "networks", flag(max(factors, key=lambda name: factors[name]))


class OutOfMemoryError(FailedError):
    """A device ran out of memory all the same; the message is one line."""


@contextlib.contextmanager
def clear_memory_errors(program: Program, num_runs: int) -> Iterator[None]:
    """Says how many of the runs would fit where a device runs out of memory.

    Raises:
      OutOfMemoryError: in place of JAX's own error.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        statistics = jax.local_devices()[0].memory_stats() or {}
        # What is in use now are these runs; some other program may have taken the rest.
        fits = runs_that_fit(program, num_runs - 1, statistics.get("bytes_limit"))
        raise OutOfMemoryError(
            f"a device ran out of memory with {count_of(num_runs, 'run')}: train {fits} at a time "
            f"at most, or give a smaller {largest(program)[1]}"
        ) from error


def runs_that_fit(
    program: Program, limit: int, available: int | None = None, devices: Sequence[jax.Device] = ()
) -> int:
    """How many runs, up to a limit, have room at the same time; 0 if not even one has.

    Args:
      program: of one run.
      limit: of the answer.
      available: bytes of a device; default: those that are free.
      devices: among which the runs are spread; default: those that are here.
    """
    available = _available_bytes() if available is None else available
    if available is None:
        return limit
    config = program.config
    need = _Need.of(program, devices[0].platform if devices else None)

    def fits(runs: int) -> bool:
        mesh = make_mesh(runs, config.devices_per_run, devices)
        at_a_time = runs_at_a_time(runs, mesh, config.batch_size, config.critic_width)
        return need.in_each(runs, mesh.size, at_a_time) <= available

    return _most(limit, fits)


def _most(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest number of runs up to a limit that fits; 0 if not even one does."""
    return bisect.bisect_left(range(1, limit + 1), True, key=lambda runs: not fits(runs))


def estimated_bytes(program: Program, mesh: jax.sharding.Mesh, num_runs: int) -> int:
    """In each memory of a mesh, for so many runs that are advanced side by side."""
    need = _Need.of(program, mesh.devices.flat[0].platform)
    return need.in_each(num_runs, mesh.size, num_runs)


def _available_bytes() -> int | None:
    """Free memory of a device, or of the machine where devices are CPU cores."""
    statistics = jax.local_devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics.get("bytes_in_use", 0)
    return host_bytes()


def host_bytes() -> int | None:
    """Free memory of the machine; None where it does not say."""
    try:
        with open("/proc/meminfo") as file:
            fields = dict(line.split(":") for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except OSError:
        return None

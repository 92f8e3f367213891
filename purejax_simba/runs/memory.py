"""Will it fit? Answered from shapes alone, before anything is compiled."""

import bisect
import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from purejax_simba.config import ConfigError
from purejax_simba.errors import FailedError
from purejax_simba.program import Program
from purejax_simba.runs.devices import make_mesh, runs_at_a_time

GIB = 2**30


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays (or shapes of arrays) in a tree."""
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(tree))


def _bytes(leaf: Any) -> int:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return int(np.prod(leaf.shape)) * 8
    return int(np.prod(leaf.shape)) * leaf.dtype.itemsize


def bytes_per_run(program: Program) -> dict[str, int]:
    """Memory of one run, on all of its devices together, by purpose.

    `updates` is what a gradient step needs besides its state: the activations of a batch, kept for
    the backward pass, and the gradients. How many arrays of a layer's width live at a time is
    counted generously; the sum was within 10% of XLA's own figure at critic widths 128 and 512.
    `checkpoint` is the copy from which one is written, where that is in the memory of the runs.
    """
    numbers = program.hyperparameters()
    state = jax.eval_shape(program.init, jax.random.key(0), numbers, *program.data)
    agent, config = state.agent, program.config
    optimizer = tree_bytes([x for name, x in vars(agent).items() if name.endswith("_optimizer")])
    parameters = tree_bytes(agent) - optimizer
    trained = tree_bytes((agent.actor, getattr(agent, "critic", ())))
    sizes = config.agent.given()
    critic_widths = (16 * sizes.get("critic_num_blocks", 0) + 12) * config.critic_width
    actor_widths = (16 * sizes.get("actor_num_blocks", 0) + 12) * sizes.get("actor_hidden_dim", 0)
    widths = actor_widths + critic_widths * sizes.get("num_critics", 0)
    activations = 4 * config.batch_size * widths
    replay, environment = tree_bytes(state.replay), tree_bytes(state.environment)
    copy = 0
    if jax.default_backend() == "cpu" and config.interactions_per_checkpoint:
        copy = parameters + optimizer + environment + replay * config.checkpoint.replay
    # Every device has all parameters, and a part of everything else.
    devices = config.devices_per_run
    return {
        "replay": replay,
        "parameters": parameters * devices,
        "optimizer": optimizer * devices,
        "updates": activations + trained * devices,
        "environment": environment,
        "checkpoint": copy,
    }


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
    runs = program.config.num_seeds if num_runs is None else num_runs
    available = _available_bytes()
    kept, working = _kept_and_working(program)
    own_runs = -(-runs // num_processes)
    total = kept * own_runs + working * at_a_time
    sharing = _sharing(num_devices)
    data = _data_bytes(program, num_devices)
    needed = -(-total // sharing)
    if available is not None and data + kept + working > available:
        _refuse_data(program, data, available)
    if available is not None and data + needed > available:
        available -= data
        if at_a_time < own_runs:
            fits = max(0, available - working * at_a_time) // kept
        else:
            team = min(program.config.devices_per_run, sharing)
            fits = available * team // (kept + working) * (sharing // team)
        fits *= num_processes
        need = f"{runs} seeds need {needed / GIB:.1f} GiB ({kept / GIB:.2f} GiB each for good"
        free = f"and {available / GIB:.1f} GiB are free"
        if program.config.is_offline:
            raise ConfigError(f"{need}) {free}: give --num-seeds {fits}")
        advice = f"--num-seeds {fits} or " if fits else ""
        raise ConfigError(
            f"{need}, most of it replay) {free}: give {advice}a smaller --replay.capacity"
        )
    return total + data * sharing


def _data_bytes(program: Program, num_devices: int) -> int:
    """Of what all runs share, in each memory; devices that are CPU cores have a copy each."""
    return tree_bytes(program.data) * num_devices // _sharing(num_devices)


def _refuse_data(program: Program, data: int, available: int) -> None:
    """Raises a `ConfigError` if it is the dataset that leaves no room for a single run."""
    if data:
        raise ConfigError(
            f"{program.config.offline.dataset} takes {data / GIB:.2f} GiB of each device's memory "
            f"and {available / GIB:.2f} GiB are free: record a smaller dataset"
        )


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
            f"a device ran out of memory with {num_runs} runs: train {fits} at a time at most, or "
            "give a smaller --replay.capacity"
        ) from error


def runs_that_fit(program: Program, limit: int, available: int | None = None) -> int:
    """How many runs, up to a limit, have room at the same time; 0 if not even one has.

    Args:
      program: of one run.
      limit: of the answer.
      available: bytes of a device; default: those that are free.
    """
    available = _available_bytes() if available is None else available
    if available is None:
        return limit
    kept, working = _kept_and_working(program)
    sizes = program.config

    def fits(runs: int) -> bool:
        mesh = make_mesh(runs, sizes.devices_per_run)
        data = _data_bytes(program, mesh.size)
        at_a_time = runs_at_a_time(runs, mesh, sizes.batch_size, sizes.critic_width)
        places = -(-runs // at_a_time) * at_a_time  # uneven groups are filled up
        total = kept * places + working * at_a_time
        return data + -(-total // _sharing(mesh.size)) <= available

    return bisect.bisect_left(range(1, limit + 1), True, key=lambda runs: not fits(runs))


def _kept_and_working(program: Program) -> tuple[int, int]:
    """Bytes of one run that last, and those that only an update needs."""
    per_run = bytes_per_run(program)
    working = per_run["updates"]
    return sum(per_run.values()) - working, working


def _sharing(num_devices: int) -> int:
    """Devices with memory of their own."""
    return 1 if jax.default_backend() == "cpu" else num_devices


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

"""Several processes that train one configuration together, each its share of the runs.

Runs are independent, so processes only meet to collect results, to agree on where to stop, and to
let the first of them write the files. What they send passes through a collective operation of JAX
(gloo on CPUs, the interconnect elsewhere). With a single process nothing here does anything.

Where a run takes more devices than a process has, all processes compute all runs together.
"""

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from purejax_simba import stopping, waiting
from purejax_simba.config import ConfigError, ProcessOptions
from purejax_simba.errors import ProcessError, first_line

# A process that says nothing for so long has died. JAX ends the others then.
HEARTBEAT_SECONDS = 30
# Every device gets a copy of what all processes send, so it is sent in pieces.
_PIECE_BYTES = 2**24
_SMALLEST_PIECE = 2**10

_T = TypeVar("_T")


def join(options: ProcessOptions) -> None:
    """Joins the other processes, before JAX is first used; refuses options that find none."""
    given = (options.coordinator_address, options.num_processes, options.process_id)
    address, count, own = given
    if not options.distributed:
        if any(value is not None for value in given):
            raise ConfigError("--coordinator-address and the like need --distributed")
        return
    if any(value is None for value in given) and any(value is not None for value in given):
        raise ConfigError(
            "give all of --coordinator-address, --num-processes and --process-id, or none where "
            "SLURM, Open MPI or Cloud TPU say them"
        )
    if address is not None and count is not None and own is not None:
        host, _, port = address.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 2**16):
            raise ConfigError(f"--coordinator-address is {address!r}: give <host>:<port>")
        if not 0 <= own < count < 2**31:
            raise ConfigError(
                f"--process-id is {own} and --num-processes {count}: give how many there are, and "
                "to each a number from 0 on"
            )
    try:
        jax.distributed.initialize(*given, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"cannot join other processes ({first_line(error)}): give --coordinator-address "
            "<host>:<port>, --num-processes and --process-id"
        ) from error
    stopping.hear_again()  # JAX has taken SIGTERM


def is_first() -> bool:
    """Whether this process writes the files and shows the progress."""
    return jax.process_index() == 0


def say(line: str) -> None:
    """Prints a line for the user, if this is the first process."""
    if is_first():
        waiting.say(line)


def share(count: int) -> np.ndarray:
    """Which of `count` runs are this process's: as many in each, the last run in place of none."""
    size = -(-count // jax.process_count())
    first = jax.process_index() * size
    return np.minimum(np.arange(first, first + size), count - 1)


def gather(tree: Any, count: int) -> Any:
    """All runs' arrays from every process's `share`.

    Args:
      tree: numpy arrays with a leading axis of runs, of the same shapes in every process.
      count: the number of runs.
    """
    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    rows = _exchange(b"".join(np.asarray(leaf).tobytes() for leaf in leaves))
    ends = np.cumsum([leaf.nbytes for leaf in leaves])
    gathered = []
    for leaf, end in zip(leaves, ends, strict=True):
        words = rows[:, end - leaf.nbytes : end].tobytes()
        every = np.frombuffer(words, leaf.dtype).reshape(-1, *leaf.shape[1:])
        gathered.append(every[:count].copy())
    return jax.tree.unflatten(structure, gathered)


def largest(*values: float) -> tuple[float, ...]:
    """The largest of every value among all processes."""
    if jax.process_count() == 1:
        return values
    rows = _exchange(np.array(values, np.float64).tobytes())
    numbers = np.frombuffer(rows[:, : 8 * len(values)].tobytes(), np.float64)
    return tuple(numbers.reshape(len(rows), -1).max(0).tolist())


def first_does(function: Callable[[], _T]) -> _T | None:
    """What a function returns in the first process, None in the others.

    Its errors there, `ConfigError`, are those of all.
    """
    found: list[_T] = []
    first_says(lambda: found.append(function()))
    return found[0] if found else None


def first_says(function: Callable[[], _T]) -> _T:
    """What a function returns in the first process, which all are told; tuples become lists.

    Its errors there, `ConfigError`, are those of all.
    """
    if jax.process_count() == 1:
        return function()
    result, refused = None, ""
    if is_first():
        try:
            result = function()
        except ConfigError as error:
            refused = str(error)
    words = json.dumps([result, refused]).encode()
    (size,) = largest(len(words))
    result, refused = json.loads(_exchange(words.ljust(int(size)))[0].tobytes())
    if refused:
        raise ConfigError(refused)
    return result


def check_agreement(values: dict[str, Any]) -> None:
    """Refuses processes that would train something else.

    `values` is all that it depends on, as JSON can write it.
    """
    if jax.process_count() == 1:
        return
    rows = _exchange(hashlib.sha256(json.dumps(values).encode()).digest())
    others = [index for index, row in enumerate(rows) if (row != rows[0]).any()]
    if others:
        raise ConfigError(
            f"process {others[0]} has another configuration than process 0: start all processes "
            "with the same flags"
        )


@contextlib.contextmanager
def clear_errors(are_together: bool = True) -> Iterator[None]:
    """For what all processes do together, if they do.

    Raises:
      ProcessError: in place of JAX's own error, if another process has ended.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if not are_together or isinstance(error, ConfigError):
            raise
        raise ProcessError("another process of this run has ended, and so does this one") from error


def _exchange(data: bytes) -> np.ndarray:
    """What every process sends, `(processes, bytes)` uint8, all of the same length or padded."""
    rows = []
    for first in range(0, max(len(data), 1), _PIECE_BYTES):
        piece = data[first : first + _PIECE_BYTES]
        # Few sizes, because each is a program of its own.
        size = max(_SMALLEST_PIECE, 1 << (len(piece) - 1).bit_length() if piece else 0)
        with clear_errors():
            every = _send_to_all(np.frombuffer(piece.ljust(size, b"\0"), np.uint8))
        rows.append(every[:, : len(piece)])
    return np.concatenate(rows, axis=1)


def _send_to_all(piece: np.ndarray) -> np.ndarray:
    # One device of each process: with several of them, two exchanges could be under way at once.
    devices = [
        next(device for device in jax.devices() if device.process_index == index)
        for index in range(jax.process_count())
    ]
    mesh = Mesh(np.array(devices), ("process",))
    own = jax.device_put(piece[None], devices[jax.process_index()])
    shape, sharding = (len(devices), piece.size), NamedSharding(mesh, PartitionSpec("process"))
    pieces = jax.make_array_from_single_device_arrays(shape, sharding, [own])
    every = _identity(NamedSharding(mesh, PartitionSpec()))(pieces)
    return np.asarray(every.addressable_data(0))


@functools.cache
def _identity(sharding: NamedSharding) -> Callable[[jax.Array], jax.Array]:
    return jax.jit(lambda array: array, out_shardings=sharding)

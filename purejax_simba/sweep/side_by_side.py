"""Several groups at a time, each in a process with devices of its own."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

from purejax_simba.config import ConfigError

_GPUS = "CUDA_VISIBLE_DEVICES"
_HAS_AFFINITY = hasattr(os, "sched_setaffinity")
_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


class Devices(NamedTuple):
    """What one of the processes computes on.

    Attributes:
      environment: variables that say so.
      cores: that it runs on; empty for all.
    """

    environment: dict[str, str]
    cores: frozenset[int]


def divide_devices(count: int) -> list[Devices]:
    """As many GPUs, or cores where there are none, for each of so many processes.

    JAX is not asked: it would take the devices for this process.

    Raises:
      ConfigError: if there are fewer than that.
    """
    gpus = _gpus()
    cores = sorted(os.sched_getaffinity(0)) if _HAS_AFFINITY else []
    available, kind = (len(gpus), "GPUs") if gpus else (len(cores), "cores")
    if count > available:
        raise ConfigError(
            f"--groups-at-a-time is {count} and there are {available} {kind}: give {available} or "
            "less"
        )
    if gpus:
        return [Devices({_GPUS: ",".join(gpus[i::count])}, frozenset()) for i in range(count)]
    return [Devices({}, frozenset(cores[i::count])) for i in range(count)]


def _gpus() -> list[str]:
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return []
    chosen = os.environ.get(_GPUS)
    if chosen is not None:
        return [gpu for gpu in chosen.split(",") if gpu]
    return [str(i) for i in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


def shard_of(shard: str | None, index: int, count: int) -> str:
    """The part of a shard `i/n` that is the `index`-th, from 0, of `count` processes."""
    own, machines = (1, 1) if shard is None else map(int, shard.split("/"))
    return f"{own + machines * index}/{machines * count}"


def run_shards(command: Sequence[str], shard: str | None, devices: Sequence[Devices]) -> list[int]:
    """Runs a sweep as several processes, each a shard of it; returns their exit statuses.

    SIGTERM is passed on to them; SIGINT from a terminal reaches them by itself.

    Args:
      command: that trains the sweep.
      shard: of all of them together.
      devices: of each.
    """
    shards = [shard_of(shard, index, len(devices)) for index in range(len(devices))]
    processes: list[subprocess.Popen] = []
    with contextlib.ExitStack() as stack, _passing_on(processes):
        for own, (environment, cores) in zip(shards, devices, strict=True):
            process = subprocess.Popen(
                [*command, "--shard", own],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | environment,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
            stack.callback(process.kill)
            processes.append(process)
            if cores:
                os.sched_setaffinity(process.pid, cores)
        with ThreadPoolExecutor(len(processes)) as pool:
            for own, process in zip(shards, processes, strict=True):
                pool.submit(_copy, process.stderr, f"[{own}] ")
        return [process.wait() for process in processes]


def _end_with_parent() -> None:
    """Two of them must not train the same, so none is left behind when the first is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _copy(lines: IO[str] | None, prefix: str) -> None:
    for line in lines or ():
        print(prefix + line, end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _passing_on(processes: Sequence[subprocess.Popen]) -> Iterator[None]:
    """Leaves it to the processes to end in good order."""

    def pass_on(number: int, _: object) -> None:
        for process in processes:
            process.send_signal(number)

    before = signal.signal(signal.SIGTERM, pass_on), signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])

"""A sweep on Ray: every group is a task, which is run again elsewhere when its node dies."""

import contextlib
import logging
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Read when Ray is imported: nobody is told of what is trained here, and the user is told all of it.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")
os.environ.setdefault("RAY_COLOR_PREFIX", str(int(sys.stderr.isatty())))

import ray

from purejax_simba.config import ConfigError
from purejax_simba.stopping import stop_requests
from purejax_simba.sweep.options import LauncherOptions
from purejax_simba.sweep.running import Assignment, work

# Nodes that may die of one group, before there is more wrong with it than its nodes.
_MOST_DEATHS = 10
# Tasks that are cancelled write a checkpoint first.
_SECONDS_TO_STOP = 60.0
_SECONDS_TO_ANSWER = 10.0
# Nothing that matters passes through Ray's object store.
_STORE_BYTES = 100 * 2**20


def launch(
    options: LauncherOptions, assignments: Iterable[Assignment]
) -> Iterator[tuple[Assignment, str]]:
    """Trains assignments as tasks of Ray; see `running.Launcher`.

    Raises:
      ConfigError: if there is no cluster, or no node has room for a task.
      SystemExit: after a signal, when the tasks have written their checkpoints.
    """
    after = "the tasks have written their checkpoints"
    with _cluster(options.ray_address), stop_requests(after) as request:
        resources = _resources(options)
        # A process for each: JAX chooses its devices once.
        task = ray.remote(max_calls=1, max_retries=_MOST_DEATHS, **resources)(work)
        waiting: dict[Any, Assignment] = {}
        for each in assignments:
            waiting[task.options(name=each.name).remote(each, Path.cwd(), sys.argv)] = each
        while waiting:
            for done in ray.wait([*waiting], timeout=1.0)[0]:
                yield waiting.pop(done), _outcome(done)
            if request.signal is not None:
                for left in waiting:
                    ray.cancel(left)
                ray.wait([*waiting], num_returns=len(waiting) or 1, timeout=_SECONDS_TO_STOP)
                raise SystemExit(128 + request.signal)


def _outcome(task: Any) -> str:
    try:
        return ray.get(task)
    except ray.exceptions.RayError as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Inside, Ray is connected to a cluster, or to one of its own on this machine."""
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    place = urlsplit(f"//{(address or '').rpartition('//')[2]}")
    try:
        if place.port is not None:  # Ray would try for minutes
            socket.create_connection((place.hostname, place.port), _SECONDS_TO_ANSWER).close()
        with warnings.catch_warnings():
            # Ray starts its own programs, which take over nothing of this one.
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
            ray.init(address or "local", logging_level=logging.ERROR, **({} if address else own))
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        where = f"at --ray-address {address}" if address else "here"
        raise ConfigError(f"there is no Ray cluster {where}: {reason}") from error
    try:
        yield
    finally:
        time.sleep(0.5)  # the last words of the tasks are on their way
        ray.shutdown()


def _resources(options: LauncherOptions) -> dict[str, Any]:
    """What a task asks for. On CPUs that is all of a node: a program takes all cores it finds."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = sorted(int(node["CPU"]) for node in nodes if node.get("CPU")) or [0]
    gpus = max((int(node.get("GPU", 0)) for node in nodes), default=0)
    cpus = options.cpus or (1 if options.gpus else cores[0])
    if cpus > cores[-1] or options.gpus > gpus:
        raise ConfigError(
            f"no node of the cluster has --gpus {options.gpus} and --cpus {cpus}: there are {gpus} "
            f"GPUs and {cores[-1]} CPUs at most; where there are no GPUs give --gpus 0"
        )
    return {"num_gpus": options.gpus, "num_cpus": cpus}

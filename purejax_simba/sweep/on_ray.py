"""A sweep on Ray: every group is a task, which is run again elsewhere when its node dies."""

import contextlib
import functools
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from purejax_simba.config import ConfigError
from purejax_simba.runs.session import stop_requests
from purejax_simba.sweep.launching import check_package, work
from purejax_simba.sweep.options import LauncherOptions
from purejax_simba.sweep.running import Assignment, Launcher
from purejax_simba.waiting import say

# Nodes that may die of one group, before there is more wrong with it than its nodes.
_MOST_DEATHS = 10
# Tasks that are cancelled write a checkpoint first.
_SECONDS_TO_STOP = 60.0
# Nothing that matters passes through Ray's object store.
_STORE_BYTES = 100 * 2**20


def launcher(options: LauncherOptions) -> Launcher:
    """Trains assignments as tasks of Ray.

    After a signal the launcher raises SystemExit, when all tasks have written their checkpoints.

    Raises:
      ConfigError: without Ray; by the launcher: if there is no cluster, or no node has room.
    """
    check_package("ray")
    return functools.partial(_launch, options)


def _launch(
    options: LauncherOptions, assignments: Sequence[Assignment]
) -> Iterator[tuple[Assignment, str]]:
    with _cluster(options) as ray:
        resources = _resources(ray, options)
        # A process for each: JAX chooses its devices once.
        task = ray.remote(max_calls=1, max_retries=_MOST_DEATHS, **resources)(work)
        with stop_requests() as request:
            waiting = {
                task.options(name=each.name).remote(each, Path.cwd(), sys.argv): each
                for each in assignments
            }
            say(f"{len(waiting)} tasks of {_text(resources)} each; Ctrl-C stops them")
            while waiting:
                for done in ray.wait([*waiting], timeout=1.0)[0]:
                    yield waiting.pop(done), _outcome(ray, done)
                if request.signal is not None:
                    _stop(ray, [*waiting], request.signal)


def _stop(ray: Any, tasks: Sequence[Any], number: signal.Signals) -> None:
    say("stopping the tasks, which write their checkpoints; the same command goes on")
    for task in tasks:
        ray.cancel(task)
    ray.wait(tasks, num_returns=len(tasks), timeout=_SECONDS_TO_STOP)
    raise SystemExit(128 + number)


def _outcome(ray: Any, task: Any) -> str:
    try:
        return ray.get(task)
    except ray.exceptions.RayError as error:
        lines = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {lines[-1].strip()}"


@contextlib.contextmanager
def _cluster(options: LauncherOptions) -> Iterator[Any]:
    """Ray, connected to the cluster that was asked for, or with one of its own on this machine."""
    # Read when it is imported. Nobody is told of what is trained here, unless that is asked for.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_COLOR_PREFIX", str(int(sys.stderr.isatty())))
    import ray

    own: dict[str, Any] = {}
    if options.ray_address is None:
        own = {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    try:
        ray.init(options.ray_address or "local", logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--ray-address {options.ray_address}: {reason}") from error
    try:
        yield ray
    finally:
        time.sleep(0.5)  # the last words of the tasks are on their way
        ray.shutdown()


def _resources(ray: Any, options: LauncherOptions) -> dict[str, int]:
    """What a task asks for. On CPUs that is all of a node: a program takes all cores it finds."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [int(node["CPU"]) for node in nodes if node.get("CPU")]
    cpus = options.cpus or (1 if options.gpus else min(cores, default=1))
    gpus = max((int(node.get("GPU", 0)) for node in nodes), default=0)
    if max(cores, default=0) < cpus or gpus < options.gpus:
        raise ConfigError(
            f"no node of the cluster has --gpus {options.gpus} and --cpus {cpus}: the largest has "
            f"{gpus} and {max(cores, default=0)}; on CPUs give --gpus 0"
        )
    return {"num_gpus": options.gpus, "num_cpus": cpus}


def _text(resources: dict[str, int]) -> str:
    return f"{resources['num_gpus']} GPUs and {resources['num_cpus']} CPUs"

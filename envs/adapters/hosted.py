"""What the adapters of libraries share whose environments live in worker processes."""

import math
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from typing import Any

from envs.base import Environment
from envs.host_call import HostEnvironmentError
from envs.registry import HostOptions, TaskError, TaskSpec, register_family
from envs.workers.environment import HostEnvironment
from envs.workers.process import START_SECONDS
from envs.wrappers import RescaleAction

_ANSWER = "Python"  # of an interpreter that is one

FindSource = Callable[[str], dict[str, Any]]


def register_hosted(library: str, find_source: FindSource) -> None:
    """Makes the ids `<library>/...` known.

    Args:
      library: whose package has the same name.
      find_source: from an id to what workers make the environment from, see `program.Worker.make`;
        raises `TaskError` for an id that the library does not know.
    """

    def find(task_id: str) -> TaskSpec:
        build = partial(build_hosted, library, task_id, find_source)
        return TaskSpec(id=task_id, suite=library, build=build, on_host=True)

    register_family(library, find, on_host=True)


def build_hosted(
    library: str,
    task_id: str,
    find_source: FindSource,
    physics: str | None,
    episode_length: int | None,
    options: HostOptions,
    lift: bool = True,
) -> Environment:
    """Makes an environment; `lift` replaces a limit of its own that is below `episode_length`."""
    if not 0 < options.time_limit < math.inf:
        raise TaskError(f"the time limit is {options.time_limit} s: give a finite number above 0")
    if options.python:  # it alone knows what it has
        check_interpreter(options.python, library)
        source: dict[str, Any] = {
            "id": task_id.removeprefix(f"{library}/"),
            "more_path": [os.getcwd()],
        }
    else:
        source = find_source(task_id)
    source |= {
        "kind": library,
        "max_episode_steps": episode_length if lift else None,
        "privileged": list(options.privileged),
    }
    try:
        environment = HostEnvironment(
            task_id, source, episode_length, options.time_limit, options.python
        )
    except HostEnvironmentError as error:
        blind = "OpenGL" in str(error) and "MUJOCO_GL" not in os.environ
        hint = ": without a screen it needs MUJOCO_GL=egl (or osmesa) to be set" if blind else ""
        raise TaskError(f"{error}{hint}") from None
    return RescaleAction(environment, environment.action_low, environment.action_high)


def check_interpreter(python: str, package: str) -> None:
    """Makes sure that there is such a Python interpreter, with numpy and a package.

    Raises:
      TaskError: with what to do.
    """
    if shutil.which(python) is None:
        raise TaskError(f"{python} cannot be run: give the path of a Python interpreter")
    try:
        probe = subprocess.run(
            [python, "-I", "-c", f"print({_ANSWER!r}, flush=True); import numpy, {package}"],
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TaskError(f"{python} does not work as a Python interpreter: {error}") from None
    if probe.stdout.strip() != _ANSWER:
        raise TaskError(f"{python} is no Python interpreter: give the path of one")
    if probe.returncode:
        last = (probe.stderr.strip().splitlines() or [f"exit status {probe.returncode}"])[-1]
        raise TaskError(
            f"{python} cannot import numpy and {package} ({last}): "
            f"{python} -m pip install numpy {package}"
        )

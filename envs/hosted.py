"""Suites whose environments live in worker processes: Gymnasium, EnvPool, MyoSuite."""

import importlib
import math
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from envs.base import Environment
from envs.host import HostEnvironment
from envs.host_pool import HostEnvironmentError
from envs.host_process import START_SECONDS
from envs.registry import (
    HostOptions,
    TaskError,
    TaskSpec,
    advice_on_missing_packages,
    import_for,
    register,
    register_family,
    spec,
    unknown_task,
)
from envs.wrappers import RescaleAction

_INSTALL = {
    "gymnasium": "pip install gymnasium",
    "envpool": "pip install 'purejax_simba[envpool]'",
    "myosuite": "pip install 'myosuite>=3,<4'",
}


def _gymnasium_source(task_id: str) -> dict[str, Any]:
    """Covers every environment that gymnasium knows, and `<module>:<id>`."""
    with advice_on_missing_packages(_INSTALL["gymnasium"]):
        gymnasium = importlib.import_module("gymnasium")
    module, _, name = task_id.removeprefix("gymnasium/").rpartition(":")
    if module:
        import_for(task_id, module)
    try:
        known = gymnasium.spec(name)
    except gymnasium.error.Error:
        ids = [f"gymnasium/{known}" for known in gymnasium.registry]
        raise unknown_task(task_id, ids) from None
    try:
        pickled = pickle.dumps(known)
    except (pickle.PicklingError, AttributeError, TypeError):
        raise TaskError(
            f"{task_id} cannot be sent to worker processes: register it with an entry point "
            "'<module>:<class>' and arguments that can be pickled"
        ) from None
    return {"id": name, "spec": pickled, "path": [os.path.abspath(entry) for entry in sys.path]}


def _envpool_source(task_id: str) -> dict[str, Any]:
    """Covers every environment that EnvPool knows."""
    with advice_on_missing_packages(_INSTALL["envpool"]):
        envpool = importlib.import_module("envpool")
    name = task_id.removeprefix("envpool/")
    known = envpool.list_all_envs()
    if name not in known:
        raise unknown_task(task_id, [f"envpool/{known}" for known in known])
    return {"id": name}


def _source_elsewhere(library: str, task_id: str, python: str) -> dict[str, Any]:
    """For an interpreter with packages of its own, which alone knows what it has."""
    check_interpreter(python, library)
    return {"id": task_id.removeprefix(f"{library}/"), "more_path": [os.getcwd()]}


def _build_myosuite(
    task_id: str,
    physics: str | None,
    episode_length: int | None,
    options: HostOptions,
) -> Environment:
    known = spec(task_id)
    if missing := known.missing(options.python):
        raise TaskError(f"{missing}, or name another interpreter that has it (--host-python)")
    in_gymnasium = f"gymnasium/{known.official}"
    return _build(
        "gymnasium",
        in_gymnasium,
        _gymnasium_source,
        physics,
        episode_length,
        options,
        lift=episode_length != known.episode_length,
    )


def check_interpreter(python: str, package: str) -> None:
    """Makes sure that there is such a Python interpreter, with numpy and a package.

    Raises:
      TaskError: with what to do.
    """
    if shutil.which(python) is None:
        raise TaskError(f"{python} cannot be run: give the path of a Python interpreter")
    try:
        probe = subprocess.run(
            [python, "-I", "-c", f"import numpy, {package}"],
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TaskError(f"{python} does not work as a Python interpreter: {error}") from None
    if probe.returncode:
        last = (probe.stderr.strip().splitlines() or [f"exit status {probe.returncode}"])[-1]
        raise TaskError(
            f"{python} cannot import numpy and {package} ({last}): "
            f"{python} -m pip install numpy {package}"
        )


def _spec(find_source: Callable[[str], dict[str, Any]], task_id: str) -> TaskSpec:
    library = task_id.partition("/")[0]
    build = partial(_build, library, task_id, find_source)
    return TaskSpec(id=task_id, suite=library, build=build, on_host=True)


def _build(
    library: str,
    task_id: str,
    find_source: Callable[[str], dict[str, Any]],
    physics: str | None,
    episode_length: int | None,
    options: HostOptions,
    lift: bool = True,
) -> Environment:
    """Makes an environment; `lift` replaces a limit of its own that is below `episode_length`."""
    if not 0 < options.time_limit < math.inf:
        raise TaskError(f"the time limit is {options.time_limit} s: give a finite number above 0")
    if options.python:
        source = _source_elsewhere(library, task_id, options.python)
    else:
        source = find_source(task_id)
    source = {"kind": library, "max_episode_steps": episode_length if lift else None, **source}
    try:
        environment = HostEnvironment(task_id, source, episode_length, options)
    except HostEnvironmentError as error:
        blind = "OpenGL" in str(error) and "MUJOCO_GL" not in os.environ
        hint = ": without a screen it needs MUJOCO_GL=egl (or osmesa) to be set" if blind else ""
        raise TaskError(f"{error}{hint}") from None
    return RescaleAction(environment, environment.action_low, environment.action_high)


register_family("gymnasium", partial(_spec, _gymnasium_source))
register_family("envpool", partial(_spec, _envpool_source))

# The ten tasks of the published results. Hard are those whose goal is drawn for every episode.
# MyoSuite's own limit ends them where it is lower (75 steps to hold, 50 to twirl), as it did there.
for _task in ("Reach", "Pose", "ObjHold", "KeyTurn", "PenTwirl"):
    for _goal, _ending in {"Fixed": "", "Random": "-hard"}.items():
        _id = "myosuite/myo" + re.sub("([A-Z])", r"-\1", _task).lower() + _ending
        register(
            _id,
            partial(_build_myosuite, _id),
            suite="myosuite",
            action_repeat=2,
            episode_length=100,
            on_host=True,
            package="myosuite",
            install=_INSTALL["myosuite"],
            official=f"myosuite:myoHand{_task}{_goal}-v0",
        )

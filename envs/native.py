"""What the folders of native tasks have in common: how tasks are registered, and find files."""

import importlib.util
import os
from functools import partial
from pathlib import Path
from typing import Any

from envs.base import Environment
from envs.registry import TaskError, advice_on_missing_packages, register
from envs.wrappers import RescaleAction

PHYSICS = ("mujoco", "mjx", "warp")
# What MuJoCo takes when it is imported, on one system or another.
_WAYS_TO_DRAW = "egl osmesa glfw glx wgl cgl enable enabled on true 1 disable disabled off false 0"


def register_native(
    task_id: str,
    module: str,
    task: str,
    *,
    install: str,
    physics: tuple[str, ...] = PHYSICS,
    **known: Any,
) -> None:
    """Makes a task of the published benchmark known.

    Args:
      task_id: its id.
      module: the module whose `TASKS` has its definition; imported when the task is made.
      task: its name there.
      install: the command that installs what the module needs.
      physics: the engines that can simulate it.
      known: further attributes of its `TaskSpec`.
    """
    register(
        task_id,
        partial(build_native, task_id, module, task, install),
        physics=physics,
        install=install,
        published=True,
        **known,
    )


def build_native(
    task_id: str, module: str, task: str, install: str, physics: str | None
) -> Environment:
    """Makes a native task with an engine; the other arguments are those of `register_native`."""
    if physics is None:
        raise TaskError(f"{task_id} needs an engine: choose from {', '.join(PHYSICS)}")
    drawing = os.environ.get("MUJOCO_GL", "")
    if drawing and drawing.lower() not in _WAYS_TO_DRAW.split():
        raise TaskError(f"MUJOCO_GL is {drawing}: set it to egl, osmesa or glfw, or unset it")
    with advice_on_missing_packages(install):
        from envs.task import TaskEnvironment

        definition = importlib.import_module(module).TASKS[task]()
    environment = TaskEnvironment(definition, physics)
    environment.physics.name = task_id
    return RescaleAction(environment, environment.action_low, environment.action_high)


def package_file(package: str, *parts: str) -> str:
    """Path of a file of a package, which is not imported: some take seconds for that.

    Raises:
      ModuleNotFoundError: where the package is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"no package {package}", name=package)
    return str(Path(found.origin).parent.joinpath(*parts))

"""Environments for the learner: tasks, engines, wrappers and the registry of task ids."""

from envs import native  # noqa: F401, it fills the registry

# isort: split
from envs import adapted, hosted  # noqa: F401, listed after the native tasks
from envs.base import Environment, TimeStep
from envs.host_call import clear_errors
from envs.host_pool import HostEnvironmentError
from envs.registry import (
    HostOptions,
    TaskError,
    TaskSpec,
    families,
    make,
    register,
    register_family,
    spec,
    steps_per_episode,
    suites,
    tasks,
)
from envs.wrappers import ActionRepeat, AutoReset, RescaleAction, TimeLimit

__all__ = [
    "ActionRepeat",
    "AutoReset",
    "Environment",
    "HostEnvironmentError",
    "HostOptions",
    "RescaleAction",
    "TaskError",
    "TaskSpec",
    "TimeLimit",
    "TimeStep",
    "clear_errors",
    "families",
    "make",
    "register",
    "register_family",
    "spec",
    "steps_per_episode",
    "suites",
    "tasks",
]

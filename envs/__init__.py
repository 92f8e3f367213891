"""Environments for the learner: tasks, engines, wrappers and the registry of task ids."""

from envs.base import Environment, TimeStep
from envs.host import HostEnvironmentError, clear_errors
from envs.registry import (
    HostOptions,
    TaskError,
    TaskSpec,
    families,
    make,
    register,
    spec,
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
    "spec",
    "suites",
    "tasks",
]

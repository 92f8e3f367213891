"""Environments for the learner: tasks, engines, wrappers and the registry of task ids."""

from envs.base import Environment, TimeStep
from envs.registry import TaskError, TaskSpec, families, make, register, spec, suites, tasks
from envs.wrappers import ActionRepeat, AutoReset, RescaleAction, TimeLimit

__all__ = [
    "ActionRepeat",
    "AutoReset",
    "Environment",
    "RescaleAction",
    "TaskError",
    "TaskSpec",
    "TimeLimit",
    "TimeStep",
    "families",
    "make",
    "register",
    "spec",
    "suites",
    "tasks",
]

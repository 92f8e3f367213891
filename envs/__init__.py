"""Environments for the learner: tasks, engines, wrappers and the registry of task ids."""

import importlib

from envs.base import Drawable, Environment, TimeStep
from envs.host_call import HostEnvironmentError, clear_errors
from envs.registry import (
    HostOptions,
    TaskError,
    TaskSpec,
    families,
    make,
    missing_for_warp,
    module_name,
    register,
    register_family,
    remarks,
    spec,
    split_id,
    steps_per_episode,
    suites,
    tasks,
)
from envs.wrappers import ActionRepeat, AutoReset, RescaleAction, TimeLimit, Wrapper

__all__ = [
    "ActionRepeat",
    "AutoReset",
    "Drawable",
    "Environment",
    "HostEnvironmentError",
    "HostOptions",
    "RescaleAction",
    "TaskError",
    "TaskSpec",
    "TimeLimit",
    "TimeStep",
    "Wrapper",
    "clear_errors",
    "families",
    "make",
    "missing_for_warp",
    "module_name",
    "register",
    "register_family",
    "remarks",
    "spec",
    "split_id",
    "steps_per_episode",
    "suites",
    "tasks",
]

# Each registers its tasks, in this order; none imports what it adapts or simulates with.
_SUITES = ("dmc", "gym_mujoco", "myosuite", "humanoid_bench")
_ADAPTERS = ("gymnax", "brax", "playground", "gymnasium", "envpool")
for _name in (*_SUITES, *(f"adapters.{_adapter}" for _adapter in _ADAPTERS)):
    importlib.import_module(f"envs.{_name}")

"""Environments for the learner: tasks, engines, wrappers and the registry of task ids.

Everything here is imported when it is first used, and all suites register their tasks then: JAX
takes seconds, in which `python -m envs` is to hear signals.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envs.base import Drawable, Environment, TimeStep
    from envs.host_call import HostEnvironmentError, clear_errors
    from envs.registry import (
        HostOptions,
        TaskError,
        TaskSpec,
        choose_physics,
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
    from envs.wrappers import ActionRepeat, AutoReset, RescaleAction, Stagger, TimeLimit, Wrapper

__all__ = [
    "ActionRepeat",
    "AutoReset",
    "Drawable",
    "Environment",
    "HostEnvironmentError",
    "HostOptions",
    "RescaleAction",
    "Stagger",
    "TaskError",
    "TaskSpec",
    "TimeLimit",
    "TimeStep",
    "Wrapper",
    "choose_physics",
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
_MODULES = {
    **dict.fromkeys(("Drawable", "Environment", "TimeStep"), "envs.base"),
    "HostEnvironmentError": "envs.host_call",
    "clear_errors": "envs.host_call",
    **dict.fromkeys(
        ("ActionRepeat", "AutoReset", "RescaleAction", "Stagger", "TimeLimit", "Wrapper"),
        "envs.wrappers",
    ),
}

# Each registers its tasks, in this order; none imports what it adapts or simulates with.
_SUITES = ("dmc", "gym_mujoco", "myosuite", "humanoid_bench")
_ADAPTERS = ("gymnax", "brax", "playground", "gymnasium", "envpool")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for module in (*_SUITES, *(f"adapters.{adapter}" for adapter in _ADAPTERS)):
        importlib.import_module(f"envs.{module}")
    # From now on it is found without asking here.
    value = getattr(importlib.import_module(_MODULES.get(name, "envs.registry")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

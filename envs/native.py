"""The native tasks in the registry: models, engines and where their definitions are."""

import importlib
from functools import partial

from envs import dmc, gym_mujoco, humanoid_bench
from envs.base import Environment
from envs.registry import TaskError, advice_on_missing_packages, register
from envs.wrappers import RescaleAction


def _build_native(module: str, task: str, install: str, physics: str | None) -> Environment:
    """A task of this package over an engine. Its definition is `TASKS[task]` in `module`."""
    if physics is None:
        raise TaskError(f"{task} needs an engine: choose from {', '.join(dmc.PHYSICS)}")
    with advice_on_missing_packages(install):
        from envs.task import TaskEnvironment

        definition = importlib.import_module(module).TASKS[task]()
    environment = TaskEnvironment(definition, physics)
    return RescaleAction(environment, environment.action_low, environment.action_high)


for _suite, _domains in (("dmc_easy_medium", dmc.EASY_MEDIUM), ("dmc_hard", dmc.HARD)):
    for _domain, _tasks in _domains.items():
        for _task in _tasks:
            register(
                f"dmc/{_domain}-{_task}",
                partial(_build_native, f"envs.dmc.{_domain}", _task, "pip install dm-control"),
                suite=_suite,
                action_repeat=dmc.ACTION_REPEAT,
                episode_length=dmc.EPISODE_LENGTH,
                terminates=False,
                physics=dmc.PHYSICS,
                package="dm_control",
                install="pip install dm-control",
            )

for _name, (_module, _terminates) in gym_mujoco.TASKS.items():
    register(
        f"mujoco/{_name}",
        partial(_build_native, f"envs.gym_mujoco.{_module}", _name, "pip install gymnasium"),
        suite="mujoco",
        episode_length=gym_mujoco.EPISODE_LENGTH,
        terminates=_terminates,
        physics=gym_mujoco.PHYSICS,
        package="gymnasium",
        install="pip install gymnasium",
    )

_install = "pip install 'purejax_simba[humanoid_bench]'"
for _name, _module in humanoid_bench.TASKS.items():
    register(
        f"humanoid_bench/h1-{_name}",
        partial(_build_native, f"envs.humanoid_bench.{_module}", _name, _install),
        suite="humanoid_bench",
        action_repeat=humanoid_bench.ACTION_REPEAT,
        episode_length=humanoid_bench.EPISODE_LENGTH,
        physics=("mujoco",) if _name in humanoid_bench.NOT_IN_MJX else humanoid_bench.PHYSICS,
        simplified=("mjx",),
        package=humanoid_bench.PACKAGE,
        install=_install,
        official=f"humanoid_bench:h1-{_name}-v0",
    )

"""Suites of other libraries in the registry, by task or as families of ids."""

import importlib
import math
import os
import pickle
import sys
from functools import partial
from typing import Any

from envs import brax
from envs.base import Environment
from envs.registry import (
    HostOptions,
    TaskError,
    TaskSpec,
    advice_on_missing_packages,
    import_for,
    one_line,
    register,
    register_family,
    tasks,
    unknown_task,
)
from envs.wrappers import RescaleAction

_INSTALL = {
    "brax": "pip install brax",
    "gymnax": "pip install gymnax six",  # gymnax forgets to ask for six
    "playground": "pip install playground",
}


def _gymnax_spec(task_id: str) -> TaskSpec:
    """Covers every environment that gymnax knows, also those registered with it at run time."""
    gymnax = _import_gymnax()
    name = task_id.removeprefix("gymnax/")
    if name not in gymnax.registered_envs:
        raise unknown_task(task_id, [f"gymnax/{known}" for known in gymnax.registered_envs])
    return TaskSpec(id=task_id, suite="gymnax", build=partial(_build_gymnax, name))


def _build_gymnax(name: str, physics: str | None) -> Environment:
    environment, _ = _import_gymnax().make(name)
    from envs.gymnax import GymnaxEnvironment

    try:
        return GymnaxEnvironment(environment)
    except ValueError as error:
        choices = ", ".join(tasks("gymnax"))
        raise TaskError(f"gymnax/{name}: {error}: choose from {choices}") from None


def _functional_spec(task_id: str) -> TaskSpec:
    """Covers what Brax or Playground know beyond the tasks that are listed."""
    library, _, name = task_id.partition("/")
    with advice_on_missing_packages(_INSTALL[library]):
        names = getattr(brax, f"{library}_names")()
    if name not in names:
        raise unknown_task(task_id, [f"{library}/{known}" for known in names])
    build = partial(_build_functional, library, name)
    return TaskSpec(id=task_id, suite=library, build=build, episode_length=brax.EPISODE_LENGTH)


def _build_functional(library: str, name: str, physics: str | None) -> Environment:
    with advice_on_missing_packages(_INSTALL[library]):
        try:
            return getattr(brax, f"make_{library}")(name)
        except ModuleNotFoundError:
            raise
        except ValueError as error:
            raise TaskError(f"{library}/{name}: {' '.join(str(error).split())}") from error
        except Exception as error:  # a library that is older than MuJoCo or JAX here
            raise TaskError(
                f"{library}/{name} does not work with the packages installed here "
                f"({one_line(error)}): ask {library} for a newer release"
            ) from error


def _import_gymnax() -> Any:
    with advice_on_missing_packages(_INSTALL["gymnax"]):
        return importlib.import_module("gymnax")


def _gymnasium_spec(task_id: str) -> TaskSpec:
    """Covers every environment that gymnasium knows, and `<module>:<id>`."""
    with advice_on_missing_packages("pip install gymnasium"):
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
    source = {
        "kind": "gymnasium",
        "id": name,
        "spec": pickled,
        "path": [os.path.abspath(entry) for entry in sys.path],
    }
    return TaskSpec(
        id=task_id, suite="gymnasium", build=partial(_build_on_host, task_id, source), on_host=True
    )


def _envpool_spec(task_id: str) -> TaskSpec:
    """Covers every environment that EnvPool knows."""
    with advice_on_missing_packages("pip install 'purejax_simba[envpool]'"):
        envpool = importlib.import_module("envpool")
    name = task_id.removeprefix("envpool/")
    known = envpool.list_all_envs()
    if name not in known:
        raise unknown_task(task_id, [f"envpool/{known}" for known in known])
    source = {"kind": "envpool", "id": name}
    return TaskSpec(
        id=task_id, suite="envpool", build=partial(_build_on_host, task_id, source), on_host=True
    )


def _build_on_host(
    task_id: str,
    source: dict[str, Any],
    physics: str | None,
    episode_length: int | None,
    options: HostOptions,
) -> Environment:
    from envs.host import HostEnvironment
    from envs.host_pool import HostEnvironmentError

    if not 0 < options.time_limit < math.inf:
        raise TaskError(f"the time limit is {options.time_limit} s: give a finite number above 0")
    try:
        environment = HostEnvironment(task_id, source, episode_length, options)
    except HostEnvironmentError as error:
        raise TaskError(str(error)) from None
    return RescaleAction(environment, environment.action_low, environment.action_high)


for _prefix, _find in {
    "brax": _functional_spec,
    "envpool": _envpool_spec,
    "gymnasium": _gymnasium_spec,
    "gymnax": _gymnax_spec,
    "playground": _functional_spec,
}.items():
    register_family(_prefix, _find)

# The tasks of gymnax with continuous actions: name -> (episode length, may end before it).
for _name, (_length, _terminates) in {
    "MountainCarContinuous-v0": (999, True),
    "Pendulum-v1": (200, False),
    "PointRobot-misc": (100, False),
    "Reacher-misc": (100, False),
    "Swimmer-misc": (500, False),
}.items():
    register(
        f"gymnax/{_name}",
        partial(_build_gymnax, _name),
        suite="gymnax",
        episode_length=_length,
        terminates=_terminates,
        package="gymnax",
        install=_INSTALL["gymnax"],
    )

for _library, _package, _known in (
    ("brax", "brax", brax.BRAX),
    ("playground", "mujoco_playground", dict.fromkeys(brax.PLAYGROUND, False)),
):
    for _name, _terminates in _known.items():
        register(
            f"{_library}/{_name}",
            partial(_build_functional, _library, _name),
            suite=_library,
            episode_length=brax.EPISODE_LENGTH,
            terminates=_terminates,
            package=_package,
            install=_INSTALL[_library],
        )

"""Suites of functional environments of other libraries, by task or as families of ids."""

import importlib
from functools import partial
from typing import Any

from envs import brax
from envs.base import Environment
from envs.registry import (
    TaskError,
    TaskSpec,
    advice_on_missing_packages,
    one_line,
    register,
    register_family,
    tasks,
    unknown_task,
)
from envs.wrappers import TimeLimit

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
        adapted = GymnaxEnvironment(environment)
    except ValueError as error:
        choices = ", ".join(tasks("gymnax"))
        raise TaskError(f"gymnax/{name}: {error}: choose from {choices}") from None
    if adapted.has_own_ends and adapted.episode_length is not None:
        return TimeLimit(adapted, adapted.episode_length)
    return adapted


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


for _prefix, _find in {
    "brax": _functional_spec,
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

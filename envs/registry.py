"""Task ids, what is known about each task, and the way from an id to an environment."""

import contextlib
import difflib
import importlib
import importlib.util
import math
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from envs import brax, dmc, gym_mujoco
from envs.base import Environment
from envs.wrappers import ActionRepeat, RescaleAction, TimeLimit


class TaskError(ValueError):
    """A task that cannot be made as asked; the message is one line and says what to do."""


@dataclass(frozen=True)
class HostOptions:
    """How environments that live in worker processes are run, see `envs.host`.

    Attributes:
      time_limit: seconds after which an environment that does not answer counts as hung.
    """

    time_limit: float = 300.0


@dataclass(frozen=True)
class TaskSpec:
    """What is known about a task before it is made.

    Attributes:
      id: for example `dmc/cheetah-run`.
      suite: the task list that it belongs to, see `suites`.
      build: makes the bare environment (actions in [-1, 1], no time limit of ours). Receives
        the name of the physics, or None where `physics` is empty.
      action_repeat: default number of steps per action.
      episode_length: default limit in steps before action repeat; None leaves the limit to the
        environment itself.
      terminates: whether episodes can end before the limit.
      physics: engines to choose from; empty where there is no choice.
      on_host: whether it lives in worker processes; `build` then also receives `episode_length`
        and `options`, see `HostEnvironment`.
      package: name of the Python package that it needs, empty for none.
      install: the command that installs this package.
    """

    id: str
    suite: str
    build: Callable[..., Environment]
    action_repeat: int = 1
    episode_length: int | None = None
    terminates: bool = True
    physics: tuple[str, ...] = ()
    on_host: bool = False
    package: str = ""
    install: str = ""

    def missing(self) -> str:
        """What has to be done before it can be made; empty if nothing."""
        if not self.package or importlib.util.find_spec(self.package) is not None:
            return ""
        return f"{self.package} is not installed: {self.install}"


_specs: dict[str, TaskSpec] = {}


def spec(task_id: str) -> TaskSpec:
    """Looks up a task.

    Raises:
      TaskError: for an unknown id, with the nearest known ones.
    """
    if task_id in _specs:
        return _specs[task_id]
    family = _FAMILIES.get(task_id.partition("/")[0])
    if family is not None:
        return family(task_id)
    raise _unknown(task_id, list(_specs))


def _unknown(task_id: str, known: list[str]) -> TaskError:
    near = difflib.get_close_matches(task_id, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "envs.tasks() lists the known ones"
    return TaskError(f"unknown task {task_id!r}: {hint}")


def tasks(suite: str | None = None) -> tuple[str, ...]:
    """Known task ids, of one suite or of all.

    Raises:
      TaskError: for an unknown suite.
    """
    if suite is None:
        return tuple(_specs)
    known = suites()
    if suite not in known:
        raise TaskError(f"unknown suite {suite!r}: choose from {', '.join(known)}")
    return known[suite]


def families() -> tuple[str, ...]:
    """Prefixes of ids that are looked up when they are asked for, in `tasks` or not."""
    return tuple(_FAMILIES)


def suites() -> dict[str, tuple[str, ...]]:
    """Suite name -> task ids. `all` joins the suites of the published benchmark."""
    listed: dict[str, tuple[str, ...]] = {}
    for known in _specs.values():
        listed[known.suite] = (*listed.get(known.suite, ()), known.id)
    listed["all"] = tuple(task for suite in _PUBLISHED_SUITES for task in listed.get(suite, ()))
    return listed


def register(
    task_id: str,
    build: Callable[[str | None], Environment],
    *,
    suite: str = "user",
    action_repeat: int = 1,
    episode_length: int | None = None,
    terminates: bool = True,
    physics: tuple[str, ...] = (),
    package: str = "",
    install: str = "",
) -> None:
    """Makes a task known under an id; the arguments are the attributes of `TaskSpec`.

    Raises:
      TaskError: if the id is taken.
    """
    if task_id in _specs:
        raise TaskError(f"task {task_id!r} is already registered: choose another id")
    _specs[task_id] = TaskSpec(
        id=task_id,
        suite=suite,
        build=build,
        action_repeat=action_repeat,
        episode_length=episode_length,
        terminates=terminates,
        physics=physics,
        package=package,
        install=install,
    )


def make(
    task_id: str,
    physics: str = "auto",
    action_repeat: int | None = None,
    episode_length: int | None = None,
    host: HostOptions | None = None,
) -> Environment:
    """Makes an environment with time limit and action repeat (no automatic reset).

    Args:
      task_id: one of `tasks()`, or an id of an adapted suite.
      physics: `mujoco`, `mjx`, or `auto`: the first on CPU, the second on accelerators.
      action_repeat: steps per action; None takes the task's default.
      episode_length: limit in steps before action repeat; None takes the task's default.
      host: how to run an environment that lives in worker processes.

    Raises:
      TaskError: for an unknown task or physics, a missing package, or a number below one.
    """
    known = spec(task_id)
    chosen = _choose_physics(known, physics)
    repeat = known.action_repeat if action_repeat is None else action_repeat
    limit = known.episode_length if episode_length is None else episode_length
    if repeat < 1:
        raise TaskError(f"action_repeat is {repeat}: give 1 or more")
    if limit is not None and limit < 1:
        raise TaskError(f"episode_length is {limit}: give 1 or more")
    build = known.build
    if known.on_host:  # a worker must know where an episode ends
        build = partial(build, episode_length=limit, options=host or HostOptions())
    environment = build(chosen)
    own_limit = environment.episode_length
    if limit is not None and (own_limit is None or limit < own_limit):
        environment = TimeLimit(environment, limit)
    if repeat > 1:
        environment = ActionRepeat(environment, repeat)
    return environment


def _choose_physics(known: TaskSpec, physics: str) -> str | None:
    if not known.physics:
        if physics != "auto":
            raise TaskError(f"{known.id} brings its own physics: drop physics={physics!r}")
        return None
    if physics == "auto":
        preferred = "mujoco" if jax.default_backend() == "cpu" else "mjx"
        return preferred if preferred in known.physics else known.physics[0]
    if physics not in known.physics:
        choices = ", ".join(("auto", *known.physics))
        raise TaskError(f"{known.id} has no physics {physics!r}: choose from {choices}")
    return physics


def _build_native(module: str, task: str, install: str, physics: str | None) -> Environment:
    """A task of this package over an engine. Its definition is `TASKS[task]` in `module`."""
    if physics is None:
        raise TaskError(f"{task} needs an engine: choose from {', '.join(dmc.PHYSICS)}")
    with _advice_on_missing_packages(install):
        from envs.task import TaskEnvironment

        definition = importlib.import_module(module).TASKS[task]()
    environment = TaskEnvironment(definition, physics)
    return RescaleAction(environment, environment.action_low, environment.action_high)


def _gymnax_spec(task_id: str) -> TaskSpec:
    """Covers every environment that gymnax knows, also those registered with it at run time."""
    gymnax = _import_gymnax()
    name = task_id.removeprefix("gymnax/")
    if name not in gymnax.registered_envs:
        raise _unknown(task_id, [f"gymnax/{known}" for known in gymnax.registered_envs])
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
    with _advice_on_missing_packages(_INSTALL[library]):
        names = getattr(brax, f"{library}_names")()
    if name not in names:
        raise _unknown(task_id, [f"{library}/{known}" for known in names])
    build = partial(_build_functional, library, name)
    return TaskSpec(id=task_id, suite=library, build=build, episode_length=brax.EPISODE_LENGTH)


def _build_functional(library: str, name: str, physics: str | None) -> Environment:
    with _advice_on_missing_packages(_INSTALL[library]):
        try:
            return getattr(brax, f"make_{library}")(name)
        except ValueError as error:
            raise TaskError(f"{library}/{name}: {error}") from error


def _import_gymnax() -> Any:
    with _advice_on_missing_packages(_INSTALL["gymnax"]):
        return importlib.import_module("gymnax")


def _gymnasium_spec(task_id: str) -> TaskSpec:
    """Covers every environment that gymnasium knows, and `<module>:<id>`."""
    with _advice_on_missing_packages("pip install gymnasium"):
        gymnasium = importlib.import_module("gymnasium")
    module, _, name = task_id.removeprefix("gymnasium/").rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        known = gymnasium.spec(name)
    except ModuleNotFoundError as error:
        raise TaskError(
            f"{task_id}: no module {error.name!r} here: install it, or start where it is"
        ) from None
    except gymnasium.error.Error:
        raise _unknown(task_id, [f"gymnasium/{known}" for known in gymnasium.registry]) from None
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
    with _advice_on_missing_packages("pip install 'purejax_simba[envpool]'"):
        envpool = importlib.import_module("envpool")
    name = task_id.removeprefix("envpool/")
    known = envpool.list_all_envs()
    if name not in known:
        raise _unknown(task_id, [f"envpool/{known}" for known in known])
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
    from envs.host import HostEnvironment, HostEnvironmentError

    if not 0 < options.time_limit < math.inf:
        raise TaskError(f"the time limit is {options.time_limit} s: give a finite number above 0")
    try:
        environment = HostEnvironment(task_id, source, episode_length, options)
    except HostEnvironmentError as error:
        raise TaskError(str(error)) from None
    return RescaleAction(environment, environment.action_low, environment.action_high)


@contextlib.contextmanager
def _advice_on_missing_packages(command: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise TaskError(f"{error.name} is not installed: {command}") from error


_INSTALL = {
    "brax": "pip install brax",
    "gymnax": "pip install gymnax six",  # gymnax forgets to ask for six
    "playground": "pip install playground",
}

_PUBLISHED_SUITES = ("dmc_easy_medium", "dmc_hard", "mujoco")

# Adapted suites, whose tasks are looked up when asked for: prefix of the id -> its `TaskSpec`.
_FAMILIES: dict[str, Callable[[str], TaskSpec]] = {
    "brax": _functional_spec,
    "envpool": _envpool_spec,
    "gymnasium": _gymnasium_spec,
    "gymnax": _gymnax_spec,
    "playground": _functional_spec,
}

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

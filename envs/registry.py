"""Task ids, what is known about each task, and the way from an id to an environment."""

import contextlib
import difflib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from envs.base import Environment, TaskError
from envs.physics.cost import seconds_per_step
from envs.workers.program import MOST_STEPS
from envs.wrappers import ActionRepeat, TimeLimit


@dataclass(frozen=True)
class HostOptions:
    """How environments that live in worker processes are run, see `envs.workers`.

    Attributes:
      time_limit: seconds after which an environment that does not answer counts as hung.
      python: the interpreter of the worker processes, with packages of its own; empty for this one.
      privileged: the entries of observations (which are dictionaries) that actors do not see.
    """

    time_limit: float = 300.0
    python: str = ""
    privileged: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskSpec:
    """What is known about a task before it is made.

    Attributes:
      id: for example `dmc/cheetah-run`.
      suite: the task list that it belongs to, see `suites`.
      build: makes the bare environment (actions in [-1, 1], no time limit of ours). Receives
        the name of the physics, or None where `physics` is empty.
      action_repeat: default number of steps per action.
      episode_length: default limit in steps before action repeat, where the environment has no
        lower one of its own; None leaves the limit to the environment itself.
      terminates: whether episodes can end before the limit.
      physics: engines to choose from; empty where there is no choice.
      simplified: those among them whose model is not quite the original's, which are there to be
        asked for: `auto` does not choose them.
      notes: per engine what differs from the original there, or why it is none of `physics`.
      on_host: whether it lives in worker processes; `build` then also receives `episode_length`
        and `options`, see `adapters.hosted.build_hosted`.
      package: name of the Python package that it needs, empty for none.
      install: the command that installs this package.
      official: id of the task that is the original in worker processes, empty for none. Where there
        are engines to choose from, it is the physics `official`, for comparison.
      published: whether the published benchmark has it; the suite `all` joins these.
      module: that registered it, by the name under which others import it; empty if unknown.
    """

    id: str
    suite: str
    build: Callable[..., Environment]
    action_repeat: int = 1
    episode_length: int | None = None
    terminates: bool = True
    physics: tuple[str, ...] = ()
    simplified: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    on_host: bool = False
    package: str = ""
    install: str = ""
    official: str = ""
    published: bool = False
    module: str = ""

    def choices(self) -> tuple[str, ...]:
        """What may be asked for as physics, besides `auto`."""
        return (*self.physics, *(("official",) if self.physics and self.official else ()))

    def engines(self) -> str:
        """What steps it, and what is to be known about that, for the user."""
        own = "its own, in worker processes" if self.on_host else "its own"
        choices = self.choices()
        named = [f"{name} ({self.notes[name]})" if name in self.notes else name for name in choices]
        others = [f"no {name}: {why}" for name, why in self.notes.items() if name not in choices]
        return "; ".join([", ".join(named) or own, *others])

    def missing(self, python: str = "") -> str:
        """What has to be done before it can be made; empty if nothing.

        Args:
          python: see `HostOptions`. What another interpreter has is found out when it is asked.
        """
        elsewhere = bool(python) and (self.on_host or f"/{self.package}:" in self.official)
        if elsewhere or not self.package or importlib.util.find_spec(self.package) is not None:
            return ""
        return f"{self.package} is not installed: {self.install}"


_specs: dict[str, TaskSpec] = {}

# Ids that are looked up when they are asked for: prefix -> from the id to its `TaskSpec`.
_families: dict[str, Callable[[str], TaskSpec]] = {}
_families_on_host: list[str] = []

_WITH_MODULE = re.compile(r"(gymnasium/|)([^:/]+):([^:]+)")


def spec(task_id: str) -> TaskSpec:
    """Looks up a task. `<module>:<id>` imports a module first, which registers it.

    Raises:
      TaskError: for an unknown id, with the nearest known ones, or an import that failed.
    """
    if task_id in _specs:
        return _specs[task_id]
    module, own_id = split_id(task_id)
    if module and not task_id.startswith("gymnasium/"):  # whose workers import it, see there
        if own_id not in _specs or _specs[own_id].module != module:
            import_for(task_id, module)
        return spec(own_id)
    family = _families.get(task_id.partition("/")[0])
    if family is not None:
        return family(task_id)
    raise unknown_task(task_id, list(_specs))


def split_id(task_id: str) -> tuple[str, str]:
    """The module that an id names, and the id without it.

    `mine` and `mine/task` of `mine:mine/task`, `lab` and `gymnasium/Lab-v0` of
    `gymnasium/lab:Lab-v0`; no module where there is none.
    """
    found = _WITH_MODULE.fullmatch(task_id)
    return (found[2], found[1] + found[3]) if found else ("", task_id)


def import_for(task_id: str, module: str) -> None:
    """Imports the module that registers a task.

    Raises:
      TaskError: if there is none, or importing it raises.
    """
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise TaskError(
            f"{task_id}: no module {error.name!r} here: install it, or put its directory on "
            "PYTHONPATH"
        ) from None
    except (Exception, SystemExit) as error:
        raise TaskError(f"{task_id}: importing {module} raised {one_line(error)}") from error


def unknown_task(task_id: str, known: list[str]) -> TaskError:
    """The error for an id that is not among the known ones, with the nearest of them."""
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
    return tuple(_families)


def suites() -> dict[str, tuple[str, ...]]:
    """Suite name -> task ids. `all` joins the tasks of the published benchmark."""
    listed: dict[str, tuple[str, ...]] = {}
    for known in _specs.values():
        listed[known.suite] = (*listed.get(known.suite, ()), known.id)
    listed["all"] = tuple(known.id for known in _specs.values() if known.published)
    return listed


def register(
    task_id: str, build: Callable[..., Environment], *, suite: str = "user", **known: Any
) -> None:
    """Makes a task known under an id; the arguments are the attributes of `TaskSpec`.

    Raises:
      TaskError: if the id is taken.
    """
    if task_id in _specs:
        raise TaskError(f"task {task_id!r} is already registered: choose another id")
    module = module_name(sys._getframe(1).f_globals.get("__name__", ""))
    _specs[task_id] = TaskSpec(task_id, suite, build, module=module, **known)


def module_name(name: str) -> str:
    """The name under which others import a module; of a script that of its file."""
    if name != "__main__":
        return name
    main = sys.modules[name]
    spec = getattr(main, "__spec__", None)
    return spec.name if spec else Path(getattr(main, "__file__", "")).stem


def register_family(prefix: str, find: Callable[[str], TaskSpec], on_host: bool = False) -> None:
    """Makes ids `<prefix>/...` known that are not registered one by one.

    Args:
      prefix: what stands before the first slash of an id.
      find: from an id to what is known about it; raises `TaskError` for an unknown one.
      on_host: whether they live in worker processes.
    """
    _families[prefix] = find
    if on_host:
        _families_on_host.append(f"{prefix}/")


def make(
    task_id: str,
    physics: str = "auto",
    action_repeat: int | None = None,
    episode_length: int | None = None,
    host: HostOptions | None = None,
    worlds: int = 1,
) -> Environment:
    """Makes an environment with time limit and action repeat (no automatic reset).

    The lower of two limits holds, the task's default and the environment's own, unless another is
    asked for. One above the environment's own is only given to environments that can be told: those
    in worker processes, and those whose `with_limit` returns them with it.

    Args:
      task_id: one of `tasks()`, an id of an adapted suite, or `<module>:<id>`.
      physics: `mujoco`, `mjx`, `warp` (`warp:2`: with twice the room for contacts), or `auto`: the
        one of the first two with which a step should take less, by `physics.cost`, but none whose
        model is simplified. Some tasks also have `official`, the original in worker processes.
      action_repeat: steps per action; None takes the task's default.
      episode_length: limit in steps before action repeat; None takes the task's default.
      host: how to run an environment that lives in worker processes.
      worlds: how many such environments are stepped together, for `auto`.

    Raises:
      TaskError: for an unknown task or physics, a missing package, a number below one, or a limit
        that the environment would not reach.
    """
    known = spec(task_id)
    is_elsewhere = host is not None and host.python and known.missing()
    if physics == "auto" and is_elsewhere and "official" in known.choices():
        physics = "official"
    chosen = choose_physics(task_id, physics, worlds)
    if chosen == "official":
        known = replace(
            spec(known.official),
            action_repeat=known.action_repeat,
            episode_length=known.episode_length,
        )
    repeat = known.action_repeat if action_repeat is None else action_repeat
    limit = known.episode_length if episode_length is None else episode_length
    if repeat < 1:
        raise TaskError(f"action_repeat is {repeat}: give 1 or more")
    if limit is not None and not 1 <= limit <= MOST_STEPS:
        raise TaskError(f"episode_length is {limit}: give 1 or more, and at most {MOST_STEPS}")
    build = known.build
    if known.on_host:  # a worker must know where an episode ends
        build = partial(build, episode_length=limit, options=host or HostOptions())
        if chosen == "official" and limit == known.episode_length:  # which is nobody's request
            build = partial(build, lift=False)
    elif host is not None and host.python:
        raise TaskError(
            f"{task_id} has no processes that another Python interpreter could run: drop it, "
            f"or take an id that begins with {' or '.join(_families_on_host)}, "
            "or the physics `official`"
        )
    elif host is not None and host.privileged:
        raise TaskError(
            f"{task_id} has no dictionary of observations of which {', '.join(host.privileged)} "
            "could be kept from actors: take an id that begins with "
            f"{' or '.join(_families_on_host)}"
        )
    environment = build(chosen)
    if not isinstance(environment, Environment):
        raise TaskError(f"{task_id} is no environment: inherit from envs.Environment")
    if environment.repeat != 1:
        raise TaskError(
            f"{task_id} repeats actions by itself, {environment.repeat} times: make what it wraps "
            f"with action_repeat=1, and register it with action_repeat={environment.repeat}"
        )
    if known.module and not known.module.startswith("envs.") and not environment.elsewhere:
        _check_types(task_id, environment)
    if chosen:
        environment.engine = chosen
    own_limit = environment.episode_length
    # The task's default is nobody's request, also where it is read from the results of a run.
    if limit is not None and own_limit is not None and own_limit < limit != known.episode_length:
        environment = environment.with_limit(limit)
        own_limit = environment.episode_length
        if own_limit is not None and own_limit < limit:
            raise TaskError(
                f"{task_id} ends its episodes after {own_limit} steps by itself, so episode_length "
                f"{limit} cannot be: give {own_limit} or less"
            )
    if limit is None and own_limit is not None and own_limit > MOST_STEPS:
        raise TaskError(
            f"{task_id} has a limit of {own_limit} steps, more than can be counted: give an "
            f"episode_length of at most {MOST_STEPS}"
        )
    limits = [steps for steps in (limit, own_limit) if steps is not None]
    if environment.elsewhere:  # it alone begins its next episode, where it ends one
        if limits and own_limit != min(limits):
            raise TaskError(
                f"{task_id} has its episodes in worker processes, which would not end after "
                f"{limit} steps: make what it wraps with episode_length={limit}"
            )
    elif limits and not (isinstance(environment, TimeLimit) and own_limit == min(limits)):
        environment = TimeLimit(environment, min(limits))  # whether it ends them by itself or not
    if repeat > 1:
        environment = ActionRepeat(environment, repeat)
    return environment


def steps_per_episode(environment: Environment) -> int | None:
    """The limit of what `make` returned in steps before action repeat, or None."""
    if isinstance(environment, ActionRepeat):
        environment = environment.inner
    return environment.episode_length


def choose_physics(
    task_id: str, physics: str = "auto", worlds: int = 1, platform: str | None = None
) -> str | None:
    """The engine of a task, see `make`; None where it brings its own.

    Args:
      task_id: of the task.
      physics: as asked for.
      worlds: environments that are stepped together.
      platform: of the devices that it is for, `cpu`, `gpu` or `tpu`; default: of those here.

    Raises:
      TaskError: for an unknown task or physics.
    """
    known = spec(task_id)
    if not known.physics:
        if physics != "auto":
            raise TaskError(f"{known.id} brings its own physics: drop physics={physics!r}")
        return None
    if physics == "auto":
        faithful = [engine for engine in known.physics if engine not in known.simplified]
        cost = partial(seconds_per_step, platform=platform or jax.default_backend(), worlds=worlds)
        return min(faithful, key=cost)
    engine, colon, room = physics.partition(":")
    if engine not in known.choices() or (colon and engine != "warp"):
        choices = ", ".join(("auto", *known.choices()))
        raise TaskError(f"{known.id} has no physics {physics!r}: choose from {choices}")
    if engine == "warp":
        if colon and re.fullmatch("[1-9][0-9]?", room) is None:
            raise TaskError(f"physics is {physics!r}: give warp, or warp:2 for twice the room")
        if missing := missing_for_warp():
            raise TaskError(missing)
    return physics


def remarks(task_id: str, engine: str) -> list[str]:
    """What is to be known about a task and the engine that is chosen for it, a line each.

    Args:
      task_id: of the task.
      engine: that of its environment.

    Raises:
      TaskError: for an unknown task.
    """
    known = spec(task_id)
    engine = engine.partition(":")[0]
    lines = [f"{task_id} in {engine}: {known.notes[engine]}"] if engine in known.notes else []
    if engine == "warp":
        lines.append(
            "physics warp compiles kernels in its first steps, once a model: a minute or two"
        )
        if jax.default_backend() != "cpu":
            lines.append(
                "physics warp is never the same to the bit twice on GPUs: a run that was stopped "
                "has other numbers than one that was not"
            )
    return lines


def missing_for_warp() -> str:
    """What has to be installed before physics warp can be chosen; empty if nothing.

    MJX goes with one version of Warp, and other packages bring others.
    """
    wanted = [
        requirement.split(";")[0].strip().partition("==")[2]
        for requirement in metadata.requires("mujoco-mjx") or ()
        if requirement.startswith("warp-lang")
    ]
    found = importlib.util.find_spec("warp") and metadata.version("warp-lang")
    if found in wanted:
        return ""
    return (
        f"physics warp needs warp-lang {' or '.join(wanted)}, and here is {found or 'none'}: "
        "pip install 'purejax_simba[warp]'"
    )


@contextlib.contextmanager
def advice_on_missing_packages(command: str) -> Iterator[None]:
    """Inside, a package that cannot be imported is reported with the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise TaskError(f"{error.name} is not installed: {command}") from error


def one_line(error: BaseException) -> str:
    """Type and text of somebody else's exception, as part of a message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _check_types(task_id: str, environment: Environment) -> None:
    """Refuses what loops cannot carry: other sizes and types than are declared."""

    def play(key: jax.Array, action: jax.Array) -> tuple:
        state, observation = environment.reset(key)
        following, timestep = environment.step(state, action)
        if not isinstance(timestep.terminated, jax.Array | np.ndarray | np.generic):
            raise TaskError(
                f"{task_id}: terminated of step is {timestep.terminated!r}, which is no array: "
                "give jnp.asarray of it"
            )
        return state, observation, following, timestep

    action = jax.ShapeDtypeStruct((environment.action_size,), np.float32)
    state, observation, following, timestep = jax.eval_shape(play, jax.random.key(0), action)

    def check(name: str, leaf: Any, shape: tuple[int, ...], needed: str = "float32") -> None:
        if leaf.shape != shape or leaf.dtype != needed:
            raise TaskError(
                f"{task_id}: {name} is {leaf.dtype}{leaf.shape}, and {needed}{shape} is needed"
            )

    check("the observation of reset", observation, (environment.observation_size,))
    check("observation of step", timestep.observation, (environment.observation_size,))
    check("reward of step", timestep.reward, ())
    for name in ("terminated", "truncated", "success"):
        check(f"{name} of step", getattr(timestep, name), (), needed="bool")

    def parts(state: Any, observation: Any) -> dict[str, str]:
        leaves = jax.tree_util.tree_leaves_with_path({"state": state, "observation": observation})
        return {jax.tree_util.keystr(path): f"{leaf.dtype}{leaf.shape}" for path, leaf in leaves}

    old, new = parts(state, observation), parts(following, timestep.observation)
    for name in old | new:
        if old.get(name) != new.get(name):
            raise TaskError(
                f"{task_id}: {name} is {old.get(name)} after reset and {new.get(name)} after step: "
                "make them the same"
            )

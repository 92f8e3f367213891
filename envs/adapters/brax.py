"""Adapter for Brax: ids `brax/<name>`."""

import copy
import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from envs.adapters.pytrees import fix_types, flatten_observation
from envs.base import Drawable, TimeStep
from envs.physics.corrections.cholesky import serial_cholesky
from envs.registry import (
    TaskError,
    TaskSpec,
    advice_on_missing_packages,
    one_line,
    register,
    register_family,
    unknown_task,
)

EPISODE_LENGTH = 1000  # the default of the library

# name -> whether episodes can end before the limit. Listed here so that the registry knows them
# without importing Brax, which takes seconds.
NAMES = {
    "ant": True,
    "halfcheetah": False,
    "hopper": True,
    "humanoid": True,
    "humanoidstandup": False,
    "inverted_double_pendulum": True,
    "inverted_pendulum": True,
    "pusher": False,
    "reacher": False,
    "swimmer": False,
    "walker2d": True,
}


@struct.dataclass
class BraxState:
    """State of a `BraxEnvironment`: the foreign state."""

    inner: Any


class BraxEnvironment(Drawable):
    """A Brax environment, without any wrapper of its own, as an `Environment`.

    Observations that are dictionaries are flattened in the order of their sorted keys; where there
    is a `privileged_state` for critics, the actor's `state` comes before everything else. `done`
    is a termination, unless the environment itself marks it as `info["truncation"]`, which without
    `done` ends nothing, as in Brax: `info` is part of the state, and what an environment wrote
    there may be of an earlier step. (Brax's time limits are in wrappers, whose place our own take.)
    """

    def __init__(self, environment: Any):
        """Adapts `environment`, whose actions lie in [-1, 1] by Brax's convention."""
        self._environment = environment
        self.action_size = int(environment.action_size)
        self.interval = float(environment.dt)
        state, observation = jax.eval_shape(self.reset, jax.random.key(0))
        (self.observation_size,) = observation.shape
        seen = jax.eval_shape(_for_actor, state.inner.obs)
        if seen is not None:
            (self.actor_observation_size,) = seen.shape

    @serial_cholesky()
    def reset(self, key: jax.Array) -> tuple[BraxState, jax.Array]:
        """See `Environment.reset`."""
        # Environments expect keys of the old kind and may keep them in `info`.
        state = self._environment.reset(jax.random.key_data(key))
        return BraxState(inner=fix_types(state)), _flatten(state.obs)

    @serial_cholesky()
    def step(self, state: BraxState, action: jax.Array) -> tuple[BraxState, TimeStep]:
        """See `Environment.step`."""
        inner = self._environment.step(state.inner, action)
        ended = jnp.asarray(inner.done, bool).reshape(())
        truncated = jnp.asarray(inner.info.get("truncation", False), bool).reshape(()) & ended
        timestep = TimeStep(
            observation=_flatten(inner.obs),
            reward=jnp.asarray(inner.reward, jnp.float32).reshape(()),
            terminated=ended & ~truncated,
            truncated=truncated,
            success=jnp.zeros((), bool),
        )
        return BraxState(inner=fix_types(inner)), timestep

    def mujoco_model(self) -> Any:
        """See `Drawable.mujoco_model`."""
        return copy.copy(self._environment.sys.mj_model)

    def pose(self, model: Any, data: Any, state: BraxState) -> None:
        """See `Drawable.pose`; of the positions only."""
        data.qpos[:] = state.inner.pipeline_state.q


def _for_actor(observation: Any) -> jax.Array | None:
    """The part of an observation that the actor sees, where critics see more."""
    if isinstance(observation, Mapping) and {"state", "privileged_state"} <= set(observation):
        return flatten_observation(observation["state"])
    return None


def _flatten(observation: Any) -> jax.Array:
    seen = _for_actor(observation)
    if seen is None:
        return flatten_observation(observation)
    others = {name: part for name, part in observation.items() if name != "state"}
    return jnp.concatenate([seen, flatten_observation(others)])


def register_brax_like(
    library: str,
    package: str,
    listed: dict[str, bool],
    names: Callable[[], list[str]],
    make: Callable[[str], BraxEnvironment],
    lengths: Callable[[str], tuple[int, int]] = lambda name: (EPISODE_LENGTH, 1),
) -> None:
    """Makes the ids `<library>/...` known.

    Args:
      library: what is installed.
      package: what is imported.
      listed: the names to list -> whether episodes can end before the limit.
      names: every name that the library knows.
      make: from a name to its environment; raises `ValueError` where that cannot be.
      lengths: from a name that is not listed to its steps per episode and per action.
    """
    install = f"pip install {library}"

    def build(name: str, physics: str | None) -> BraxEnvironment:
        with advice_on_missing_packages(install):
            try:
                return make(name)
            except ModuleNotFoundError:
                raise
            except ValueError as error:
                raise TaskError(f"{library}/{name}: {' '.join(str(error).split())}") from error
            except Exception as error:  # a library that is older than MuJoCo or JAX here
                raise TaskError(
                    f"{library}/{name} does not work with the packages installed here "
                    f"({one_line(error)}): ask {library} for a newer release"
                ) from error

    def find(task_id: str) -> TaskSpec:
        name = task_id.removeprefix(f"{library}/")
        with advice_on_missing_packages(install):
            known = names()
        if name not in known:
            raise unknown_task(task_id, [f"{library}/{known}" for known in known])
        steps, repeat = lengths(name)
        return TaskSpec(
            task_id, library, partial(build, name), action_repeat=repeat, episode_length=steps
        )

    register_family(library, find)
    for name, terminates in listed.items():
        register(
            f"{library}/{name}",
            partial(build, name),
            suite=library,
            episode_length=EPISODE_LENGTH,
            terminates=terminates,
            package=package,
            install=install,
        )


def _names() -> list[str]:
    """Every environment that Brax knows, also those registered with it at run time."""
    return list(importlib.import_module("brax.envs")._envs)


def _make(name: str) -> BraxEnvironment:
    return BraxEnvironment(importlib.import_module("brax.envs").get_environment(name))


register_brax_like("brax", "brax", NAMES, _names, _make)

"""Adapter for Brax and Playground, which share an interface: `brax/...` and `playground/...`."""

import copy
import importlib
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from envs.base import TimeStep
from envs.pytrees import fix_types, flatten_observation
from envs.serial_cholesky import serial_cholesky

EPISODE_LENGTH = 1000  # the default of both libraries

# name -> whether episodes can end before the limit. Listed here so that the registry knows them
# without importing the libraries, which takes seconds.
BRAX = {
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
# The environments of Playground that need no download. None of them ends before the limit.
PLAYGROUND = (
    "AcrobotSwingup",
    "AcrobotSwingupSparse",
    "BallInCup",
    "CartpoleBalance",
    "CartpoleBalanceSparse",
    "CartpoleSwingup",
    "CartpoleSwingupSparse",
    "CheetahRun",
    "FingerSpin",
    "FingerTurnEasy",
    "FingerTurnHard",
    "FishSwim",
    "HopperHop",
    "HopperStand",
    "HumanoidRun",
    "HumanoidStand",
    "HumanoidWalk",
    "PendulumSwingup",
    "PointMass",
    "ReacherEasy",
    "ReacherHard",
    "SwimmerSwimmer6",
    "WalkerRun",
    "WalkerStand",
    "WalkerWalk",
)


@struct.dataclass
class BraxState:
    """State of a `BraxEnvironment`: the foreign state."""

    environment: Any


class BraxEnvironment:
    """A Brax or Playground environment, without any wrapper of its own, as an `Environment`.

    Observations that are dictionaries are flattened in the order of their sorted keys. `done`
    is a termination, unless the environment itself marks it as `info["truncation"]`, which without
    `done` ends nothing, as in both libraries: `info` is part of the state, and what an environment
    wrote there may be of an earlier step. (The time limits of both libraries are in wrappers, whose
    place our own take.)
    """

    def __init__(self, environment: Any):
        """Adapts `environment`, whose actions lie in [-1, 1] by the libraries' convention."""
        self._environment = environment
        self.action_size = int(environment.action_size)
        self.episode_length: int | None = None
        _, observation = jax.eval_shape(self.reset, jax.random.key(0))
        (self.observation_size,) = observation.shape

    @serial_cholesky()
    def reset(self, key: jax.Array) -> tuple[BraxState, jax.Array]:
        """See `Environment.reset`."""
        # Both libraries expect keys of the old kind and may keep them in `info`.
        state = self._environment.reset(jax.random.key_data(key))
        return BraxState(environment=fix_types(state)), flatten_observation(state.obs)

    @serial_cholesky()
    def step(self, state: BraxState, action: jax.Array) -> tuple[BraxState, TimeStep]:
        """See `Environment.step`."""
        inner = self._environment.step(state.environment, action)
        ended = jnp.asarray(inner.done, bool).reshape(())
        truncated = jnp.asarray(inner.info.get("truncation", False), bool).reshape(()) & ended
        timestep = TimeStep(
            observation=flatten_observation(inner.obs),
            reward=jnp.asarray(inner.reward, jnp.float32).reshape(()),
            terminated=ended & ~truncated,
            truncated=truncated,
            success=jnp.zeros((), bool),
        )
        return BraxState(environment=fix_types(inner)), timestep

    @property
    def interval(self) -> float:
        """Seconds of a step."""
        return float(self._environment.dt)

    def mujoco_model(self) -> Any:
        """A copy of the model, to draw with."""
        owner = getattr(self._environment, "sys", self._environment)
        return copy.copy(owner.mj_model)

    def pose(self, model: Any, data: Any, state: BraxState) -> None:
        """Puts the positions of a state into `data`, to draw it."""
        inner = state.environment
        data.qpos[:] = inner.data.qpos if hasattr(inner, "data") else inner.pipeline_state.q


def brax_names() -> list[str]:
    """Every environment that Brax knows, also those registered with it at run time."""
    return list(importlib.import_module("brax.envs")._envs)


def make_brax(name: str) -> BraxEnvironment:
    """An environment that is registered with Brax, with its default settings."""
    return BraxEnvironment(importlib.import_module("brax.envs").get_environment(name))


def playground_names() -> list[str]:
    """Every environment that Playground knows."""
    return list(importlib.import_module("mujoco_playground").registry.ALL_ENVS)


def make_playground(name: str) -> BraxEnvironment:
    """An environment of Playground, with its default settings.

    Raises:
      ValueError: for robots whose models are not on this machine. (Playground would download
        them without asking.)
    """
    playground = importlib.import_module("mujoco_playground")
    models = importlib.import_module("mujoco_playground._src.mjx_env").MENAGERIE_PATH
    if name not in playground.dm_control_suite.ALL_ENVS and not models.exists():
        raise ValueError(f"its models are missing: put MuJoCo Menagerie into {models}")
    # Its default is Warp, which runs on NVIDIA GPUs only.
    known = playground.registry.get_default_config(name)
    overrides = {"impl": "jax"} if "impl" in known else {}
    return BraxEnvironment(playground.registry.load(name, config_overrides=overrides))

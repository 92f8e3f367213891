"""Adapter for MuJoCo Playground, which has Brax's interface: ids `playground/<name>`."""

import copy
import importlib
from typing import Any

from envs.adapters.brax import BraxEnvironment, BraxState, register_brax_like

# The environments of Playground that need no download. None of them ends before the limit.
NAMES = (
    *("AcrobotSwingup", "AcrobotSwingupSparse", "BallInCup", "CartpoleBalance"),
    *("CartpoleBalanceSparse", "CartpoleSwingup", "CartpoleSwingupSparse", "CheetahRun"),
    *("FingerSpin", "FingerTurnEasy", "FingerTurnHard", "FishSwim", "HopperHop", "HopperStand"),
    *("HumanoidRun", "HumanoidStand", "HumanoidWalk", "PendulumSwingup", "PointMass"),
    *("ReacherEasy", "ReacherHard", "SwimmerSwimmer6", "WalkerRun", "WalkerStand"),
    "WalkerWalk",
)


class PlaygroundEnvironment(BraxEnvironment):
    """A Playground environment, without any wrapper of its own, as an `Environment`."""

    def mujoco_model(self) -> Any:
        """See `Drawable.mujoco_model`."""
        return copy.copy(self._environment.mj_model)

    def pose(self, model: Any, data: Any, state: BraxState) -> None:
        """See `Drawable.pose`; of the positions only."""
        data.qpos[:] = state.inner.data.qpos


def _names() -> list[str]:
    """Every environment that Playground knows."""
    return list(importlib.import_module("mujoco_playground").registry.ALL_ENVS)


def _make(name: str) -> PlaygroundEnvironment:
    """An environment with its default settings.

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
    return PlaygroundEnvironment(playground.registry.load(name, config_overrides=overrides))


register_brax_like("playground", "mujoco_playground", dict.fromkeys(NAMES, False), _names, _make)

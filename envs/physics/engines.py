"""The choice between the engines, of which only the chosen one is imported."""

from typing import Any

from envs.physics.base import Physics


def make_physics(name: str, *arguments: Any, **named: Any) -> Physics:
    """The engine `mujoco` or `mjx` around a model; the other arguments are those of `Physics`.

    Raises:
      ValueError: for an unknown name.
    """
    if name == "mujoco":
        from envs.physics.mujoco import MujocoPhysics

        return MujocoPhysics(*arguments, **named)
    if name == "mjx":
        from envs.physics.mjx import MjxPhysics

        return MjxPhysics(*arguments, **named)
    raise ValueError(f"unknown physics {name!r}; choose mujoco or mjx")

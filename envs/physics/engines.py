"""The choice between the engines, of which only the chosen one is imported."""

from typing import Any

from envs.physics.base import Physics


def make_physics(
    name: str, *arguments: Any, room: tuple[int, int] = (64, 128), **named: Any
) -> Physics:
    """The engine `mujoco`, `mjx` or `warp` around a model; the other arguments are theirs.

    Args:
      name: of `warp` also `warp:2`, which has twice the room.
      room: see `WarpPhysics`.

    Raises:
      ValueError: for an unknown name.
    """
    engine, _, times = name.partition(":")
    if engine == "warp":
        from envs.physics.warp import WarpPhysics

        return WarpPhysics(*arguments, room=room, times=int(times or 1), **named)
    if name == "mujoco":
        from envs.physics.mujoco import MujocoPhysics

        return MujocoPhysics(*arguments, **named)
    if name == "mjx":
        from envs.physics.mjx import MjxPhysics

        return MjxPhysics(*arguments, **named)
    raise ValueError(f"unknown physics {name!r}; choose mujoco, mjx or warp")

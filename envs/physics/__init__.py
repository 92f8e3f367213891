"""Two interchangeable engines that step a MuJoCo model: `mujoco` (C) and `mjx` (XLA)."""

from envs.physics.base import Physics, PhysicsState, Reading, field_shapes, make_physics

__all__ = ["Physics", "PhysicsState", "Reading", "field_shapes", "make_physics"]

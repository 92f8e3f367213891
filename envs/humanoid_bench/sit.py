"""Sit down on a chair behind the robot, or on one that has to be found."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from envs.humanoid_bench import scenes
from envs.humanoid_bench.base import Humanoid
from envs.rewards import tolerance

SITTING_HEIGHTS = (0.68, 0.72)  # m, of the pelvis
SEAT = (-0.19, 0.19)  # m, forwards from the chair's middle
HEAD_ABOVE_CHEST = (0.35, 0.45)  # m
# Where the robot stands at the start of the hard task, m, and its heading, rad.
START_X, START_Y, START_YAW = (0.2, 0.4), (-0.15, 0.15), (-1.8, 1.8)


class Sit(Humanoid):
    """Pays sitting on the chair upright and still, with little force."""

    lowest = 0.5

    def __init__(self, hard: bool):
        """`hard`: a loose chair, and a start anywhere in front of it."""
        super().__init__(partial(scenes.add_chair, loose=hard))
        self._chair = self.model.body("chair").id
        self._hard = hard

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """The pose of the keyframe at rest, plus noise; when hard, at a random place."""
        qpos, qvel, variables = super().initialize(key)
        if self._hard:
            ranges = jnp.array([START_X, START_Y, START_YAW])
            uniform = jax.random.uniform(jax.random.fold_in(key, 0), (3,))
            x, y, yaw = ranges[:, 0] + uniform * (ranges[:, 1] - ranges[:, 0])
            turn = jnp.stack([jnp.cos(yaw / 2), jnp.sin(yaw / 2)])
            qpos = qpos.at[jnp.array([0, 1, 3, 6])].set(jnp.stack([x, y, *turn]))
            qpos = qpos.at[4:6].set(0.0)
        return qpos, qvel, variables

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Humanoid.terms`."""
        from_chair = data.qpos[:2] - data.xpos[self._chair, :2]
        on_chair = tolerance(from_chair[0], SEAT, 0.2) * tolerance(from_chair[1], margin=0.1)
        sitting = tolerance(data.qpos[2], SITTING_HEIGHTS, 0.2)
        neck = self.site(data, "head")[2] - self.site(data, "imu")[2]
        posture = tolerance(neck, HEAD_ABOVE_CHEST, 0.3)
        upright = self.upright(data, least=0.95, margin=0.9)
        return {
            "sitting": sitting,
            "sitting_posture": posture,
            "upright": upright,
            "sit_reward": (sitting + on_chair) / 2 * upright * posture,
            "small_control": self.small_control(data),
            "dont_move": self.still(data),
        }

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """The product of all."""
        terms = self.terms(data, variables)
        return terms["small_control"] * terms["sit_reward"] * terms["dont_move"]


TASKS = {"sit_simple": partial(Sit, hard=False), "sit_hard": partial(Sit, hard=True)}

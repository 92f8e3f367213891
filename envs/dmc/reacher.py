"""Reacher: a planar arm of two links that has to touch a target."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mujoco

from envs.dmc.models import JointRandomizer, load_model
from envs.rewards import tolerance
from envs.task import Task

BIG_TARGET = 0.05  # m, radius
SMALL_TARGET = 0.015  # m, radius
TARGET_DISTANCE = (0.05, 0.20)  # m from the shoulder


class Reacher(Task):
    """Observes joint angles, the vector from finger to target, and velocities.

    The variables of an episode are the target's horizontal position, `(2,)`. The target is a
    geom that collides with nothing, so the physics need not know where it is.
    """

    fields = ("qpos", "qvel", "geom_xpos")

    def __init__(self, target_size: float):
        """`target_size`: radius of the target in metres."""
        self.model = load_model("reacher.xml")
        self._target_size = target_size
        self._finger = self.model.geom("finger").id
        self._reach = target_size + float(self.model.geom_size[self._finger, 0])
        self._randomize = JointRandomizer(self.model)

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """Random joints at rest, and a target at a random angle and distance."""
        joints_key, angle_key, distance_key = jax.random.split(key, 3)
        angle = jax.random.uniform(angle_key, maxval=2 * jnp.pi)
        nearest, farthest = TARGET_DISTANCE
        distance = jax.random.uniform(distance_key, minval=nearest, maxval=farthest)
        target = distance * jnp.stack([jnp.sin(angle), jnp.cos(angle)])
        return self._randomize(joints_key), jnp.zeros(self.model.nv), target

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Position (2), vector from finger to target (2), velocity (2)."""
        to_target = variables - data.geom_xpos[self._finger, :2]
        return jnp.concatenate([data.qpos, to_target, data.qvel])

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """One while the finger touches the target, else zero."""
        distance = jnp.linalg.norm(variables - data.geom_xpos[self._finger, :2])
        return tolerance(distance, (0.0, self._reach))

    def show(self, model: mujoco.MjModel, variables: Any) -> None:
        """The target."""
        target = model.geom("target").id
        model.geom_pos[target, :2] = variables
        model.geom_size[target, 0] = self._target_size


TASKS = {
    "easy": partial(Reacher, target_size=BIG_TARGET),
    "hard": partial(Reacher, target_size=SMALL_TARGET),
}

"""Humanoid: a simplified body of 21 joints that has to stand, walk or run."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.dmc.models import JointRandomizer, load_model, sensor_slice
from envs.rewards import at_least, tolerance
from envs.task import Task

SUBSTEPS = 5  # of 5 ms
STAND_HEIGHT = 1.4  # m, of the head, that counts as standing
WALK_SPEED = 1.0  # m/s
RUN_SPEED = 10.0  # m/s
EXTREMITIES = ("left_hand", "left_foot", "right_hand", "right_foot")
MOST_ATTEMPTS = 1000  # the suite tries for ever


class Humanoid(Task):
    """Observes joints, head height, hands and feet, uprightness and velocities."""

    fields = ("qpos", "qvel", "ctrl", "xpos", "xmat", "sensordata")
    substeps = SUBSTEPS
    most_attempts = MOST_ATTEMPTS

    def __init__(self, move_speed: float):
        """`move_speed`: m/s in any direction that earns the full reward; zero: stand still."""
        self.model = load_model("humanoid.xml")
        self._torso = self.model.body("torso").id
        self._head = self.model.body("head").id
        self._extremities = np.array([self.model.body(name).id for name in EXTREMITIES])
        self._velocity = sensor_slice(self.model, "torso_subtreelinvel")
        self._randomize = JointRandomizer(self.model)
        self._move_speed = move_speed

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """Random joints and orientation, at rest in the air."""
        return self._randomize(key), jnp.zeros(self.model.nv), ()

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Joint angles (21), head height (1), hands and feet from the torso (4 times 3),
        the torso's vertical (3), velocity of the centre of mass (3), velocity (27)."""
        torso = data.xmat[self._torso]
        from_torso = data.xpos[self._extremities] - data.xpos[self._torso]
        # A sum, because accelerators may round the factors of a matrix product.
        extremities = (from_torso[:, :, None] * torso).sum(1).ravel()
        return jnp.concatenate(
            [
                data.qpos[7:],
                data.xpos[self._head, 2:],
                extremities,
                torso[2],
                data.sensordata[self._velocity],
                data.qvel,
            ]
        )

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """Standing upright with little effort, times staying (mostly: moving) at the speed."""
        height = data.xpos[self._head, 2]
        standing = tolerance(height, (STAND_HEIGHT, jnp.inf), STAND_HEIGHT / 4)
        upright = at_least(data.xmat[self._torso, 2, 2], 0.9, 1.9)
        small_control = tolerance(data.ctrl, margin=1, value_at_margin=0, sigmoid="quadratic")
        stand_reward = standing * upright * (4 + small_control.mean()) / 5
        velocity = data.sensordata[self._velocity][:2]
        if self._move_speed == 0:
            return stand_reward * tolerance(velocity, margin=2).mean()
        moving = at_least(jnp.linalg.norm(velocity), self._move_speed, self._move_speed)
        return stand_reward * (5 * moving + 1) / 6


TASKS = {
    "stand": partial(Humanoid, move_speed=0.0),
    "walk": partial(Humanoid, move_speed=WALK_SPEED),
    "run": partial(Humanoid, move_speed=RUN_SPEED),
}

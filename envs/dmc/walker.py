"""Walker: a planar biped that has to stand, walk or run."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from envs.dmc.models import JointRandomizer, load_model, sensor_slice
from envs.rewards import at_least, tolerance
from envs.task import Task

SUBSTEPS = 10  # of 2.5 ms
STAND_HEIGHT = 1.2  # m, of the torso, that counts as standing
WALK_SPEED = 1.0  # m/s
RUN_SPEED = 8.0  # m/s


class Walker(Task):
    """Observes orientations of all bodies, height of the torso and velocities."""

    fields = ("qvel", "xmat", "xpos", "sensordata")
    substeps = SUBSTEPS

    def __init__(self, move_speed: float):
        """`move_speed`: m/s that earns the full reward; zero asks for standing only."""
        self.model = load_model("walker.xml")
        self._torso = self.model.body("torso").id
        self._speed = sensor_slice(self.model, "torso_subtreelinvel").start
        self._randomize = JointRandomizer(self.model)
        self._move_speed = move_speed

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """Random joints, at rest in the air."""
        return self._randomize(key), jnp.zeros(self.model.nv), ()

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Orientations (cosine and sine of 7 bodies), height (1), velocity (9)."""
        orientations = data.xmat[1:, 0, ::2].ravel()
        return jnp.concatenate([orientations, data.xpos[self._torso, 2:], data.qvel])

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """Standing upright, times (mostly) the forward speed where one is asked for."""
        height = data.xpos[self._torso, 2]
        standing = tolerance(height, (STAND_HEIGHT, jnp.inf), STAND_HEIGHT / 2)
        upright = (1 + data.xmat[self._torso, 2, 2]) / 2
        stand_reward = (3 * standing + upright) / 4
        if self._move_speed == 0:
            return stand_reward
        moving = at_least(data.sensordata[self._speed], self._move_speed, self._move_speed / 2, 0.5)
        return stand_reward * (5 * moving + 1) / 6


TASKS = {
    "stand": partial(Walker, move_speed=0.0),
    "walk": partial(Walker, move_speed=WALK_SPEED),
    "run": partial(Walker, move_speed=RUN_SPEED),
}

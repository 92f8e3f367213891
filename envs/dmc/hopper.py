"""Hopper: a planar leg that has to stand or to hop forwards."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.dmc.models import JointRandomizer, load_model, sensor_slice
from envs.rewards import at_least, tolerance
from envs.task import Task

SUBSTEPS = 4  # of 5 ms
STAND_HEIGHT = 0.6  # m, of the torso above the foot, that counts as standing
MAXIMAL_HEIGHT = 2.0  # m, likewise
HOP_SPEED = 2.0  # m/s that earns the full reward


class Hopper(Task):
    """Observes positions (without the horizontal one), velocities and touch under the foot."""

    fields = ("qpos", "qvel", "ctrl", "xipos", "sensordata")
    substeps = SUBSTEPS

    def __init__(self, hopping: bool):
        """`hopping`: move forwards, instead of standing with little effort."""
        self.model = load_model("hopper.xml")
        self._torso = self.model.body("torso").id
        self._foot = self.model.body("foot").id
        self._speed = sensor_slice(self.model, "torso_subtreelinvel").start
        touch = [sensor_slice(self.model, name) for name in ("touch_toe", "touch_heel")]
        self._touch = np.array([sensor.start for sensor in touch])
        self._randomize = JointRandomizer(self.model)
        self._hopping = hopping

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """Random joints, at rest."""
        return self._randomize(key), jnp.zeros(self.model.nv), ()

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Position (6), velocity (7), logarithm of the touch at toe and heel (2)."""
        touch = jnp.log1p(data.sensordata[self._touch])
        return jnp.concatenate([data.qpos[1:], data.qvel, touch])

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """Standing, times forward speed or (mostly) small controls."""
        height = data.xipos[self._torso, 2] - data.xipos[self._foot, 2]
        standing = tolerance(height, (STAND_HEIGHT, MAXIMAL_HEIGHT))
        if self._hopping:
            return standing * at_least(data.sensordata[self._speed], HOP_SPEED, HOP_SPEED / 2, 0.5)
        small_control = tolerance(data.ctrl, margin=1, value_at_margin=0, sigmoid="quadratic")
        return standing * (small_control.mean() + 4) / 5


TASKS = {"stand": partial(Hopper, hopping=False), "hop": partial(Hopper, hopping=True)}

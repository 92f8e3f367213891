"""Cheetah: a planar two-legged animal that has to run."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.dmc.models import load_model, sensor_slice
from envs.rewards import at_least
from envs.task import Task

RUN_SPEED = 10.0  # m/s that earns the full reward
SETTLING_STEPS = 200  # the animal falls to its feet before an episode begins


class Cheetah(Task):
    """Observes positions (without the horizontal one) and velocities."""

    fields = ("qpos", "qvel", "sensordata")
    settling_steps = SETTLING_STEPS

    def __init__(self):
        """Loads the model and resolves its names."""
        self.model = load_model("cheetah.xml")
        self._speed = sensor_slice(self.model, "torso_subtreelinvel").start
        default = self.model.qpos0
        limited = self.model.jnt_limited.astype(bool)
        self._low = np.where(limited, self.model.jnt_range[:, 0], default).astype(np.float32)
        self._high = np.where(limited, self.model.jnt_range[:, 1], default).astype(np.float32)

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """Limited joints are uniform in their range."""
        qpos = self._low + jax.random.uniform(key, self._low.shape) * (self._high - self._low)
        return qpos, jnp.zeros(self.model.nv), ()

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Position (8), velocity (9)."""
        return jnp.concatenate([data.qpos[1:], data.qvel])

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """Linear in the forward speed of the centre of mass, up to `RUN_SPEED`."""
        return at_least(data.sensordata[self._speed], RUN_SPEED, RUN_SPEED)


TASKS = {"run": Cheetah}

"""Acrobot: two links, torque at the elbow only, to be swung up to a target above."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.dmc.models import load_model
from envs.rewards import tolerance
from envs.task import Task

TARGET_MARGIN = 1.0  # m from the target at which the reward has fallen to 0.1


class Acrobot(Task):
    """Observes the orientation of both links and their velocities."""

    fields = ("qvel", "xmat", "site_xpos")

    def __init__(self) -> None:
        """Loads the model and resolves its names."""
        self.model = load_model("acrobot.xml")
        self._arms = np.array([self.model.body(name).id for name in ("upper_arm", "lower_arm")])
        self._tip = self.model.site("tip").id
        self._target = self.model.site("target").id
        self._target_radius = float(self.model.site_size[self._target, 0])

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """Both joints anywhere, at rest."""
        qpos = jax.random.uniform(key, (2,), minval=-jnp.pi, maxval=jnp.pi)
        return qpos, jnp.zeros(2), ()

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Orientations (sines of both links, then cosines), velocity (2)."""
        arms = data.xmat[self._arms]
        return jnp.concatenate([arms[:, 0, 2], arms[:, 2, 2], data.qvel])

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """Nearness of the tip to the target."""
        distance = jnp.linalg.norm(data.site_xpos[self._target] - data.site_xpos[self._tip])
        return tolerance(distance, bounds=(0.0, self._target_radius), margin=TARGET_MARGIN)


TASKS = {"swingup": Acrobot}

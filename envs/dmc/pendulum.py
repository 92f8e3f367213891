"""Pendulum: a weak motor has to swing it up."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from envs.dmc.models import load_model
from envs.rewards import tolerance
from envs.task import Task

ANGLE_BOUND = math.radians(8)  # from upright, within which the reward is given


class Pendulum(Task):
    """Observes cosine and sine of the angle, and the angular velocity."""

    fields = ("qvel", "xmat")

    def __init__(self) -> None:
        """Loads the model and resolves its names."""
        self.model = load_model("pendulum.xml")
        self._pole = self.model.body("pole").id

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """Any angle, at rest."""
        qpos = jax.random.uniform(key, (1,), minval=-jnp.pi, maxval=jnp.pi)
        return qpos, jnp.zeros(1), ()

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Orientation (cosine, sine), velocity (1)."""
        pole = data.xmat[self._pole]
        return jnp.concatenate([jnp.stack([pole[2, 2], pole[0, 2]]), data.qvel])

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """One while the pole is within the bound of upright, else zero."""
        return tolerance(data.xmat[self._pole, 2, 2], (math.cos(ANGLE_BOUND), 1.0))


TASKS = {"swingup": Pendulum}

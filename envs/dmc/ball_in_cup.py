"""Ball in cup: a ball on a string has to be swung into the cup that it hangs from."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.dmc.models import load_model
from envs.task import Task

SUBSTEPS = 10  # of 2 ms
START_X = (-0.2, 0.2)  # m, of the ball
START_Z = (0.2, 0.5)  # m
MOST_ATTEMPTS = 1000  # the suite tries for ever; five of six starts are free of contacts


class BallInCup(Task):
    """Observes positions and velocities of cup and ball."""

    fields = ("qpos", "qvel", "site_xpos", "xpos")
    substeps = SUBSTEPS
    most_attempts = MOST_ATTEMPTS

    def __init__(self) -> None:
        """Loads the model and resolves its names."""
        model = self.model = load_model("ball_in_cup.xml")
        self._ball = model.body("ball").id
        self._target = model.site("target").id
        ball_radius = model.geom("ball").size[0]
        self._room = np.float32(model.site_size[self._target, [0, 2]] - ball_radius)
        self._ball_x = int(model.joint("ball_x").qposadr[0])
        self._ball_z = int(model.joint("ball_z").qposadr[0])

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """The cup in its place and the ball anywhere around it, at rest."""
        x_key, z_key = jax.random.split(key)
        x = jax.random.uniform(x_key, minval=START_X[0], maxval=START_X[1])
        z = jax.random.uniform(z_key, minval=START_Z[0], maxval=START_Z[1])
        qpos = jnp.asarray(self.model.qpos0, jnp.float32)
        qpos = qpos.at[self._ball_x].set(x).at[self._ball_z].set(z)
        return qpos, jnp.zeros(self.model.nv), ()

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Position (4), velocity (4)."""
        return jnp.concatenate([data.qpos, data.qvel])

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """One while the whole ball is in the cup, else zero."""
        to_target = data.site_xpos[self._target, ::2] - data.xpos[self._ball, ::2]
        return (jnp.abs(to_target) < self._room).all().astype(jnp.float32)


TASKS = {"catch": BallInCup}

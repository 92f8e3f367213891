"""Cartpole: a pole on a cart, to be balanced or first swung up."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from envs.dmc.models import load_model
from envs.rewards import tolerance
from envs.task import Task

CART_RANGE = (-0.25, 0.25)  # m, where the sparse reward is given
ANGLE_COSINE_RANGE = (0.995, 1.0)  # of the pole, where the sparse reward is given
CART_MARGIN = 2.0  # m
ANGULAR_VELOCITY_MARGIN = 5.0  # rad/s

BALANCE_CART = 0.1  # m, half width of the starts of `balance`
BALANCE_ANGLE = 0.034  # rad
SWINGUP_DEVIATION = 0.01  # m and rad, of the starts of `swingup` around hanging down
VELOCITY_DEVIATION = 0.01  # m/s and rad/s, of all starts


class Cartpole(Task):
    """Observes cart position, cosine and sine of the pole's angle, and both velocities."""

    fields = ("qpos", "qvel", "ctrl", "xmat")

    def __init__(self, swing_up: bool, sparse: bool):
        """`swing_up`: start with the pole hanging down. `sparse`: reward 0 or 1."""
        self.model = load_model("cartpole.xml")
        self._pole = self.model.body("pole_1").id
        self._swing_up = swing_up
        self._sparse = sparse

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """Hanging down in the middle, or upright near it, nearly at rest."""
        position_key, velocity_key = jax.random.split(key)
        if self._swing_up:
            noise = SWINGUP_DEVIATION * jax.random.normal(position_key, (2,))
            qpos = jnp.array([0.0, jnp.pi]) + noise
        else:
            half_width = jnp.array([BALANCE_CART, BALANCE_ANGLE])
            qpos = half_width * jax.random.uniform(position_key, (2,), minval=-1.0)
        return qpos, VELOCITY_DEVIATION * jax.random.normal(velocity_key, (2,)), ()

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Position (cart, cosine, sine), velocity (2)."""
        pole = data.xmat[self._pole]
        position = jnp.stack([data.qpos[0], pole[2, 2], pole[0, 2]])
        return jnp.concatenate([position, data.qvel])

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """An upright pole, times soft conditions on cart, control and velocity if not sparse."""
        cosine = data.xmat[self._pole, 2, 2]
        if self._sparse:
            in_place = tolerance(data.qpos[0], CART_RANGE)
            return in_place * tolerance(cosine, ANGLE_COSINE_RANGE)
        upright = (cosine + 1) / 2
        centered = (1 + tolerance(data.qpos[0], margin=CART_MARGIN)) / 2
        small_control = tolerance(data.ctrl[0], margin=1, value_at_margin=0, sigmoid="quadratic")
        small_control = (4 + small_control) / 5
        small_velocity = tolerance(data.qvel[1], margin=ANGULAR_VELOCITY_MARGIN)
        small_velocity = (1 + small_velocity) / 2
        return upright * small_control * small_velocity * centered


TASKS = {
    "balance": partial(Cartpole, swing_up=False, sparse=False),
    "balance_sparse": partial(Cartpole, swing_up=False, sparse=True),
    "swingup": partial(Cartpole, swing_up=True, sparse=False),
    "swingup_sparse": partial(Cartpole, swing_up=True, sparse=True),
}

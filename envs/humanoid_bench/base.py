"""What the tasks share: the start, the observation, and what rewards are made of."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs.humanoid_bench.models import load_robot
from envs.rewards import at_least, tolerance
from envs.task import Task

NOISE = 0.01  # half width of the uniform noise on the positions of a start
STAND_HEIGHT = 1.65  # m, of the head, that counts as standing
COLLISION_DISCOUNT = 0.1
FREE_FORCE = 10.0  # N m, the margin within which an actuator's force counts as small


class Humanoid(Task):
    """Observes positions and velocities; ends when the pelvis is too low.

    Attributes:
      lowest: height of the pelvis below which an episode ends, m.
    """

    fields: tuple[str, ...] = (
        *("qpos", "qvel", "actuator_force", "xpos", "xquat", "xmat"),
        *("site_xpos", "sensordata"),
    )
    substeps = 10
    reading = "gymnasium"
    room = (128, 256)
    lowest: float = 0.2

    def __init__(self, add_scene: Callable[[mujoco.MjSpec], None] = lambda spec: None):
        """Loads the robot on its floor; `add_scene` puts something around it."""
        self._add_scene = add_scene
        self.model = self._compile(load_robot())
        self._pelvis, self._torso = (self.model.body(name).id for name in ("pelvis", "torso_link"))
        free = self.model.jnt_type == mujoco.mjtJoint.mjJNT_FREE
        self._quaternions = self.model.jnt_qposadr[free] + 3

    def _compile(self, spec: mujoco.MjSpec) -> mujoco.MjModel:
        self._add_scene(spec)
        return spec.compile()

    def mjx_model(self) -> mujoco.MjModel:
        """With simpler shapes, see `envs.humanoid_bench.models.simplify_collisions`."""
        return self._compile(load_robot(simple=True))

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """The pose of the keyframe at rest, plus noise."""
        noise = jax.random.uniform(key, (self.model.nq,), minval=-NOISE, maxval=NOISE)
        qpos = jnp.asarray(self.model.key_qpos[0], jnp.float32) + noise
        for first in self._quaternions:
            quaternion = qpos[first : first + 4]
            qpos = qpos.at[first : first + 4].set(quaternion / jnp.linalg.norm(quaternion))
        return qpos, jnp.zeros(self.model.nv), ()

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Positions (26, and 7 for every loose thing), velocities (25, and 6)."""
        return jnp.concatenate([data.qpos, data.qvel])

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """What the reward is made of, each `()`, under the names of the official repository."""
        raise NotImplementedError

    def terminated(self, data: Any, variables: Any) -> jax.Array:
        """Whether the pelvis is too low."""
        return data.qpos[2] < self.lowest

    def site(self, data: Any, name: str) -> jax.Array:
        """Where a site is, m, `(3,)`."""
        return data.site_xpos[self.model.site(name).id]

    def velocity(self, data: Any) -> jax.Array:
        """Of the centre of mass, m/s, `(3,)`."""
        return data.sensordata[: self.model.sensor("velocity").dim[0]]

    def touches(self, data: Any, name: str) -> jax.Array:
        """The number of contacts that a sensor counts, `()`."""
        return data.sensordata[self.model.sensor(name).adr[0]]

    def standing(self, data: Any, height: float = STAND_HEIGHT) -> jax.Array:
        """One with the head at that height, m."""
        head = self.site(data, "head")[2]
        return tolerance(head, bounds=(height, np.inf), margin=STAND_HEIGHT / 4)

    def upright(self, data: Any, least: float = 0.9, margin: float = 1.9) -> jax.Array:
        """One with the torso's vertical at that cosine to the world's."""
        cosine = data.xmat[self._torso, 2, 2]
        return at_least(cosine, least, margin)

    def stand_terms(
        self, data: Any, standing: jax.Array, upright: jax.Array
    ) -> dict[str, jax.Array]:
        """What the rewards of most tasks have in common."""
        return {
            "standing": standing,
            "upright": upright,
            "stand_reward": standing * upright,
            "small_control": self.small_control(data),
        }

    def small_control(self, data: Any) -> jax.Array:
        """One without forces of the actuators, at least 4/5."""
        small = tolerance(
            data.actuator_force, margin=FREE_FORCE, value_at_margin=0, sigmoid="quadratic"
        )
        return (4 + small.mean()) / 5

    def moving(self, data: Any, speed: float) -> jax.Array:
        """One at that forward speed, m/s; at least 1/6."""
        return (5 * at_least(self.velocity(data)[0], speed, speed) + 1) / 6

    def still(self, data: Any) -> jax.Array:
        """One without horizontal velocity."""
        return tolerance(self.velocity(data)[:2], margin=2).mean()


def collision_discount(collided: jax.Array) -> jax.Array:
    """What a reward is multiplied with, less than one while touching what should not be touched."""
    return jnp.where(collided, COLLISION_DISCOUNT, 1.0)

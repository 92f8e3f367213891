"""Fish: a swimmer with tail and fins that has to bring its mouth to a target."""

import copy
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs.dmc.models import load_model, random_rotation
from envs.rewards import tolerance
from envs.task import Task

SUBSTEPS = 10  # of 4 ms
JOINTS = (
    "tail1",
    "tail_twist",
    "tail2",
    "finright_roll",
    "finright_pitch",
    "finleft_roll",
    "finleft_pitch",
)
START_ANGLE = 0.2  # rad, the most that a joint starts away from zero
TARGET_LOW = np.array([-0.4, -0.4, 0.1], np.float32)  # m
TARGET_HIGH = np.array([0.4, 0.4, 0.3], np.float32)  # m


class Swim(Task):
    """Observes joint angles, uprightness, the target seen from the mouth, and velocities.

    The variables of an episode are the target's position, `(3,)`. Constraints are disabled in
    this model, contacts among them, so the physics need not know where it is.
    """

    fields = ("qpos", "qvel", "xmat", "geom_xpos", "geom_xmat")
    substeps = SUBSTEPS

    def __init__(self) -> None:
        """Loads the model and resolves its names."""
        model = self.model = load_model("fish.xml")
        self._torso = model.body("torso").id
        self._mouth = model.geom("mouth").id
        self._joints = np.array([model.joint(name).qposadr[0] for name in JOINTS])
        self._reach = float(model.geom("mouth").size[0] + model.geom("target").size[0])

    def mjx_model(self) -> mujoco.MjModel:
        """With contacts disabled. No difference: disabled constraints mean no contact force.

        MJX would refuse the model for the sake of collisions between box and ellipsoids.
        """
        model = copy.copy(self.model)
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT.value
        model.geom_contype[:] = model.geom_conaffinity[:] = 0
        return model

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """Any orientation, slightly bent, at rest; a target anywhere in the basin."""
        rotation_key, joints_key, target_key = jax.random.split(key, 3)
        joints = jax.random.uniform(
            joints_key, (len(JOINTS),), minval=-START_ANGLE, maxval=START_ANGLE
        )
        target = jax.random.uniform(target_key, (3,), minval=TARGET_LOW, maxval=TARGET_HIGH)
        qpos = jnp.asarray(self.model.qpos0, jnp.float32)
        qpos = qpos.at[3:7].set(random_rotation(rotation_key)).at[self._joints].set(joints)
        return qpos, jnp.zeros(self.model.nv), target

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Joint angles (7), uprightness (1), target from the mouth (3), velocity (13)."""
        upright = data.xmat[self._torso, 2, 2:]
        target = self._mouth_to_target(data, variables)
        return jnp.concatenate([data.qpos[self._joints], upright, target, data.qvel])

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """Mostly nearness of mouth and target, and a little uprightness."""
        distance = jnp.linalg.norm(self._mouth_to_target(data, variables))
        in_target = tolerance(distance, bounds=(0.0, self._reach), margin=2 * self._reach)
        upright = (data.xmat[self._torso, 2, 2] + 1) / 2
        return (7 * in_target + upright) / 8

    def show(self, model: mujoco.MjModel, variables: Any) -> None:
        """The target."""
        model.geom_pos[model.geom("target").id] = variables

    def _mouth_to_target(self, data: Any, variables: Any) -> jax.Array:
        """In the frame of the mouth, `(3,)`."""
        to_target = variables - data.geom_xpos[self._mouth]
        return (to_target[:, None] * data.geom_xmat[self._mouth]).sum(0)


TASKS = {"swim": Swim}

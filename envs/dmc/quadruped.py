"""Quadruped: a spider-like robot on four legs that has to walk or run."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mujoco

from envs.dmc.models import load_model, random_rotation, sensor_indices
from envs.rewards import at_least
from envs.task import Task

SUBSTEPS = 4  # of 5 ms
WALK_SPEED = 0.5  # m/s
RUN_SPEED = 5.0  # m/s
EPISODE_SECONDS = 20  # the floor reaches as far as one gets at the desired speed
LIFT = 0.01  # m, by which a start is raised until nothing touches
MOST_ATTEMPTS = 10_000  # as in the suite

# Furniture of the domain's other tasks.
UNUSED = {
    "geoms": ("wall_px", "wall_py", "wall_nx", "wall_ny", "terrain"),
    "bodies": ("ball",),
    "sites": ("target",),
    "sensors": tuple(f"rf_{row}{column}" for row in range(4) for column in range(5)),
}


class Quadruped(Task):
    """Observes joints, actuators, velocity, uprightness, inertial sensors and toe forces."""

    fields = ("qpos", "qvel", "act", "xmat", "sensordata")
    substeps = SUBSTEPS
    most_attempts = MOST_ATTEMPTS

    def __init__(self, move_speed: float):
        """`move_speed`: m/s forwards that earns the full reward."""
        floor_size = EPISODE_SECONDS * move_speed
        self.model = load_model("quadruped.xml", floor_size, without=UNUSED)
        self._move_speed = move_speed
        self._torso = self.model.body("torso").id
        hinges = self.model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
        self._angles = self.model.jnt_qposadr[hinges]
        self._angle_velocities = self.model.jnt_dofadr[hinges]
        self._velocity = sensor_indices(self.model, "velocimeter")
        self._inertial = sensor_indices(self.model, "imu_accel", "imu_gyro")
        toes = ("front_left", "front_right", "back_right", "back_left")
        loads = [f"{load}_toe_{toe}" for load in ("force", "torque") for toe in toes]
        self._loads = sensor_indices(self.model, *loads)

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """Any orientation with the joints at zero, at rest, halfway in the floor."""
        qpos = jnp.asarray(self.model.qpos0, jnp.float32)
        qpos = qpos.at[:3].set(0.0).at[3:7].set(random_rotation(key))
        return qpos, jnp.zeros(self.model.nv), ()

    def retry(self, key: jax.Array, attempt: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """The same start, raised a little more at every attempt."""
        qpos, qvel, variables = self.initialize(key)
        return qpos.at[2].set(LIFT * attempt), qvel, variables

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Joint angles (16), their velocities (16), activations (12), velocity in the torso's
        frame (3), uprightness (1), accelerometer and gyroscope (6), forces and torques at the
        toes (24)."""
        return jnp.concatenate(
            [
                data.qpos[self._angles],
                data.qvel[self._angle_velocities],
                data.act,
                data.sensordata[self._velocity],
                data.xmat[self._torso, 2, 2:],
                data.sensordata[self._inertial],
                jnp.arcsinh(data.sensordata[self._loads]),
            ]
        )

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """Uprightness times forward speed, up to the one asked for."""
        upright = at_least(data.xmat[self._torso, 2, 2], 1.0, 2.0)
        moving = at_least(
            data.sensordata[self._velocity[0]], self._move_speed, self._move_speed, 0.5
        )
        return upright * moving


TASKS = {
    "walk": partial(Quadruped, move_speed=WALK_SPEED),
    "run": partial(Quadruped, move_speed=RUN_SPEED),
}

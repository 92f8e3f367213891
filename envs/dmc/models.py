"""Models of the suite, their named parts, and random joint positions."""

import math

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs.assets import package_file


def load_model(filename: str) -> mujoco.MjModel:
    """Compiles a model file of the installed dm_control, without importing dm_control.

    (The import alone opens a rendering context and takes seconds.)

    Raises:
      ModuleNotFoundError: where dm_control is not installed.
    """
    return mujoco.MjModel.from_xml_path(package_file("dm_control", "suite", filename))


def sensor_slice(model: mujoco.MjModel, name: str) -> slice:
    """Where in `sensordata` a sensor writes."""
    sensor = model.sensor(name)
    return slice(int(sensor.adr[0]), int(sensor.adr[0] + sensor.dim[0]))


class JointRandomizer:
    """Draws joint positions the way the suite's randomizer does.

    Limited hinges and slides are uniform in their range, unlimited hinges uniform in [-pi, pi],
    ball joints uniform over rotations (within their limit, where there is one). Unlimited
    slides and the position of free joints keep the model's default.
    """

    def __init__(self, model: mujoco.MjModel):
        """Reads the joints of `model` once."""
        self._default = np.asarray(model.qpos0, np.float32)
        self._low, self._high = self._default.copy(), self._default.copy()
        self._quaternions: list[tuple[int, int, float | None]] = []
        for joint in range(model.njnt):
            address, limited = int(model.jnt_qposadr[joint]), bool(model.jnt_limited[joint])
            low, high = model.jnt_range[joint]
            match model.jnt_type[joint]:
                case mujoco.mjtJoint.mjJNT_FREE:
                    self._quaternions.append((address + 3, mujoco.mjtJoint.mjJNT_FREE, None))
                case mujoco.mjtJoint.mjJNT_BALL:
                    limit = float(high) if limited else None
                    self._quaternions.append((address, mujoco.mjtJoint.mjJNT_BALL, limit))
                case _ if limited:
                    self._low[address], self._high[address] = low, high
                case mujoco.mjtJoint.mjJNT_HINGE:
                    self._low[address], self._high[address] = -math.pi, math.pi

    def __call__(self, key: jax.Array) -> jax.Array:
        """Draws `(nq,)` positions."""
        key, joints_key = jax.random.split(key)
        uniform = jax.random.uniform(joints_key, self._default.shape)
        qpos = jnp.asarray(self._low) + uniform * (self._high - self._low)
        for address, joint_type, limit in self._quaternions:
            key, quaternion_key = jax.random.split(key)
            if limit is not None:
                quaternion = _limited_quaternion(quaternion_key, limit)
            elif joint_type == mujoco.mjtJoint.mjJNT_FREE:
                # Uniform numbers, where normal ones would be uniform over rotations: the suite
                # keeps this for the sake of its published results, and so it is here.
                quaternion = _unit(jax.random.uniform(quaternion_key, (4,)))
            else:
                quaternion = _unit(jax.random.normal(quaternion_key, (4,)))
            qpos = qpos.at[address : address + 4].set(quaternion)
        return qpos


def _unit(vector: jax.Array) -> jax.Array:
    return vector / jnp.linalg.norm(vector)


def _limited_quaternion(key: jax.Array, limit: float) -> jax.Array:
    axis_key, angle_key = jax.random.split(key)
    axis = _unit(jax.random.normal(axis_key, (3,)))
    half_angle = jax.random.uniform(angle_key) * limit / 2
    return jnp.append(jnp.cos(half_angle), jnp.sin(half_angle) * axis)

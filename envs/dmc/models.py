"""Models of the suite, their named parts, and random joint positions."""

import math
import warnings
from collections.abc import Collection, Mapping

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs.dmc import PACKAGE
from envs.native import package_file


def load_model(
    filename: str,
    floor_size: float | None = None,
    without: Mapping[str, Collection[str]] | None = None,
    numerics: Mapping[str, float] | None = None,
) -> mujoco.MjModel:
    """Compiles a model file of the suite.

    Args:
      filename: of the model, in the directory of the suite.
      floor_size: half width of the floor in metres; None leaves it as it is.
      without: kind of element (`geoms`, `bodies`, ...) -> names of those to be removed.
      numerics: custom numbers to be added, some of which MJX reads.

    Raises:
      ModuleNotFoundError: where the package with the model files is not installed.
    """
    path = package_file(PACKAGE, "mujoco", "assets_dmc", filename)
    spec = mujoco.MjSpec.from_file(path)
    if floor_size is not None:
        spec.geom("floor").size[:2] = floor_size
    for kind, names in (without or {}).items():
        for element in getattr(spec, kind):
            if element.name in names:
                spec.delete(element)
    for name, value in (numerics or {}).items():
        spec.add_numeric(name=name, data=[value])
    with warnings.catch_warnings():
        # The suite's own file for the cheetah; its users can do nothing about that.
        warnings.filterwarnings("ignore", ".*'settotalmass' is deprecated", UserWarning)
        model = spec.compile()
    # Energy is only reported, never used, and MJX cannot compute it.
    model.opt.enableflags &= ~mujoco.mjtEnableBit.mjENBL_ENERGY.value
    return model


def sensor_slice(model: mujoco.MjModel, name: str) -> slice:
    """Where in `sensordata` a sensor writes."""
    sensor = model.sensor(name)
    return slice(int(sensor.adr[0]), int(sensor.adr[0] + sensor.dim[0]))


def sensor_indices(model: mujoco.MjModel, *names: str) -> np.ndarray:
    """Where in `sensordata` several sensors write, one after the other."""
    return np.concatenate([np.r_[sensor_slice(model, name)] for name in names])


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
                quaternion = random_rotation(quaternion_key)
            qpos = qpos.at[address : address + 4].set(quaternion)
        return qpos


def random_rotation(key: jax.Array) -> jax.Array:
    """A quaternion uniform over rotations, `(4,)`."""
    return _unit(jax.random.normal(key, (4,)))


def _unit(vector: jax.Array) -> jax.Array:
    return vector / jnp.linalg.norm(vector)


def _limited_quaternion(key: jax.Array, limit: float) -> jax.Array:
    axis_key, angle_key = jax.random.split(key)
    axis = _unit(jax.random.normal(axis_key, (3,)))
    half_angle = jax.random.uniform(angle_key) * limit / 2
    return jnp.append(jnp.cos(half_angle), jnp.sin(half_angle) * axis)

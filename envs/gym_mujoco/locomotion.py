"""What the locomotion tasks share: forward speed, cost of control, health, noise at the start."""

from typing import Any

import jax
import jax.numpy as jnp
import mujoco

from envs.native import package_file
from envs.task import Task


class Locomotion(Task):
    """Pays forward speed and being healthy, minus a cost of control; ends when not healthy.

    The constants are the defaults of Gymnasium's tasks of these names.

    Attributes:
      model_file: name of the model among Gymnasium's.
      forward_weight: reward per m/s.
      control_weight: cost per unit of squared control.
      healthy_reward: reward per step. It is paid in the last step of an episode as well.
      position_noise: half width of the uniform noise on the positions of a start.
      velocity_noise: half width of the uniform noise on its velocities, or its standard
        deviation where it is normal.
      normal_velocity_noise: whether it is normal.
    """

    fields: tuple[str, ...] = ("qpos", "qvel", "ctrl")
    reading = "gymnasium"
    changes: tuple[str, ...] = ("qpos",)

    model_file: str
    forward_weight: float = 1.0
    control_weight: float
    healthy_reward: float = 0.0
    position_noise: float
    velocity_noise: float
    normal_velocity_noise: bool = False

    def __init__(self) -> None:
        """Loads the model."""
        path = package_file("gymnasium", "envs", "mujoco", "assets", self.model_file)
        self.model = mujoco.MjModel.from_xml_path(path)
        self._interval = float(self.model.opt.timestep * self.substeps)

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """The default pose at rest, plus noise. (Noise leaves quaternions unnormalised.)"""
        position_key, velocity_key = jax.random.split(key)
        noise = jax.random.uniform(position_key, (self.model.nq,), minval=-1.0)
        qpos = jnp.asarray(self.model.qpos0, jnp.float32) + self.position_noise * noise
        if self.normal_velocity_noise:
            noise = jax.random.normal(velocity_key, (self.model.nv,))
        else:
            noise = jax.random.uniform(velocity_key, (self.model.nv,), minval=-1.0)
        return qpos, self.velocity_noise * noise, ()

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """Forward speed and health, minus the cost of control."""
        speed = self.displacement(data) / self._interval
        control_cost = self.control_weight * jnp.square(data.ctrl).sum()
        return self.forward_weight * speed + self.healthy_reward - control_cost

    def displacement(self, data: Any) -> jax.Array:
        """How far it came forward in the last control interval, m, `()`."""
        return data.qpos_change[0]

    def terminated(self, data: Any, variables: Any) -> jax.Array:
        """Not healthy any more."""
        return ~self.healthy(data)

    def healthy(self, data: Any) -> jax.Array:
        """Whether the episode goes on, `()` bool."""
        raise NotImplementedError

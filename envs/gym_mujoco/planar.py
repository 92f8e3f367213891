"""HalfCheetah, Hopper and Walker2d: animals in the vertical plane."""

from typing import Any

import jax
import jax.numpy as jnp

from envs.gym_mujoco.locomotion import Locomotion

VELOCITY_CLIP = 10.0  # of the observed velocities of Hopper and Walker2d


class HalfCheetah(Locomotion):
    """Two legs; cannot fall. Observes positions (8, without the horizontal one), velocities (9)."""

    model_file = "half_cheetah.xml"
    substeps = 5
    control_weight = 0.1
    position_noise = 0.1
    velocity_noise = 0.1
    normal_velocity_noise = True

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Position without the horizontal one, velocity."""
        return jnp.concatenate([data.qpos[1:], data.qvel])

    def healthy(self, data: Any) -> jax.Array:
        """Always."""
        return jnp.ones((), bool)


class Hopper(Locomotion):
    """One leg. Observes positions (5, without the horizontal one) and clipped velocities (6)."""

    model_file = "hopper.xml"
    substeps = 4
    control_weight = 1e-3
    healthy_reward = 1.0
    position_noise = 5e-3
    velocity_noise = 5e-3

    height_range = (0.7, float("inf"))  # m, of the torso
    angle_range = (-0.2, 0.2)  # rad, of the torso
    state_range = (-100.0, 100.0)  # of everything but the horizontal position and the height

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Position without the horizontal one, velocity clipped."""
        velocity = jnp.clip(data.qvel, -VELOCITY_CLIP, VELOCITY_CLIP)
        return jnp.concatenate([data.qpos[1:], velocity])

    def healthy(self, data: Any) -> jax.Array:
        """Upright, off the ground, and not in an impossible state."""
        _, height, angle = data.qpos[:3]
        state = jnp.concatenate([data.qpos[2:], data.qvel])
        possible = _inside(state, self.state_range).all()
        return _inside(height, self.height_range) & _inside(angle, self.angle_range) & possible


class Walker2d(Hopper):
    """Two legs. Observes positions (8, without the horizontal one) and clipped velocities (9)."""

    model_file = "walker2d.xml"
    height_range = (0.8, 2.0)
    angle_range = (-1.0, 1.0)
    state_range = (-float("inf"), float("inf"))


def _inside(value: jax.Array, bounds: tuple[float, float]) -> jax.Array:
    low, high = bounds
    return (low < value) & (value < high)


TASKS = {"HalfCheetah-v4": HalfCheetah, "Hopper-v4": Hopper, "Walker2d-v4": Walker2d}

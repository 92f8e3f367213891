"""Ant: four legs in three dimensions."""

from typing import Any

import jax
import jax.numpy as jnp

from envs.gym_mujoco.locomotion import Locomotion

HEIGHT_RANGE = (0.2, 1.0)  # m, of the torso


class Ant(Locomotion):
    """Observes positions (13, without the horizontal two) and velocities (14), no contact forces.

    (Version 4 leaves contact forces out unless it is asked for them.)
    """

    model_file = "ant.xml"
    substeps = 5
    # Where the torso is, as derived in the last substep: Gymnasium takes the speed from that.
    changes = ("xpos",)
    control_weight = 0.5
    healthy_reward = 1.0
    position_noise = 0.1
    velocity_noise = 0.1
    normal_velocity_noise = True

    def __init__(self) -> None:
        """Loads the model and resolves its names."""
        super().__init__()
        self._torso = self.model.body("torso").id

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Position without the horizontal two, velocity."""
        return jnp.concatenate([data.qpos[2:], data.qvel])

    def displacement(self, data: Any) -> jax.Array:
        """Of the torso."""
        return data.xpos_change[self._torso, 0]

    def healthy(self, data: Any) -> jax.Array:
        """Neither lying nor in the air, and in a finite state."""
        low, high = HEIGHT_RANGE
        finite = jnp.isfinite(data.qpos).all() & jnp.isfinite(data.qvel).all()
        return finite & (low <= data.qpos[2]) & (data.qpos[2] <= high)


TASKS = {"Ant-v4": Ant}

"""Reach a point with the left hand."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import mujoco

from envs.humanoid_bench.base import Humanoid

TARGET_LOW, TARGET_HIGH = (-2.0, -2.0, 0.2), (2.0, 2.0, 2.0)  # m
CLOSE, CLOSE_REWARD = 1.0, 5.0  # m
REACHED, REACHED_REWARD = 0.05, 10.0  # m
HEALTHY_REWARD = 5.0
MOTION_WEIGHT = 1e-4


class Reach(Humanoid):
    """Pays an upright pelvis and a hand close to the target, minus a cost of motion.

    The variables are the target, m, `(3,)`. It never ends an episode.
    """

    lowest = -math.inf

    def __init__(self) -> None:
        """Loads the model, with a mark for pictures."""
        super().__init__(_add_target)

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """The pose of the keyframe at rest, plus noise, and a target in a box around it."""
        qpos, qvel, _ = super().initialize(key)
        low, high = jnp.array(TARGET_LOW), jnp.array(TARGET_HIGH)
        target_key = jax.random.fold_in(key, 0)
        return qpos, qvel, jax.random.uniform(target_key, (3,), minval=low, maxval=high)

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Positions (26), velocities (25), left hand (3), target (3)."""
        hand = self.site(data, "left_hand")
        return jnp.concatenate([data.qpos, data.qvel, hand, variables])

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Humanoid.terms`."""
        distance = jnp.linalg.norm(self.site(data, "left_hand") - variables)
        return {
            "hand_dist": distance,
            "healthy_reward": HEALTHY_REWARD * data.xmat[self._pelvis, 2, 2],
            "motion_penalty": jnp.square(data.qvel).sum(),
            "reward_close": jnp.where(distance < CLOSE, CLOSE_REWARD, 0.0),
            "reward_success": jnp.where(distance < REACHED, REACHED_REWARD, 0.0),
        }

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """The sum, less the cost of motion."""
        terms = self.terms(data, variables)
        earned = terms["healthy_reward"] + terms["reward_close"] + terms["reward_success"]
        return earned - MOTION_WEIGHT * terms["motion_penalty"]

    def show(self, model: mujoco.MjModel, variables: Any) -> None:
        """The target."""
        model.site_pos[model.site("target").id] = variables


def _add_target(spec: mujoco.MjSpec) -> None:
    mark = {"size": (0.05, 0.05, 0.05), "rgba": (0.8, 0.28, 0.28, 1)}
    spec.worldbody.add_site(name="target", **mark)


TASKS = {"reach": Reach}

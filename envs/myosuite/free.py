"""Reaching points with the fingertips, and holding a pose."""

from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from envs.myosuite.hand import FINGERS, Hand

NEAR = 0.0125 * len(FINGERS)  # m, all fingertips together
FAR = 0.044 * len(FINGERS)
FAR_IF_HARD = 0.075 * len(FINGERS)
LENIENT_STEPS = 2  # before which no distance is too far
TARGETS = np.array(  # of the fingertips, m
    [
        (-0.165, -0.537, 1.495),
        (-0.151, -0.547, 1.455),
        (-0.146, -0.547, 1.447),
        (-0.148, -0.543, 1.445),
        (-0.148, -0.528, 1.434),
    ]
)
# From there to the ends of the boxes from which hard targets are drawn, m.
OTHERS = ((-0.040, -0.020, -0.010), (0.040, 0.020, 0.010))
BELOW = np.array([(-0.020, -0.040, -0.040), *[OTHERS[0]] * 4])
ABOVE = np.array([(0.040, 0.020, 0.040), *[OTHERS[1]] * 4])

POSE_RADIUS = 0.7  # rad, all joints together, that counts as the pose
# Of each joint the angle to be held, and from where to where it is drawn if that is hard, rad.
POSE, LOWEST, HIGHEST = np.array(
    [
        (0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0),
        (0.0824475, -0.147495, 0.28272),
        (-0.0904, 0.0248, 0.6392),
        (-0.681555, -0.7854, 0.01569),
        (-0.514888, -1.309, -0.0262045),
        (0.0, 0.366605, 1.30045),
        (-0.013964, -0.006982, 0.010473),
        (-0.0458132, 0.128305, 1.45492),
        (0.0, 0.111722, 0.998897),
        (0.67553, 0.39275, 1.48459),
        (-0.020944, 0.0, 0.0),
        (0.76979, 0.18852, 1.45318),
        (0.65982, 0.117825, 1.44532),
        (0.0, 0.306345, 1.571),
        (0.0, -0.204204, -0.010472),
        (0.0, 0.0, 1.52387),
        (0.0, 0.06284, 1.45318),
        (0.479155, 0.21994, 1.48459),
        (-0.099484, -0.2618, -0.068068),
        (0.95831, 0.18852, 1.571),
        (0.0, 0.01571, 1.571),
    ]
).T


class Reach(Hand):
    """Observes positions (23), velocities (23, per step), fingertips (15), how far they have to go
    (15) and activations (39)."""

    recipe = "hand_pose"
    weights: ClassVar[dict[str, float]] = {"reach": 1.0, "bonus": 4.0, "penalty": 50.0}

    def __init__(self, hard: bool):
        """See `Hand`."""
        super().__init__(hard)
        self._tips = np.array([self.model.site(name).id for name in FINGERS])

    def goal(self, key: jax.Array) -> Any:
        """Targets of the fingertips, `(5, 3)`, and how many steps were taken."""
        targets = jnp.asarray(TARGETS, jnp.float32)
        if self._hard:
            targets += BELOW + jax.random.uniform(key, targets.shape) * (ABOVE - BELOW)
        return targets, jnp.zeros((), jnp.int32)

    def advance(self, data: Any, variables: Any) -> Any:
        """See `Task.advance`."""
        targets, steps = variables
        return targets, steps + 1

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """See above."""
        tips = data.site_xpos[self._tips]
        left = variables[0] - tips
        velocity = data.qvel * self._interval
        return jnp.concatenate([data.qpos, velocity, tips.ravel(), left.ravel(), data.act])

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Hand.terms`."""
        targets, steps = variables
        distance = jnp.linalg.norm(targets - data.site_xpos[self._tips])
        far = distance > (FAR_IF_HARD if self._hard else FAR)
        far &= steps >= LENIENT_STEPS
        return {
            "reach": -distance,
            "bonus": (distance < 2 * NEAR).astype(float) + (distance < NEAR),
            "penalty": -far.astype(float),
            "solved": distance < NEAR,
            "done": far,
        }


class Pose(Hand):
    """Observes positions (23), velocities (23, per step), how far they have to go (23) and
    activations (39). Hard: from any pose to any pose."""

    recipe = "hand_pose"
    weights: ClassVar[dict[str, float]] = {
        "pose": 1.0,
        "bonus": 4.0,
        "act_reg": 1.0,
        "penalty": 50.0,
    }

    def pose(self, key: jax.Array) -> jax.Array:
        """See `Hand.pose`."""
        if not self._hard:
            return super().pose(key)
        low, high = self.model.jnt_range.T.astype(np.float32)
        return low + jax.random.uniform(key, low.shape) * (high - low)

    def goal(self, key: jax.Array) -> Any:
        """Positions of the joints, `(23,)`."""
        if not self._hard:
            return jnp.asarray(POSE, jnp.float32)
        return jnp.asarray(LOWEST + jax.random.uniform(key, POSE.shape) * (HIGHEST - LOWEST))

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """See above."""
        velocity = data.qvel * self._interval
        return jnp.concatenate([data.qpos, velocity, variables - data.qpos, data.act])

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Hand.terms`."""
        distance = jnp.linalg.norm(variables - data.qpos)
        near, far = distance < POSE_RADIUS, distance > 2 * np.pi
        return {
            "pose": -distance,
            "bonus": near.astype(float) + (distance < 1.5 * POSE_RADIUS),
            "act_reg": self.effort(data),
            "penalty": -far.astype(float),
            "solved": near,
            "done": far,
        }


TASKS = {
    "reach": partial(Reach, hard=False),
    "reach-hard": partial(Reach, hard=True),
    "pose": partial(Pose, hard=False),
    "pose-hard": partial(Pose, hard=True),
}

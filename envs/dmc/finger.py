"""Finger: a planar finger of two links that has to turn a body on a hinge."""

import copy
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs.dmc.models import JointRandomizer, load_model, sensor_indices
from envs.task import Task

SUBSTEPS = 2  # of 10 ms
SPIN_SPEED = 15.0  # rad/s, clockwise, that earns the reward
SPIN_DAMPING = 0.03  # of the hinge when it has to spin
EASY_TARGET = 0.07  # m, radius
HARD_TARGET = 0.03  # m, radius
MOST_ATTEMPTS = 1000  # as in the suite


class Finger(Task):
    """Observes joint angles of the finger, the spinner's tip, velocities and touch."""

    fields = ("sensordata",)
    substeps = SUBSTEPS
    most_attempts = MOST_ATTEMPTS

    def __init__(self) -> None:
        """Loads the model and resolves its names."""
        self.model = load_model("finger.xml")
        sensors = partial(sensor_indices, self.model)
        self._angles = sensors("proximal", "distal")
        self._velocities = sensors("proximal_velocity", "distal_velocity", "hinge_velocity")
        self._tip = sensors("tip")[::2]
        self._spinner = sensors("spinner")[::2]
        self._touch = sensors("touchtop", "touchbottom")
        self._randomize = JointRandomizer(self.model)

    def mjx_model(self) -> mujoco.MjModel:
        """Without collisions of the two decorations, the only cylinders of the model.

        No difference: nothing reaches the one at the root of the finger (the spinner ends
        23 cm before it), and the one in the spinner is covered by 2 cm of capsule wherever the
        finger, which moves in one plane, could touch it. For MJX a cylinder is a descent on a
        distance function instead of a formula.
        """
        model = copy.copy(self.model)
        for name in ("proximal_decoration", "spinner_decoration"):
            geom = model.geom(name)
            geom.contype = geom.conaffinity = 0
        return model

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """Random joints, at rest."""
        return self._randomize(key), jnp.zeros(self.model.nv), ()

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Position (2 angles, tip from hinge), velocity (3), logarithm of the touch (2)."""
        sensors = data.sensordata
        touch = jnp.log1p(sensors[self._touch])
        return jnp.concatenate(
            [sensors[self._angles], self._tip_position(data), sensors[self._velocities], touch]
        )

    def _tip_position(self, data: Any) -> jax.Array:
        """Horizontal and vertical, from the hinge."""
        return data.sensordata[self._tip] - data.sensordata[self._spinner]


class Spin(Finger):
    """Keep the spinner turning."""

    def __init__(self) -> None:
        """Makes the hinge turn easily."""
        super().__init__()
        hinge = self.model.joint("hinge").dofadr[0]
        self.model.dof_damping[hinge] = SPIN_DAMPING

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """One while the spinner turns fast enough, else zero."""
        return (data.sensordata[self._velocities[2]] <= -SPIN_SPEED).astype(jnp.float32)

    def show(self, model: mujoco.MjModel, variables: Any) -> None:
        """No target, and no mark at the tip that would have to be in it."""
        for name in ("target", "tip"):
            model.site_rgba[model.site(name).id, 3] = 0.0


class Turn(Finger):
    """Turn the spinner's tip into a target. Observes target and distance, too.

    The variables of an episode are the target's position from the hinge, `(2,)`, horizontal and
    vertical. The target is a mere site, so the physics need not know where it is.
    """

    def __init__(self, target_radius: float):
        """`target_radius` in metres."""
        super().__init__()
        self._target_radius = target_radius
        self._tip_radius = float(np.sum(self.model.geom("cap1").size))
        data = mujoco.MjData(self.model)
        mujoco.mj_kinematics(self.model, data)
        self._hinge = data.joint("hinge").xanchor[::2].copy()  # it does not move

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """Random joints at rest, and a target anywhere on the circle of the tip."""
        joints_key, target_key = jax.random.split(key)
        qpos, qvel, _ = super().initialize(joints_key)
        angle = jax.random.uniform(target_key, minval=-jnp.pi, maxval=jnp.pi)
        return qpos, qvel, self._tip_radius * jnp.stack([jnp.sin(angle), jnp.cos(angle)])

    def retry(self, key: jax.Array, attempt: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """Draws joints again for the same target."""
        _, _, target = self.initialize(key)
        qpos, qvel, _ = super().retry(key, attempt)
        return qpos, qvel, target

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """As every finger, then the target from the hinge (2) and the tip's distance to it (1)."""
        distance = self._distance(data, variables)
        return jnp.concatenate([super().observe(data, variables), variables, distance[None]])

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """One while the tip is in the target, else zero."""
        return (self._distance(data, variables) <= 0).astype(jnp.float32)

    def show(self, model: mujoco.MjModel, variables: Any) -> None:
        """The target."""
        target = model.site("target").id
        model.site_pos[target, ::2] = self._hinge + np.asarray(variables)
        model.site_size[target, 0] = self._target_radius

    def _distance(self, data: Any, variables: Any) -> jax.Array:
        """From the tip to the surface of the target, negative within."""
        return jnp.linalg.norm(variables - self._tip_position(data)) - self._target_radius


TASKS = {
    "spin": Spin,
    "turn_easy": partial(Turn, target_radius=EASY_TARGET),
    "turn_hard": partial(Turn, target_radius=HARD_TARGET),
}

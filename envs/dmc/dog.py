"""Dog: an anatomical pharaoh hound of 38 actuators that has to stand, walk, trot or run."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs.dmc.models import load_model, sensor_indices
from envs.rewards import at_least, tolerance
from envs.task import Task

SUBSTEPS = 3  # of 5 ms
WALK_SPEED = 1.0  # m/s
TROT_SPEED = 3.0  # m/s
RUN_SPEED = 9.0  # m/s
EPISODE_SECONDS = 15  # the floor reaches as far as one gets at the desired speed
STAND_HEIGHT_FRACTION = 0.9  # of the heights in the default pose, that counts as standing
UPRIGHT_COSINE = math.cos(math.radians(30))  # of the tilt that counts as upright
START_SPEED = 2.0  # m/s and rad/s, standard deviation

# Furniture of the domain's other task.
UNUSED = {
    "geoms": ("target", "wall_px", "wall_nx", "wall_py", "wall_ny"),
    "cameras": ("ball", "head"),
    "bodies": ("ball",),
}

# For MJX only, see `Dog.mjx_model`.
MJX_CONTACTS = 64  # of each friction dimension at a time; of all kinds together 23 were seen
TOOTH_PRIORITY = 2  # of their contacts, by which the model tells teeth from the rest
OTHER, TOOTH, BOX, ELLIPSOID = 1, 2, 4, 8  # bits of contype and conaffinity


class Dog(Task):
    """Observes joints, heights, orientations, velocities, forces, touch and actuators."""

    fields = ("qpos", "qvel", "act", "xpos", "xmat", "sensordata")
    substeps = SUBSTEPS
    room = (128, 512)

    def __init__(self, move_speed: float):
        """`move_speed`: m/s forwards that earns the full reward; zero asks for standing only."""
        self._floor_size = EPISODE_SECONDS * max(move_speed, WALK_SPEED)
        model = self.model = load_model("dog.xml", self._floor_size, without=UNUSED)
        self._move_speed = move_speed
        hinges = model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
        self._angles, self._angle_velocities = model.jnt_qposadr[hinges], model.jnt_dofadr[hinges]
        self._torso = model.body("torso").id
        self._carried = np.array([model.body(name).id for name in ("torso", "pelvis")])
        self._upright = np.array([model.body(name).id for name in ("skull", "torso", "pelvis")])
        sensors = partial(sensor_indices, model)
        self._velocity = sensors("torso_linvel")
        self._inertial = sensors("accelerometer", "velocimeter", "gyro")
        self._forces = sensors("foot_L", "foot_R", "hand_L", "hand_R")
        self._touch = sensors("palm_L", "palm_R", "sole_L", "sole_R")

        default = mujoco.MjData(model)
        mujoco.mj_forward(model, default)
        self._stand_heights = STAND_HEIGHT_FRACTION * default.xpos[self._carried, 2]
        mass = model.body_subtreemass[self._torso]
        self._weight = float(-model.opt.gravity[2] * mass)  # N

    def mjx_model(self) -> mujoco.MjModel:
        """With fewer collisions, for MJX lacks some and evaluates all of them at every step.

        - Between ellipsoids (chest, skull) and boxes (paws, shoulder blades, jaws) there are none,
          because MJX has none. In 1,800 steps of random play none of them ever touched.
        - The 42 teeth collide with the floor only, which is all that they touched in that play,
          there being nothing to bite. They make half of the 5,557 pairs, the costliest ones.
        - No more than `MJX_CONTACTS` contacts of one friction dimension are kept, the deepest.

        MJX also lacks the four iterations against slipping that follow the solver in MuJoCo: feet
        creep where they should stick. That is the largest difference, see `results/parity.md`.
        """
        numerics = {"max_contact_points": MJX_CONTACTS}
        model = load_model("dog.xml", self._floor_size, without=UNUSED, numerics=numerics)
        types, contype, conaffinity = model.geom_type, model.geom_contype, model.geom_conaffinity
        collides, receives = contype > 0, conaffinity > 0
        tooth = collides & (model.geom_priority == TOOTH_PRIORITY)
        box = collides & (types == mujoco.mjtGeom.mjGEOM_BOX)
        ellipsoid = collides & (types == mujoco.mjtGeom.mjGEOM_ELLIPSOID) & ~tooth
        for kind, bit in ((tooth, TOOTH), (box, BOX), (ellipsoid, ELLIPSOID)):
            contype[kind] = bit
        conaffinity[receives] = OTHER | BOX | ELLIPSOID
        conaffinity[receives & box] = OTHER | BOX
        conaffinity[receives & ellipsoid] = OTHER | ELLIPSOID
        conaffinity[tooth] = 0
        conaffinity[model.geom("floor").id] |= TOOTH
        model.opt.noslip_iterations = 0
        return model

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """The default pose in any direction, sliding and turning on the spot."""
        azimuth_key, velocity_key = jax.random.split(key)
        half = jax.random.uniform(azimuth_key, maxval=2 * jnp.pi) / 2
        qpos = jnp.asarray(self.model.qpos0, jnp.float32)
        qpos = qpos.at[3:7].set(jnp.stack([jnp.cos(half), 0.0, 0.0, jnp.sin(half)]))
        horizontal = np.array([0, 1, 5])
        velocity = START_SPEED * jax.random.normal(velocity_key, horizontal.shape)
        return qpos, jnp.zeros(self.model.nv).at[horizontal].set(velocity), ()

    def activate(self, key: jax.Array) -> jax.Array:
        """Uniform in the range of the controls."""
        low, high = self.model.actuator_ctrlrange.T.astype(np.float32)
        return low + jax.random.uniform(key, low.shape) * (high - low)

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Joint angles (73), their velocities (73), heights of torso and pelvis (2), verticals
        of skull, torso and pelvis (9), velocity of the centre of mass in the torso's frame (3),
        accelerometer, velocimeter and gyroscope (9), forces (12) and touch (4) at the feet,
        activations (38)."""
        return jnp.concatenate(
            [
                data.qpos[self._angles],
                data.qvel[self._angle_velocities],
                data.xpos[self._carried, 2],
                data.xmat[self._upright, 2].ravel(),
                self._torso_velocity(data),
                data.sensordata[self._inertial],
                data.sensordata[self._forces],
                data.sensordata[self._touch],
                data.act,
            ]
        )

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """Standing high and upright on its feet, times (mostly) forward speed."""
        heights = data.xpos[self._carried, 2]
        high = [
            tolerance(heights[index], bounds=(height, float("inf")), margin=height)
            for index, height in enumerate(self._stand_heights.tolist())
        ]
        upright = at_least(data.xmat[self._upright, 2, 2], UPRIGHT_COSINE, UPRIGHT_COSINE + 1)
        on_feet = at_least(data.sensordata[self._touch].sum(), self._weight, self._weight, 0.9)
        stand_reward = high[0] * high[1] * upright.prod() * on_feet
        if self._move_speed == 0:
            return stand_reward
        moving = tolerance(
            self._torso_velocity(data)[0],
            bounds=(self._move_speed, 2 * self._move_speed),
            margin=max(1.0, self._move_speed),
            value_at_margin=0,
            sigmoid="linear",
        )
        return stand_reward * (4 * moving + 1) / 5

    def _torso_velocity(self, data: Any) -> jax.Array:
        """Velocity of the centre of mass in the torso's frame, `(3,)`."""
        velocity = data.sensordata[self._velocity]
        return (velocity[:, None] * data.xmat[self._torso]).sum(0)


TASKS = {
    "stand": partial(Dog, move_speed=0.0),
    "walk": partial(Dog, move_speed=WALK_SPEED),
    "trot": partial(Dog, move_speed=TROT_SPEED),
    "run": partial(Dog, move_speed=RUN_SPEED),
}

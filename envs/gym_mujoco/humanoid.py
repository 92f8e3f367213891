"""Humanoid: a body with arms and legs in three dimensions."""

import copy
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs.gym_mujoco.locomotion import Locomotion

HEIGHT_RANGE = (1.0, 2.0)  # m, of the torso


class Humanoid(Locomotion):
    """Observes the state and, for every body, inertia, velocity and forces (376 in all)."""

    model_file = "humanoid.xml"
    fields = ("qpos", "qvel", "ctrl", "cinert", "cvel", "qfrc_actuator", "cfrc_ext")
    substeps = 5
    changes = ("xipos",)
    forward_weight = 1.25
    control_weight = 0.1
    healthy_reward = 5.0
    position_noise = 1e-2
    velocity_noise = 1e-2

    def __init__(self) -> None:
        """Loads the model."""
        super().__init__()
        mass = self.model.body_mass
        self._share = np.asarray(mass / mass.sum(), np.float32)

    def mjx_model(self) -> mujoco.MjModel:
        """The model with the Newton solver, because neither MJX nor Warp has PGS.

        Both solve the same problem, whose solution is unique. Newton converges; the model gives
        PGS 50 sweeps, which leaves it near the solution: `tests.parity.command` says how near.
        """
        model = copy.copy(self.model)
        model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
        return model

    warp_model = mjx_model

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """Position (22, without the horizontal two), velocity (23); of the 14 bodies inertia (140)
        and velocity (84); actuator forces (23), external forces on the bodies (84).
        """
        parts = (
            data.qpos[2:],
            data.qvel,
            data.cinert,
            data.cvel,
            data.qfrc_actuator,
            data.cfrc_ext,
        )
        return jnp.concatenate([part.ravel() for part in parts])

    def displacement(self, data: Any) -> jax.Array:
        """Of the centre of mass."""
        return self._share @ data.xipos_change[:, 0]

    def healthy(self, data: Any) -> jax.Array:
        """Not fallen, not in the air."""
        low, high = HEIGHT_RANGE
        return (low < data.qpos[2]) & (data.qpos[2] < high)


TASKS = {"Humanoid-v4": Humanoid}

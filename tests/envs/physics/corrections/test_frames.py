"""Frames of MJX are those of the C engine to the last bit of float64, near to others or not."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from envs.physics import mjx as mjx_physics
from envs.physics.corrections.frames import frames_of_c

NEARLY = "1 5e-7 0 0"
BODY = f"""
<mujoco>
  <compiler angle="radian"/>
  <worldbody>
    <body>
      <freejoint/>
      <inertial pos="0.1 0.2 0.3" quat="1 1 0 0" mass="1" diaginertia="1 2 2.5"/>
      <geom size="0.1" quat="{NEARLY}" pos="5e-7 0 0"/>
      <geom size="0.1" quat="{NEARLY}" pos="1 2 3"/>
      <geom size="0.1" quat="1 1 0 0" pos="0.1 0.2 0.3000005"/>
      <geom size="0.1" quat="1 1.0000005 0 0" pos="1 2 3"/>
      <geom size="0.1" quat="1 2 3 4" pos="1 2 3"/>
      <site quat="{NEARLY}"/>
      <site quat="1 2 3 4"/>
      <body>
        <joint axis="1 2 3"/>
        <inertial pos="5e-7 0 0" quat="{NEARLY}" mass="1" diaginertia="1 2 2.5"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""
FRAMES = ("geom_xpos", "geom_xmat", "site_xpos", "site_xmat", "xipos", "ximat")


def largest_difference(model: mujoco.MjModel, read: mujoco.MjModel) -> float:
    """Between the C engine with one model and MJX with the other."""
    data = mujoco.MjData(model)
    random = np.random.default_rng(0)
    data.qpos[:] = random.normal(size=model.nq)
    data.qpos[3:7] /= np.linalg.norm(data.qpos[3:7])
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    with jax.enable_x64(True):
        blank = mjx.make_data(read, impl="jax").replace(qpos=jnp.asarray(data.qpos))
        ours = mjx.kinematics(mjx.put_model(read, impl="jax"), blank)
    return max(
        np.abs(np.asarray(getattr(ours, name)).ravel() - getattr(data, name).ravel()).max()
        for name in FRAMES
    )


@pytest.mark.slow
def test_frames_are_equal():
    model = mujoco.MjModel.from_xml_string(BODY)
    kinds = {*model.geom_sameframe, *model.site_sameframe, *model.body_sameframe}
    assert len(kinds) == 5, "all kinds of frames"
    assert largest_difference(model, model) > 1e-7
    assert largest_difference(model, frames_of_c(model)) < 1e-14


def test_the_physics_has_these_frames(monkeypatch):
    model = mujoco.MjModel.from_xml_string(BODY)
    seen = []
    monkeypatch.setattr(mjx_physics, "frames_of_c", lambda model: seen.append(model) or model)
    physics = mjx_physics.MjxPhysics(model, ("xpos",), substeps=1)
    jax.jit(physics.reset).lower(jnp.asarray(model.qpos0), jnp.zeros(model.nv))
    assert seen == [model]

"""Tendons inside geoms touch them where they do in the C engine."""

import contextlib

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from envs.physics.corrections.tendons import tendons_of_c

# A sphere and a cylinder, each with a tendon through it, between a fixed end and one that moves.
MODEL = """
<mujoco>
  <worldbody>
    <site name="from" pos="0.03 0 0"/>
    <geom name="ball" size="0.01"/> <site name="in ball" pos="0 0.002 0"/>
    <geom name="tube" type="cylinder" size="0.012 0.05"/> <site name="in tube" pos="0.001 0 0"/>
    <body>
      <joint name="turn" axis="0 0 1"/> <joint name="slide" type="slide" axis="1 0.2 0.3"/>
      <geom size="0.001" pos="0.025 0 0.01"/> <site name="to" pos="0.025 0 0.01"/>
    </body>
  </worldbody>
  <tendon>
    <spatial>
      <site site="from"/> <geom geom="ball" sidesite="in ball"/> <site site="to"/>
    </spatial>
    <spatial>
      <site site="from"/> <geom geom="tube" sidesite="in tube"/> <site site="to"/>
    </spatial>
  </tendon>
</mujoco>
"""


def largest_error(dtype, corrected) -> float:
    """Of the tendons' moment arms, over poses on both sides and through the geoms."""
    model = mujoco.MjModel.from_xml_string(MODEL)
    model.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
    data = mujoco.MjData(model)
    turns, slides = np.meshgrid(np.linspace(-3.1, 3.1, 41), [-0.004, 0.0, 0.01])
    poses = np.stack([turns.ravel(), slides.ravel()], 1)
    theirs = []
    for pose in poses:
        data.qpos[:] = pose
        mujoco.mj_forward(model, data)
        arms = np.zeros((model.ntendon, model.nv))
        rows = model.ten_J_rownnz, model.ten_J_rowadr, model.ten_J_colind
        mujoco.mju_sparse2dense(arms, np.ravel(data.ten_J), *rows)
        theirs.append(arms)
    with jax.enable_x64(dtype == jnp.float64), corrected():
        loaded, blank = mjx.put_model(model), mjx.make_data(model)

        def derive(pose):
            moved = mjx.com_pos(loaded, mjx.kinematics(loaded, blank.replace(qpos=pose)))
            return mjx.tendon(loaded, moved)._impl.ten_J

        ours = np.asarray(jax.jit(jax.vmap(derive))(jnp.asarray(poses, dtype)))
    assert np.ptp(theirs, 0).min() > 0, "both are touched in some of the poses"
    return float(np.abs(ours - theirs).max())


@pytest.mark.parametrize(
    ("dtype", "bound"),
    [(jnp.float64, 1e-12), pytest.param(jnp.float32, 1e-6, marks=pytest.mark.slow)],
)
def test_they_are_where_they_are_in_c(dtype, bound):
    assert largest_error(dtype, tendons_of_c) < bound
    assert largest_error(dtype, contextlib.nullcontext) > 10 * bound, "MJX as it is"

"""Contacts that MJX makes otherwise than the C engine, and that are put right."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from envs.physics.corrections.contacts import contacts_of_c

BOX_ON_FLOOR = """
<mujoco>
  <worldbody>
    <geom type="plane" size="1 1 1" euler="10 5 0"/>
    <body><freejoint/><geom type="box" size="0.2 0.3 0.1"/></body>
  </worldbody>
</mujoco>
"""
STATES = 50


def test_a_box_aslant_touches_with_all_corners_below_the_plane():
    model = mujoco.MjModel.from_xml_string(BOX_ON_FLOOR)
    data = mujoco.MjData(model)
    random = np.random.default_rng(0)
    blank = mjx.make_data(model, impl="jax")

    @jax.jit
    @contacts_of_c()
    def contacts(qpos):
        moved = mjx.kinematics(mjx_model, blank.replace(qpos=qpos))
        return mjx.collision(mjx_model, moved)._impl.contact

    mjx_model = mjx.put_model(model, impl="jax")
    counts = []
    for _ in range(STATES):
        data.qpos[:] = random.normal(0, 0.05, 7)
        data.qpos[3] = 1.0
        mujoco.mj_forward(model, data)
        ours = contacts(jnp.asarray(data.qpos, jnp.float32))
        touching = np.asarray(ours.dist) < 0
        assert touching.sum() == data.ncon
        order, reference = np.argsort(ours.dist[touching]), np.argsort(data.contact.dist)
        for name in ("dist", "pos"):
            near = np.asarray(getattr(ours, name))[touching][order]
            np.testing.assert_allclose(near, getattr(data.contact, name)[reference], atol=1e-6)
        frames = np.asarray(ours.frame)[touching].reshape(-1, 9)
        np.testing.assert_allclose(frames, data.contact.frame[reference], atol=1e-6)
        counts.append(data.ncon)
    assert set(counts) >= {3, 4}

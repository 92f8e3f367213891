"""MJX's line search ends early and finds what it found before."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco.mjx._src import solver

from envs.physics import mjx as mjx_physics
from envs.physics.corrections import line_search
from envs.physics.engines import make_physics

ITERATIONS = 37
BALL = f"""
<mujoco>
  <option ls_iterations="{ITERATIONS}"/>
  <worldbody>
    <geom type="plane" size="1 1 1"/>
    <body pos="0 0 0.1"><freejoint/><geom size="0.1"/></body>
  </worldbody>
</mujoco>
"""


@pytest.mark.parametrize("most", [3, 50])
def test_the_loop_does_what_the_scan_did(most):
    """Side by side, some end at once, some after a few steps, and some not before the last."""

    def search(loop, target):
        def goes_on(carry):
            root, count = carry
            return (jnp.abs(root * root - target) > 1e-5 * target) & (count < most)

        def improve(carry):
            root, count = carry
            return 0.5 * (root + target / root), count + 1

        return loop(goes_on, improve, (jnp.ones(()), jnp.int32(0)), most)

    targets = jnp.array([1.0, 2.0, 1e6, jnp.nan])
    ours, theirs = (
        jax.jit(jax.vmap(lambda target, loop=loop: search(loop, target)))(targets)
        for loop in (line_search._while_loop, solver._while_loop_scan)
    )
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])
    assert ours[1].tolist() == ([0, 3, 3, 0] if most == 3 else [0, 3, 13, 0])


@pytest.mark.slow
def test_no_line_search_runs_to_its_end(monkeypatch):
    model = mujoco.MjModel.from_xml_string(BALL)
    start = jnp.asarray(model.qpos0), jnp.zeros(model.nv)

    def scans() -> int:
        physics = make_physics("mjx", model, ("qpos",), substeps=1)  # each is traced once
        carried = jax.eval_shape(physics.reset, *start).carried
        carried = {name: jnp.zeros((1, *leaf.shape)) for name, leaf in carried.items()}
        steps = jax.make_jaxpr(functools.partial(physics._interval_all, True))(carried, {})
        return str(steps).count(f"length={ITERATIONS}")

    assert scans() == 0
    monkeypatch.setattr(mjx_physics, "short_line_search", contextlib.nullcontext)
    assert scans() > 0, "MJX as it is"

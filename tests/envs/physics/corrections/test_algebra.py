"""MJX's algebra in the form that compiles fast, against the C engine and numpy."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco.mjx._src import math

from envs.physics.corrections import algebra
from envs.physics.engines import make_physics

CHAIN = """
<mujoco>
  <worldbody>
    <body>
      <joint type="ball"/><geom size="0.1"/>
      <body pos="0 0 0.5"><joint axis="0 1 0"/><geom size="0.1"/></body>
    </body>
  </worldbody>
</mujoco>
"""
RANDOM = np.random.default_rng(0)


def of_c(function: Callable[..., None], size: int, *arguments: np.ndarray | float) -> np.ndarray:
    result = np.zeros(size)
    function(result, *arguments)
    return result


def unit(size: int) -> np.ndarray:
    vector = RANDOM.normal(size=size)
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("_", range(5))
def test_quaternions_are_those_of_the_c_engine(_):
    u, v, axis, vector = unit(4), unit(4), unit(3), RANDOM.normal(size=3)
    angle = RANDOM.uniform(-4, 4)
    for ours, theirs in (
        (algebra.quat_mul(u, v), of_c(mujoco.mju_mulQuat, 4, u, v)),
        (algebra.rotate(vector, u), of_c(mujoco.mju_rotVecQuat, 3, vector, u)),
        (algebra.axis_angle_to_quat(axis, angle), of_c(mujoco.mju_axisAngle2Quat, 4, axis, angle)),
    ):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_spatial_products_are_those_of_featherstone():
    """Equations 2.31 and 2.32 of Rigid Body Dynamics Algorithms, as matrices."""
    motion, other = RANDOM.normal(size=(2, 6))

    angular, linear = (-np.cross(np.eye(3), part).T for part in (motion[:3], motion[3:]))
    matrix = np.block([[angular, np.zeros((3, 3))], [linear, angular]])
    ours = algebra.motion_cross(motion, other)
    np.testing.assert_allclose(ours, matrix @ other, atol=2e-6)
    ours = algebra.motion_cross_force(motion, other)
    np.testing.assert_allclose(ours, -matrix.T @ other, atol=2e-6)


def test_resets_and_steps_are_traced_with_it(monkeypatch):
    model = mujoco.MjModel.from_xml_string(CHAIN)
    physics = make_physics("mjx", model, ("xpos",), substeps=1)
    products = []
    multiply = algebra._product

    def counted(*factors):
        products.append(factors)
        return multiply(*factors)

    monkeypatch.setattr(algebra, "_product", counted)
    start = jnp.asarray(model.qpos0), jnp.zeros(model.nv)
    jax.jit(physics.reset).lower(*start)
    assert products
    products.clear()
    jax.jit(physics.step).lower(jax.eval_shape(physics.reset, *start), jnp.zeros(0))
    assert products
    assert math.rotate is not algebra.rotate, "outside, MJX is as it was"

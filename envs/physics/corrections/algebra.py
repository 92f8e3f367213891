"""MJX's algebra of quaternions and spatial vectors, in operations that compile fast.

MJX joins every product from its components. XLA's compiler for CPUs puts chains of such joins, as
along the spine of a dog, into single functions that work every component out anew for each use:
a step of 20 dogs was not compiled after 14 minutes. As sums over all pairs of components, weighted
with a constant, it takes a minute and a half. (These are no matrix products, which
accelerators would compute with fewer bits.)
"""

import contextlib
from collections.abc import Iterator
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from mujoco.mjx._src import math


def _cross_products() -> np.ndarray:
    """`[i, j, k]`: by how much components j and k count in component i of a cross product."""
    weights = np.zeros((3, 3, 3), np.float32)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        weights[i, j, k], weights[i, k, j] = 1, -1
    return weights


def _quaternion_products() -> np.ndarray:
    """The same for Hamilton's product of quaternions `(w, x, y, z)`."""
    weights = np.zeros((4, 4, 4), np.float32)
    weights[0] = np.diag([1, -1, -1, -1])
    weights[1:, 1:, 1:] = _CROSS
    for i in range(1, 4):
        weights[i, 0, i] = weights[i, i, 0] = 1
    return weights


_CROSS = _cross_products()
_HAMILTON = _quaternion_products()


@contextlib.contextmanager
def compact_algebra() -> Iterator[None]:
    """Inside, MJX is traced with the functions of this module in place of its own."""
    ours = (quat_mul, rotate, axis_angle_to_quat, motion_cross, motion_cross_force)
    with contextlib.ExitStack() as stack:
        for function in ours:
            stack.enter_context(mock.patch.object(math, function.__name__, function))
        yield


def quat_mul(u: jax.Array, v: jax.Array) -> jax.Array:
    """The product of two quaternions, `(4,)`."""
    return _product(_HAMILTON, u, v)


def rotate(vec: jax.Array, quat: jax.Array) -> jax.Array:
    """A vector, `(3,)`, turned by a unit quaternion."""
    w, u = quat[0], quat[1:]
    turned = 2 * jnp.dot(u, vec) * u + (w * w - jnp.dot(u, u)) * vec
    return turned + 2 * w * _product(_CROSS, u, vec)


def axis_angle_to_quat(axis: jax.Array, angle: jax.Array) -> jax.Array:
    """The quaternion that turns around a unit vector, by radians."""
    return jnp.concatenate([jnp.cos(angle / 2)[None], axis * jnp.sin(angle / 2)])


def motion_cross(u: jax.Array, v: jax.Array) -> jax.Array:
    """The cross product of two spatial motions (angular, then linear), `(6,)`.

    Source: Featherstone, Rigid Body Dynamics Algorithms, equation 2.31.
    """
    angular = _product(_CROSS, u[:3], v[:3])
    return jnp.concatenate(
        [angular, _product(_CROSS, u[:3], v[3:]) + _product(_CROSS, u[3:], v[:3])]
    )


def motion_cross_force(v: jax.Array, f: jax.Array) -> jax.Array:
    """The cross product of a spatial motion and a spatial force, `(6,)`.

    Source: Featherstone, Rigid Body Dynamics Algorithms, equation 2.32.
    """
    linear = _product(_CROSS, v[:3], f[3:])
    return jnp.concatenate(
        [_product(_CROSS, v[:3], f[:3]) + _product(_CROSS, v[3:], f[3:]), linear]
    )


def _product(weights: np.ndarray, u: jax.Array, v: jax.Array) -> jax.Array:
    return jnp.sum(weights * (u[:, None] * v), axis=(1, 2))

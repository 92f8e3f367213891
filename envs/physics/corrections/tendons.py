"""Tendons that run inside a sphere or a cylinder, as the C engine has them.

Such a tendon touches the circle, in the plane of its two ends and the middle, at one point, where
it leaves as it came. The angle x between it and the radius there solves asin(A sin x) +
asin(B sin x) - 2 x + G = 0, where G is the angle between the ends seen from the middle, and A and B
are the radius over the distances of the ends.

The C engine finds x with Newton's method from a right angle, up to 1e-6. MJX looks for the sine of
x, from just below 1, stops at 1e-4, and takes as found what was not, so that accelerations of the
MyoHand differ by 2e-4. In float32 a cosine of G has too few digits: it comes from its tangent here.
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import mujoco
from mujoco.mjx._src import support
from mujoco.mjx._src.math import normalize

# Of the C engine.
_MOST_STEPS = 20
_TOLERANCE = 1e-6
_SMALLEST = mujoco.mjMINVAL

_Carry = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]


@contextlib.contextmanager
def tendons_of_c() -> Iterator[None]:
    """Inside, MJX traces tendons inside geoms as the C engine has them."""
    with mock.patch.object(support, "wrap_inside", _wrap_inside):
        yield


def _wrap_inside(ends: jax.Array, radius: jax.Array, *settings: Any) -> tuple[jax.Array, jax.Array]:
    """What MJX's function of this name returns: 0 where the tendon touches and -1 where it does
    not, `(1,)`, and twice the point, `(4,)`; `ends` `(4,)` are two points, too.
    """
    del settings  # of Newton's method in MJX
    first, second = ends[:2], ends[2:]
    way = second - first
    lengths = jnp.array([jnp.linalg.norm(first), jnp.linalg.norm(second)])
    share = -jnp.dot(way, first) / jnp.maximum(_SMALLEST, jnp.dot(way, way))
    crosses = (share > 0) & (share < 1) & (jnp.linalg.norm(first + share * way) <= radius)
    cross, dot = first[0] * second[1] - first[1] * second[0], jnp.dot(first, second)
    between = jnp.arctan2(jnp.abs(cross), dot)
    misses = crosses | (lengths <= radius).any() | (radius < _SMALLEST) | (between >= jnp.pi)

    angles, others, is_found = _solve(radius / jnp.maximum(_SMALLEST, lengths), between)
    is_left = cross > 0
    begin, turn = (
        jnp.where(is_left, first, second),
        angles - jnp.where(is_left, others[0], others[1]),
    )
    cosine, sine, begin = jnp.cos(turn), jnp.sin(turn), normalize(begin)
    turned = jnp.array([cosine * begin[0] - sine * begin[1], sine * begin[0] + cosine * begin[1]])
    point = radius * jnp.where(is_found, turned, normalize(first + second))
    point = jnp.where(misses, 0.0, point)
    return -misses.astype(ends.dtype)[None], jnp.concatenate([point, point])


def _solve(ratios: jax.Array, between: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """x, asin(A sin x) and asin(B sin x), and whether x was found; `ratios` are A and B."""

    def evaluate(angle: jax.Array) -> tuple[jax.Array, jax.Array]:
        others = jnp.arcsin(ratios * jnp.sin(angle))
        return others, others.sum() - 2 * angle + between

    def goes_on(carry: _Carry) -> jax.Array:
        _, _, error, steps, fails = carry
        return (jnp.abs(error) > _TOLERANCE) & (steps < _MOST_STEPS) & ~fails

    def step(carry: _Carry) -> _Carry:
        angle, others, error, steps, _ = carry
        slope = (ratios * jnp.cos(angle) / jnp.maximum(_SMALLEST, jnp.cos(others))).sum() - 2
        following = angle - error / slope
        others, error = evaluate(following)
        fails = (slope > -_SMALLEST) | (following > angle) | (error > _TOLERANCE)
        return following, others, error, steps + 1, fails

    right = jnp.asarray(jnp.pi / 2, between.dtype)
    others, error = evaluate(right)
    begin = (right, others, error, jnp.int32(0), error > 0)
    angle, others, _, steps, fails = jax.lax.while_loop(goes_on, step, begin)
    return angle, others, ~fails & (steps < _MOST_STEPS)

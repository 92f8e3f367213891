"""Contacts of capsules with planes, as the C engine has them; for MuJoCo Warp.

As MJX (see `contacts`), Warp points the first tangent of a contact along the capsule only where it
is less than 60 degrees from lying flat, so that steeper ones have another pyramid of friction.
"""

# mypy: ignore-errors
# What Warp compiles has types of its own.

import warp as wp
from mujoco.mjx.third_party.mujoco_warp._src import collision_primitive
from mujoco.mjx.third_party.mujoco_warp._src.collision_primitive_core import mat23f, plane_sphere


@wp.func
def _plane_capsule(
    normal: wp.vec3,
    plane: wp.vec3,
    center: wp.vec3,
    axis: wp.vec3,
    radius: float,
    half_length: float,
) -> tuple[wp.vec2, mat23f, wp.mat33]:
    """Distances and positions of the contacts at both ends, and their frame."""
    along = axis - normal * wp.dot(normal, axis)
    length = wp.length(along)
    tangent = wp.vec3(1.0, 0.0, 0.0)
    if length > 1.0e-15:
        tangent = along / length
    other = wp.cross(normal, tangent)
    upper_distance, upper = plane_sphere(normal, plane, center + axis * half_length, radius)
    lower_distance, lower = plane_sphere(normal, plane, center - axis * half_length, radius)
    return (
        wp.vec2(upper_distance, lower_distance),
        mat23f(upper[0], upper[1], upper[2], lower[0], lower[1], lower[2]),
        wp.mat33(
            normal[0], normal[1], normal[2],
            tangent[0], tangent[1], tangent[2],
            other[0], other[1], other[2],
        ),
    )  # fmt: skip


def apply() -> None:
    """Puts them in place, once and for all: kernels are built when they are first run."""
    collision_primitive.plane_capsule = _plane_capsule

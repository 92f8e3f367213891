"""Contact frames of capsules on planes, as the C engine has them.

Friction is a pyramid along the two tangents of a contact frame, so the forces depend on where
these point. The C engine points the first along the capsule. MJX does so only for capsules that
are less than 60 degrees from lying flat, and takes a fixed direction for steeper ones: in three
dimensions accelerations then differ by a tenth.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from mujoco import mjx
from mujoco.mjx._src import collision_driver

_TYPES = (mjx.GeomType.PLANE, mjx.GeomType.CAPSULE)
_CONTACTS = 2  # one at each end of the capsule
_plane_capsule_of_mjx = collision_driver._COLLISION_FUNC[_TYPES]


@contextlib.contextmanager
def frames_of_c() -> Iterator[None]:
    """Inside, MJX traces collisions of capsules and planes with the C engine's frames."""
    functions = collision_driver._COLLISION_FUNC
    before = functions[_TYPES]
    functions[_TYPES] = _plane_capsule
    try:
        yield
    finally:
        functions[_TYPES] = before


def _plane_capsule(model: Any, data: Any, key: Any, geoms: jax.Array) -> tuple[jax.Array, ...]:
    distance, position, _ = _plane_capsule_of_mjx(model, data, key, geoms)
    planes, capsules = geoms.T
    frames = jax.vmap(_frame)(data.geom_xmat[planes, :, 2], data.geom_xmat[capsules, :, 2])
    return distance, position, jnp.repeat(frames, _CONTACTS, axis=0)


_plane_capsule.ncon = _CONTACTS  # type: ignore[attr-defined]  # MJX reads it


def _frame(normal: jax.Array, axis: jax.Array) -> jax.Array:
    """Rows: the normal, the direction of the capsule in the plane, and what completes them."""
    along = axis - normal * jnp.dot(normal, axis)
    length = jnp.linalg.norm(along)
    upright = length < 1e-15
    along = jnp.where(upright, jnp.array([1.0, 0.0, 0.0]), along / jnp.where(upright, 1, length))
    return jnp.stack([normal, along, jnp.cross(normal, along)])

"""Contacts of capsules and boxes with planes, as the C engine has them.

Of a box, the C engine has all corners below a plane, four at most. MJX has only those less than a
millimetre above the deepest one, so that a box that lies a little aslant rests on one corner.

Friction is a pyramid along the two tangents of a contact frame, so the forces depend on where these
point. The C engine points the first along a capsule. MJX does so only for capsules that are less
than 60 degrees from lying flat, and takes a fixed direction for steeper ones: in three dimensions
accelerations then differ by a tenth.
"""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from mujoco import mjx
from mujoco.mjx._src import collision_driver
from mujoco.mjx._src.math import make_frame

_CAPSULE = (mjx.GeomType.PLANE, mjx.GeomType.CAPSULE)
_BOX = (mjx.GeomType.PLANE, mjx.GeomType.BOX)
_ENDS = 2  # of a capsule
_LOWER_CORNERS = 4  # of a box
_CORNERS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)), np.float32)
_plane_capsule_of_mjx = collision_driver._COLLISION_FUNC[_CAPSULE]


@contextlib.contextmanager
def contacts_of_c() -> Iterator[None]:
    """Inside, MJX traces contacts with planes as the C engine has them."""
    functions = collision_driver._COLLISION_FUNC
    before = dict(functions)
    functions |= {_CAPSULE: _plane_capsule, _BOX: _plane_box}
    try:
        yield
    finally:
        functions |= before


def _plane_capsule(model: Any, data: Any, key: Any, geoms: jax.Array) -> tuple[jax.Array, ...]:
    distance, position, _ = _plane_capsule_of_mjx(model, data, key, geoms)
    planes, capsules = geoms.T
    frames = jax.vmap(_frame)(data.geom_xmat[planes, :, 2], data.geom_xmat[capsules, :, 2])
    return distance, position, jnp.repeat(frames, _ENDS, axis=0)


_plane_capsule.ncon = _ENDS  # type: ignore[attr-defined]  # MJX reads it


def _plane_box(model: Any, data: Any, key: Any, geoms: jax.Array) -> tuple[jax.Array, ...]:
    planes, boxes = geoms.T
    normals = data.geom_xmat[planes, :, 2]
    heights = jnp.sum((data.geom_xpos[boxes] - data.geom_xpos[planes]) * normals, axis=-1)
    corners = jax.vmap(_lower_corners)(model.geom_size[boxes], data.geom_xmat[boxes], normals)
    # Halfway between the corner and the plane.
    distances = heights[:, None] + jnp.einsum("pcx,px->pc", corners, normals)
    positions = data.geom_xpos[boxes][:, None] + corners
    positions -= distances[..., None] / 2 * normals[:, None]
    frames = jnp.repeat(jax.vmap(make_frame)(normals), _LOWER_CORNERS, axis=0)
    return distances.ravel(), positions.reshape(-1, 3), frames


_plane_box.ncon = _LOWER_CORNERS  # type: ignore[attr-defined]


def _lower_corners(size: jax.Array, rotation: jax.Array, normal: jax.Array) -> jax.Array:
    """From the middle of a box to its corners on the side of the plane, `(4, 3)`."""
    corners = (_CORNERS * size) @ rotation.T
    return corners[jax.lax.top_k(-corners @ normal, _LOWER_CORNERS)[1]]


def _frame(normal: jax.Array, axis: jax.Array) -> jax.Array:
    """Rows: the normal, the direction of the capsule in the plane, and what completes them."""
    along = axis - normal * jnp.dot(normal, axis)
    length = jnp.linalg.norm(along)
    upright = length < 1e-15
    along = jnp.where(upright, jnp.array([1.0, 0.0, 0.0]), along / jnp.where(upright, 1, length))
    return jnp.stack([normal, along, jnp.cross(normal, along)])

"""Fields of the model that differ between simulations, and what has to follow from them.

MuJoCo's compiler derives numbers and short cuts from the fields of a model, and engines use them in
the place of the fields. A simulation with a mass of its own must not fall with the inertia of
another.
"""

import copy
from collections.abc import Collection, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

# Field of the model -> what it is in one simulation, where simulations differ in it.
Varied = Mapping[str, jax.Array]
NOTHING_VARIED: Varied = MappingProxyType({})

_POSES = frozenset({"body_ipos", "body_iquat", "geom_pos", "geom_quat", "site_pos", "site_quat"})
# On which the boxes around several geoms of a body depend.
BOUNDS = frozenset({"geom_size", "geom_pos", "geom_quat"})
# What makes the inertia of a body diagonal for the compiler, or adds to it.
_DIAGONAL = frozenset({"body_ipos", "body_iquat", "jnt_pos", "jnt_axis", "actuator_armature"})
_INERTIAS = frozenset({"body_mass", "body_inertia", "dof_armature"})
# Engines leave out what has none in the model; in MJX none would then be a bond that always holds.
LOSSES = frozenset({"dof_frictionloss", "tendon_frictionloss"})
SMALLEST_LOSS = 1e-12


def without_short_cuts(model: mujoco.MjModel, names: Collection[str]) -> mujoco.MjModel:
    """A copy of the model in which these fields, whatever they are, are used as they are."""
    model = copy.copy(model)
    if _POSES & set(names):
        # Frames that coincide are not computed one by one.
        for frames in (model.body_sameframe, model.geom_sameframe, model.site_sameframe):
            frames[:] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE.value
    for name in LOSSES & set(names):
        getattr(model, name)[:] = 1.0
    if _DIAGONAL & set(names):
        # With one degree of freedom there is nothing beside the diagonal.
        model.body_simple[model.body_dofnum == 1] = 0
        count = 0
        for dof in reversed(range(model.nv)):
            count = count + 1 if model.body_simple[model.dof_bodyid[dof]] else 0
            model.dof_simplenum[dof] = count
    return model


def why_fixed(model: mujoco.MjModel, name: str) -> str:
    """Why simulations of this model cannot differ in a field, whatever the engine; or nothing."""
    if name == "body_gravcomp" and not model.body_gravcomp.any():
        return "no body has gravcomp in the model: give one of them any"
    return ""


def why_fixed_in_c(model: mujoco.MjModel, name: str) -> str:
    """The same of the C engine alone."""
    if name in _DIAGONAL and model.dof_simplenum.any():
        bodies = sorted({model.body(body).name or f"number {body}" for body in _simple(model)[1]})
        return f'the inertia of {", ".join(bodies)} is diagonal: compile with <body simple="false">'
    return ""


def derived_fields(model: mujoco.MjModel, names: Collection[str]) -> tuple[str, ...]:
    """Names of what `derive` adds, of a model without short cuts."""
    derived: list[str] = []
    if "body_mass" in names:
        derived += ["body_subtreemass"]
    if _INERTIAS & set(names) and model.dof_simplenum.any():
        derived += ["dof_M0"]
    if "geom_size" in names:
        derived += ["geom_rbound", "geom_aabb"]
    return tuple(name for name in derived if name not in names)


def derive(model: mujoco.MjModel, varied: Varied) -> Varied:
    """What engines use beside the fields that vary, and what of it follows from them.

    Masses of subtrees; the constant inertia of degrees of freedom whose body alone they move, in
    the frame of its principal axes; and the bounds of spheres, capsules, ellipsoids, cylinders and
    boxes.
    """
    names = derived_fields(model, varied)
    values: dict = {}
    if "body_subtreemass" in names:
        values["body_subtreemass"] = _subtrees(model) @ varied["body_mass"]
    if "dof_M0" in names:
        values["dof_M0"] = _constant_inertia(model, varied)
    if "geom_rbound" in names or "geom_aabb" in names:
        values |= _bounds(model, varied["geom_size"])
    return {**varied, **{name: values[name] for name in names}}


def _subtrees(model: mujoco.MjModel) -> np.ndarray:
    """`(bodies, bodies)`: which ones (columns) are in the subtree of which (rows)."""
    inside = np.eye(model.nbody, dtype=np.float32)
    for body in range(model.nbody - 1, 0, -1):
        inside[model.body_parentid[body]] += inside[body]
    return inside


def _simple(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Degrees of freedom with a constant inertia, and their bodies."""
    dofs = np.flatnonzero(model.dof_simplenum)
    return dofs, model.dof_bodyid[dofs]


def _constant_inertia(model: mujoco.MjModel, varied: Varied) -> jax.Array:
    """`dof_M0`: the model's, and by how much mass, inertia and armature differ from the model's."""

    def change(name: str) -> jax.Array:
        own = jnp.asarray(getattr(model, name), jnp.float32)
        return varied[name] - own if name in varied else jnp.zeros_like(own)

    mass, inertia, armature = map(change, ("body_mass", "body_inertia", "dof_armature"))
    constant = jnp.asarray(model.dof_M0, jnp.float32)
    for dof, body in zip(*_simple(model), strict=True):
        joint = model.dof_jntid[dof]
        kind, number = model.jnt_type[joint], dof - model.jnt_dofadr[joint]
        if kind == mujoco.mjtJoint.mjJNT_HINGE:
            number = np.abs(model.jnt_axis[joint]).argmax()
        moves = kind == mujoco.mjtJoint.mjJNT_SLIDE
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            moves, number = number < 3, number - 3
        more = mass[body] if moves else inertia[body, number]
        constant = constant.at[dof].add(more + armature[dof])
    return constant


def _bounds(model: mujoco.MjModel, size: jax.Array) -> dict[str, jax.Array]:
    """`geom_rbound` and `geom_aabb` of geoms of these sizes, `(geoms, 3)`."""
    x, y, z = size.T
    # The radius of the sphere around each, and half the edges of the box.
    shapes = {
        mujoco.mjtGeom.mjGEOM_SPHERE: (x, (x, x, x)),
        mujoco.mjtGeom.mjGEOM_CAPSULE: (x + y, (x, x, x + y)),
        mujoco.mjtGeom.mjGEOM_CYLINDER: (jnp.hypot(x, y), (x, x, y)),
        mujoco.mjtGeom.mjGEOM_ELLIPSOID: (size.max(-1), (x, y, z)),
        mujoco.mjtGeom.mjGEOM_BOX: (jnp.linalg.norm(size, axis=-1), (x, y, z)),
    }
    radii = jnp.asarray(model.geom_rbound, jnp.float32)
    boxes = jnp.asarray(model.geom_aabb, jnp.float32)
    for kind, (radius, halves) in shapes.items():
        here = model.geom_type == kind
        radii = jnp.where(here, radius, radii)
        center = jnp.zeros_like(size)
        box = jnp.concatenate([center, jnp.stack(halves, axis=-1)], axis=-1)
        boxes = jnp.where(here[:, None], box, boxes)
    return {"geom_rbound": radii, "geom_aabb": boxes}

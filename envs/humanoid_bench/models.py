"""The robot as the benchmark has it, made from MuJoCo Menagerie's Unitree H1."""

from collections.abc import Sequence

import mujoco
import numpy as np

from envs.humanoid_bench import PACKAGE
from envs.native import package_file

MESH, BOX = mujoco.mjtGeom.mjGEOM_MESH, mujoco.mjtGeom.mjGEOM_BOX
CYLINDER, SPHERE = mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_SPHERE
COLLISION_GROUP = 3  # not drawn, as in Menagerie
TIMESTEP = 0.002  # s

# joints -> proportional gain (N m/rad), derivative gain (N m s/rad), largest torque (N m)
SERVOS = {
    ("hip_yaw", "hip_roll", "hip_pitch"): (200, 5, 200),
    ("knee",): (300, 6, 300),
    ("ankle",): (40, 2, 40),
    ("torso",): (300, 6, 200),
    ("shoulder_pitch", "shoulder_roll"): (100, 2, 40),
    ("shoulder_yaw", "elbow"): (100, 2, 18),
}
HIP_PITCH_RANGE = (-3.14, 2.53)  # rad

# The benchmark has an older ankle than Menagerie, with a sole 30 cm long and 3 cm wide.
ANKLE_MASS = 0.552448  # kg
ANKLE_CENTRE = (0.048568, 0, -0.045609)  # m, of its mass
ANKLE_AXES = (0.489385, 0.510394, 0.510394, 0.489385)  # quaternion of its principal axes
ANKLE_INERTIA = (0.00362, 0.00355701, 0.000149987)  # kg m^2
# Half width in m -> outline seen from the side, x and z in m. The hull of these lies within a
# millimetre of the benchmark's mesh.
FOOT_OUTLINES = {
    0.0106: ((-0.0063, 0.009), (-0.0028, 0.0106), (0, 0.011), (0.0028, 0.0106)),
    0.0123: (
        *((0.1746, -0.0455), (0.1985, -0.0591), (0.2, -0.0617), (0.2, -0.0664)),
        *((0.1986, -0.0684), (0.1944, -0.07), (-0.095, -0.07), (-0.0986, -0.0691)),
        *((-0.1, -0.0665), (-0.1, -0.0617), (-0.0989, -0.0594)),
    ),
    0.015: (
        *((-0.0734, -0.0475), (0.1719, -0.0475), (0.1746, -0.0482), (0.1973, -0.0613)),
        *((0.1975, -0.0661), (0.1944, -0.0675), (-0.0948, -0.0675), (-0.0975, -0.0665)),
        (-0.0975, -0.0616),
    ),
}

# For MJX: the corners of the sole, which are what is deepest in the floor, x and y.
SOLE_HEIGHT = -0.07
SOLE_CORNERS = tuple((x, y) for x in (0.1944, -0.095) for y in (-0.0123, 0.0123))
CORNER_RADIUS = 1e-3  # m
LINK, CORNER, FOOT = 1, 2, 4  # bits of contype and conaffinity
MJX_CONTACTS = 24  # at a time, the deepest

# site -> body and place in it, m
SITES = {
    "head": ("torso_link", (0, 0, 0.7)),
    "left_foot": ("left_ankle_link", (0, 0, -0.05)),
    "right_foot": ("right_ankle_link", (0, 0, -0.05)),
    "left_hand": ("left_elbow_link", (0.31, 0, -0.01)),
}


def load_robot(simple: bool = False) -> mujoco.MjSpec:
    """The robot on a floor; scenes add to it. The keyframe is where it starts.

    Of sites and sensors it has those that a task reads.

    Args:
      simple: it touches with shapes that MJX has collisions for, see `simplify_collisions`.

    Raises:
      ModuleNotFoundError: where the package with the model is not installed.
    """
    path = ("mujoco", "playground", "assets", "mujoco_menagerie", "unitree_h1", "scene.xml")
    spec = mujoco.MjSpec.from_file(package_file(PACKAGE, *path))
    _set_options(spec)
    _replace_ankles(spec)
    if simple:
        simplify_collisions(spec)
    else:
        _replace_collisions(spec)
    for side in ("left", "right"):
        spec.joint(f"{side}_hip_pitch").range = HIP_PITCH_RANGE
    _replace_actuators(spec)
    for name, (body, place) in SITES.items():
        spec.body(body).add_site(name=name, pos=place)
    spec.add_sensor(
        name="velocity",
        type=mujoco.mjtSensor.mjSENS_SUBTREELINVEL,
        objtype=mujoco.mjtObj.mjOBJ_BODY,
        objname="pelvis",
    )
    return spec


def add_box(
    body: mujoco.MjsBody, position: Sequence[float], size: Sequence[float], name: str = ""
) -> None:
    """Adds something solid to a body; `size` are the half lengths of its edges, m."""
    body.add_geom(name=name, type=BOX, pos=position, size=size)


def add_contact_sensor(spec: mujoco.MjSpec, name: str, kind: str, first: str, second: str) -> None:
    """Adds a sensor that counts contacts.

    Args:
      spec: what to add it to.
      name: of the sensor.
      kind: `geom` or `body`, of what is named by the next two.
      first: one of the two that touch.
      second: the other one; empty for anything.
    """
    kinds = {"geom": mujoco.mjtObj.mjOBJ_GEOM, "body": mujoco.mjtObj.mjOBJ_BODY}
    sensor = spec.add_sensor(
        name=name, type=mujoco.mjtSensor.mjSENS_CONTACT, objtype=kinds[kind], objname=first
    )
    if second:
        sensor.reftype, sensor.refname = kinds[kind], second
    found = 1 << mujoco.mjtConDataField.mjCONDATA_FOUND.value
    sensor.intprm[:3] = (found, 0, 1)  # what it reports, unordered, once


def _set_options(spec: mujoco.MjSpec) -> None:
    spec.option.timestep = TIMESTEP
    spec.option.iterations, spec.option.ls_iterations = 100, 50
    # The benchmark's MuJoCo (3.1.6) had one contact where two convex bodies touch, found by libccd.
    spec.option.disableflags |= (
        mujoco.mjtDisableBit.mjDSBL_NATIVECCD | mujoco.mjtDisableBit.mjDSBL_MULTICCD
    )


def _replace_ankles(spec: mujoco.MjSpec) -> None:
    vertices = [
        (x, y, z)
        for half_width, outline in FOOT_OUTLINES.items()
        for x, z in outline
        for y in (-half_width, half_width)
    ]
    spec.add_mesh(name="foot", uservert=np.ravel(vertices))
    for side in ("left", "right"):
        ankle = spec.body(f"{side}_ankle_link")
        ankle.mass, ankle.ipos = ANKLE_MASS, ANKLE_CENTRE
        ankle.iquat, ankle.inertia = ANKLE_AXES, ANKLE_INERTIA
        for geom in ankle.geoms:
            if geom.type == MESH:
                geom.meshname = "foot"


def _replace_collisions(spec: mujoco.MjSpec) -> None:
    """Lets every link touch with its mesh; Menagerie has capsules, cylinders and boxes instead."""
    for exclusion in spec.excludes:
        spec.delete(exclusion)
    for body in spec.bodies[1:]:
        meshes = [geom.meshname for geom in body.geoms if geom.type == MESH]
        if body.name.endswith("hip_yaw_link"):  # a cylinder in both
            continue
        for geom in body.geoms:
            if geom.type != MESH:
                spec.delete(geom)
        # The first is the link, a second one its logo.
        body.add_geom(type=MESH, meshname=meshes[0], mass=0, group=COLLISION_GROUP)


def simplify_collisions(spec: mujoco.MjSpec) -> None:
    """Lets links touch with Menagerie's capsules, spheres and boxes, for MJX.

    The links' meshes have 390 to 1,020 vertices; MJX, which tests the faces and edges of two hulls
    against each other, is made for hulls of a few dozen. A robot that falls meets the floor with
    limbs that are up to centimetres thinner. Menagerie's shoulders do not touch its torso.

    - Discs become balls: MJX has no collisions between cylinders and boxes or meshes.
    - Feet touch the floor with the corners of their soles, everything else with their hull. Of the
      points of a hull below a plane MJX chooses others than MuJoCo does.
    - No more than `MJX_CONTACTS` contacts are kept.
    """
    floor = spec.geom("floor")
    floor.contype, floor.conaffinity = 0, LINK | CORNER
    for body in spec.bodies[1:]:
        meshes = [geom.meshname for geom in body.geoms if geom.type == MESH]
        foot = body.name.endswith("ankle_link")
        for geom in body.geoms:
            if geom.type == CYLINDER:
                geom.type = SPHERE
            elif foot and geom.type != MESH:
                spec.delete(geom)
        if foot:
            hull = body.add_geom(type=MESH, meshname=meshes[0], mass=0, group=COLLISION_GROUP)
            hull.contype, hull.conaffinity = FOOT, LINK | FOOT
            for x, y in SOLE_CORNERS:
                corner = body.add_geom(type=SPHERE, mass=0, group=COLLISION_GROUP)
                corner.pos, corner.size = (x, y, SOLE_HEIGHT + CORNER_RADIUS), (CORNER_RADIUS, 0, 0)
                corner.contype, corner.conaffinity = CORNER, 0
    spec.add_numeric(name="max_contact_points", data=[MJX_CONTACTS])


def _replace_actuators(spec: mujoco.MjSpec) -> None:
    """Turns motors into position servos; a control is an angle in the joint's range."""
    for actuator in spec.actuators:
        joint = actuator.target.removeprefix("left_").removeprefix("right_")
        (servo,) = (servo for joints, servo in SERVOS.items() if joint in joints)
        proportional, derivative, torque = servo
        actuator.set_to_position(kp=proportional, kv=derivative)
        actuator.forcerange = (-torque, torque)
        actuator.ctrlrange = spec.joint(actuator.target).range

"""What is asked of a task's model."""

import jax
import jax.numpy as jnp
import mujoco
import pytest

from envs import TaskError
from envs.physics.mjx import MjxPhysics
from envs.physics.warp import WarpPhysics
from envs.task import Task, TaskEnvironment

MODEL = """
<mujoco>
  <worldbody> <body> <joint name="x" type="slide"/> <geom size="1"/> </body> </worldbody>
  <actuator> <motor name="pull" joint="x"/> </actuator>
</mujoco>
"""


def task(**attributes) -> Task:
    own = Task()
    own.model, own.fields = mujoco.MjModel.from_xml_string(MODEL), ("qpos",)
    vars(own).update(attributes)
    return own


def test_actuators_without_a_range_are_refused():
    """Its motor may pull as much as it likes."""
    with pytest.raises(TaskError, match="actuator pull has no range"):
        TaskEnvironment(task(), "mujoco")


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        (
            {"fields": ("subtree_linvel",)},
            "subtree_linvel is not computed by itself: read a sensor",
        ),
        ({"fields": ("energy",)}, "energy is not computed by itself: read sensors, e_ki"),
        ({"changes": ("subtree_angmom",)}, "subtree_angmom is not computed"),
        ({"fields": ("cfrc_ext",)}, 'cfrc_ext is not what .*: give the task reading="gymnasium"'),
        ({"fields": ("ncon",)}, "'ncon' is no array of constant size in mujoco.MjData: drop it"),
        ({"fields": ("efc_force",)}, "'efc_force' is no array of constant size"),
        ({"fields": ("speed",)}, "'speed' is no array of constant size"),
    ],
)
def test_fields_without_a_value_are_refused(attributes, said):
    with pytest.raises(TaskError, match=said):
        TaskEnvironment(task(**attributes), "mujoco")


@pytest.mark.parametrize(
    ("solver", "field", "said"),
    [
        ("PGS", "qvel", r"physics mjx cannot do this \(mjtSolver.mjSOL_PGS\): take mujoco"),
        ("Newton", "flexvert_xpos", "it has no flexvert_xpos"),
        ("Newton", "qH", "it has no qH"),
    ],
)
def test_what_mjx_does_not_know_is_refused_before_anything_is_traced(solver, field, said):
    model = MODEL.replace("<motor", '<motor ctrlrange="-1 1" ctrllimited="true"').replace(
        "<mujoco>", f'<mujoco><option solver="{solver}"/>'
    )
    own = task(
        model=mujoco.MjModel.from_xml_string(model),
        fields=("qpos", field),
        initialize=lambda key: (jnp.zeros(1), jnp.zeros(1), ()),
        observe=lambda data, variables: data.qpos,
    )
    TaskEnvironment(own, "mujoco")
    with pytest.raises(TaskError, match=said):
        TaskEnvironment(own, "mjx").reset(jax.random.key(0))


@pytest.mark.parametrize(
    ("tag", "attribute", "name", "in_warp_too"),
    [
        ("motor", 'armature="0.1"', "actuator_armature", True),
        ("motor", 'damping="0.1"', "actuator_damping", False),
        ("motor", 'delay="0.1" nsample="4"', "nhistory", True),
        ("motor", 'group="2"', "opt.disableactuator", True),
        ("joint", 'damping="0 1"', "dof_dampingpoly", False),
        ("joint", 'stiffness="0 1"', "jnt_stiffnesspoly", False),
        ("geom", 'adhesion="1"', "flg_adhesion", False),
        ("geom", 'surfacevel="1 0 0 0 0 0"', "flg_surfacevel", False),
        ("geom", 'fluidshape="ellipsoid"', "geom_fluid", False),
        ("option", 'noslip_iterations="4"', "opt.noslip_iterations", False),
    ],
)
def test_what_an_engine_would_leave_out_is_refused(tag, attribute, name, in_warp_too):
    plain = MODEL.replace(
        "<worldbody>", '<option density="1" actuatorgroupdisable="2"/><worldbody>'
    )
    for changed in (False, True):
        text = plain.replace(f"<{tag} ", f"<{tag} {attribute} ") if changed else plain
        model = mujoco.MjModel.from_xml_string(text)
        reason = f"it does nothing with {name}" if changed else ""
        assert MjxPhysics(model, ("qpos",), 1).why_unsupported() == reason
        in_warp = WarpPhysics(model, ("qpos",), 1, room=(8, 8))._left_out()
        assert in_warp == (reason if in_warp_too else "")

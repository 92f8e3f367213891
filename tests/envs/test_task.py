"""What is asked of a task's model."""

import jax
import jax.numpy as jnp
import mujoco
import pytest

from envs import TaskError
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

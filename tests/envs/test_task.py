"""What is asked of a task's model."""

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

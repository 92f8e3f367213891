"""What is asked of a task's model."""

import mujoco
import pytest

from envs import TaskError
from envs.task import Task, TaskEnvironment


def test_actuators_without_a_range_are_refused():
    class Loose(Task):
        """Its motor may pull as much as it likes."""

        fields = ("qpos",)

        def __init__(self):
            self.model = mujoco.MjModel.from_xml_string(
                """<mujoco><worldbody><body><joint name="x" type="slide"/><geom size="1"/></body>
                </worldbody><actuator><motor name="pull" joint="x"/></actuator></mujoco>"""
            )

    with pytest.raises(TaskError, match="actuator pull has no range"):
        TaskEnvironment(Loose(), "mujoco")

"""Short parity checks; `python -m tests.parity all` runs long ones."""

import pytest

import envs
from tests.parity import compare

DMC = tuple(task for task in envs.tasks() if task.startswith("dmc/"))
ONE_PER_DOMAIN = tuple({task.split("-")[0]: task for task in DMC}.values())


@pytest.mark.parametrize("task_id", DMC)
def test_mujoco_equals_dm_control(task_id):
    for check in compare(task_id, steps=50, seed=3, physics="mujoco"):
        assert check.passed, f"{check.name}: {check.detail}"


@pytest.mark.slow
@pytest.mark.parametrize("task_id", ONE_PER_DOMAIN)
def test_mjx_equals_dm_control(task_id):
    for check in compare(task_id, steps=100, seed=3, physics="mjx"):
        assert check.passed, f"{check.name}: {check.detail}"

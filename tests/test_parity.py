"""Short parity checks; `python -m tests.parity all` runs long ones."""

import pytest

import envs
from tests.parity import check_states, compare
from tests.parity_reference import Reference

DMC = tuple(task for task in envs.tasks() if task.startswith("dmc/"))
ONE_PER_DOMAIN = tuple({task.split("-")[0]: task for task in DMC}.values())
OTHERS = tuple(task for task in DMC if task not in ONE_PER_DOMAIN)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr("tests.parity.RESETS", 60)
    monkeypatch.setattr("tests.parity.STATES", 100)


@pytest.mark.parametrize("task_id", ONE_PER_DOMAIN)
def test_mujoco_equals_dm_control(task_id):
    for check in compare(task_id, steps=50, seed=3, physics="mujoco"):
        assert check.passed, f"{check.name}: {check.detail}"


@pytest.mark.parametrize("task_id", OTHERS)
def test_other_rewards_equal_dm_control(task_id):
    environment = envs.make(task_id, "mujoco", action_repeat=1)
    check = check_states(environment, Reference(task_id, seed=3), seed=3)
    assert check.passed, f"{check.name}: {check.detail}"


@pytest.mark.slow
@pytest.mark.parametrize("task_id", ONE_PER_DOMAIN)
def test_mjx_equals_dm_control(task_id):
    for check in compare(task_id, steps=100, seed=3, physics="mjx"):
        assert check.passed, f"{check.name}: {check.detail}"

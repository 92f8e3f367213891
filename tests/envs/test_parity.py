"""Short parity checks; `python -m tests.parity all` runs long ones."""

import pytest

import envs
from purejax_simba.config import ConfigError
from tests.helpers.examples import mark_others, slow_if_in
from tests.helpers.originals import need_dm_control, need_warp
from tests.parity.command import check_compiled_model, check_shape, check_states, compare
from tests.parity.reference import Check, Reference
from tests.parity.report import Report

DMC = tuple(task for task in envs.tasks() if task.startswith("dmc/"))


def _domain(task: str) -> str:
    return task.removeprefix("dmc/").split("-")[0]


ONE_PER_DOMAIN = tuple({_domain(task): task for task in DMC}.values())
# Where all checks of a task take long, or show what those of another task have shown.
SLOW = ("ball_in_cup", "dog", "finger", "fish", "humanoid")
# MJX takes minutes for these: `python -m tests.parity` checks them.
BY_HAND = ("dog", "humanoid", "quadruped")
FAST_TASKS = tuple(task for task in ONE_PER_DOMAIN if _domain(task) not in SLOW)
OTHERS = tuple(task for task in DMC if task not in FAST_TASKS)
# The model of a dog alone takes seconds to load.
NO_DOGS = tuple(task for task in OTHERS if _domain(task) != "dog")


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr("tests.parity.command.RESETS", 60)
    monkeypatch.setattr("tests.parity.command.STATES", 100)


@pytest.mark.parametrize("task_id", mark_others(pytest.mark.slow, FAST_TASKS, ONE_PER_DOMAIN))
def test_mujoco_equals_dm_control(task_id):
    need_dm_control()
    for check in compare(task_id, steps=50, seed=3, physics="mujoco"):
        assert check.passed, f"{check.name}: {check.detail}"


@pytest.mark.parametrize("task_id", mark_others(pytest.mark.slow, NO_DOGS, OTHERS))
def test_other_tasks_equal_dm_control(task_id):
    need_dm_control()
    environment = envs.make(task_id, "mujoco", action_repeat=1)
    reference = Reference(task_id, seed=3)
    for check in (
        check_shape(task_id, environment, reference),
        check_compiled_model(environment, reference),
        check_states(environment, reference, seed=3),
    ):
        assert check.passed, f"{check.name}: {check.detail}"


@pytest.mark.parametrize(
    "task_id",
    slow_if_in(
        ("dmc/cartpole-swingup_sparse", "dmc/reacher-hard"),
        [task for task in ONE_PER_DOMAIN if _domain(task) not in BY_HAND],
    ),
)
def test_mjx_equals_dm_control(task_id):
    need_dm_control()
    for check in compare(task_id, steps=100, seed=3, physics="mjx"):
        assert check.passed, f"{check.name}: {check.detail}"


@pytest.mark.slow
@pytest.mark.parametrize("task_id", ["dmc/humanoid-stand", "mujoco/Humanoid-v4"])
def test_warp_equals_the_c_engine(task_id):
    """Sensors of all stages, steep capsules; another solver, forces after the last substep."""
    need_warp()
    for check in compare(task_id, steps=20, seed=3, physics="warp"):
        assert check.passed, f"{check.name}: {check.detail}"


def test_the_report_keeps_what_others_entered(tmp_path):
    path = tmp_path / "parity.md"
    Report(path, 200, 3).add("dmc/b-c", [Check("model", True, "", "")])
    Report(path, 200, 3).add("dmc/a-b", [Check("roll-out, mujoco", False, "", "1e-03")])
    Report(path, 200, 3).add("dmc/b-c", [Check("roll-out, mujoco", True, "", "2e-07")])
    rows = [line for line in path.read_text().splitlines() if line.startswith("| `")]
    assert [row.split("|")[1].strip() for row in rows] == ["`dmc/a-b`", "`dmc/b-c`"]
    assert "**FAIL** 1e-03" in rows[0]
    assert " ok " in rows[1] and " 2e-07 " in rows[1]
    with pytest.raises(ConfigError, match="would be lost"):
        Report(path, 100, 3)

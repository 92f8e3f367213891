"""The native tasks against MyoSuite itself; `python -m tests.parity myosuite/...` plays longer."""

import pytest

import envs
from tests.parity import myosuite

pytestmark = pytest.mark.slow

NATIVE = [task for task in envs.tasks("myosuite") if envs.spec(task).physics]


def test_all_are_native_but_those_that_draw_what_an_engine_holds_fixed():
    assert set(envs.tasks("myosuite")) - set(NATIVE) == {
        "myosuite/myo-key-turn-hard",
        "myosuite/myo-obj-hold-hard",
    }


@pytest.mark.parametrize("task_id", NATIVE)
def test_equals_myosuite(task_id, monkeypatch):
    pytest.importorskip("myosuite")
    monkeypatch.setattr(myosuite, "SEEDS", 3)
    monkeypatch.setattr(myosuite, "RESETS", 60)
    for check in myosuite.compare_myosuite(task_id, steps=40, seed=3):
        assert check.passed, f"{check.name}: {check.detail}"

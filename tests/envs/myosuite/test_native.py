"""The native tasks against MyoSuite itself; `python -m tests.parity myosuite/...` plays longer."""

import pytest

import envs
from tests.parity import myosuite
from tests.parity.command import compare

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("task_id", envs.tasks("myosuite"))
def test_equals_myosuite(task_id, monkeypatch):
    pytest.importorskip("myosuite")
    monkeypatch.setattr(myosuite, "SEEDS", 3)
    monkeypatch.setattr(myosuite, "RESETS", 60)
    for check in myosuite.compare_myosuite(task_id, steps=40, seed=3):
        assert check.passed, f"{check.name}: {check.detail}"


def test_mjx_equals_the_c_engine():
    pytest.importorskip("myosuite")
    for check in compare("myosuite/myo-reach", steps=40, seed=3, physics="mjx"):
        assert check.passed, f"{check.name}: {check.detail}"

"""The agents and normalisers against recorded numbers of the published implementation."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.golden import __main__ as golden
from tests.helpers.examples import mark_others

DATA = Path(__file__).parent / "recorded"
TRACES = sorted(DATA.glob("*.npz"))
UPDATES = DATA / "simba_v2_single.npz"
NORMALISERS = DATA / "normalizers.npz"
FLASH_SAC = [DATA / f"flashsac_{kind}.npz" for kind in ("exploration", "normalizers")]


def test_there_is_a_trace_of_every_kind():
    names = {path.stem for path in TRACES}
    assert names >= {"normalizers", "simba_v1_cdq", "simba_v2_bc", "simba_v2_cdq"}
    kinds = ("default", "asymmetric", "schedule_bins", "nstep_bc", "exploration", "normalizers")
    assert names >= {f"flashsac_{kind}" for kind in kinds}
    assert UPDATES in TRACES


@pytest.mark.optimised
@pytest.mark.parametrize(
    "path",
    mark_others(pytest.mark.slow, [NORMALISERS, UPDATES, *FLASH_SAC], TRACES),
    ids=lambda path: path.stem,
)
def test_recorded_numbers_are_reproduced(path):
    checks = golden.replay(path)
    assert len(checks) > 5
    beyond = [check for check in checks if not check[1] <= check[2]]
    assert not beyond


def _perturbed(source: Path, target: Path, name: str) -> Path:
    """A copy of a trace with one array scaled by 1.001."""
    with np.load(source) as file:
        trace = dict(file)
    trace[name] = trace[name] * 1.001
    np.savez(target, **trace)
    return target


@pytest.mark.slow
def test_a_wrong_kernel_is_noticed(tmp_path):
    path = _perturbed(
        UPDATES, tmp_path / "kernel.npz", "after1/actor/embedder/w/hyper_dense/kernel"
    )
    beyond = [what for what, error, tolerance in golden.replay(path) if not error <= tolerance]
    assert beyond == ["update 1 actor"]


def test_the_command_line_fails_on_a_wrong_trace(tmp_path, monkeypatch, capsys):
    wrong = _perturbed(NORMALISERS, tmp_path / "normalizers.npz", "return_var")
    monkeypatch.setattr(sys, "argv", ["golden", str(wrong)])
    assert golden.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "BEYOND" in line] == ["return_var"]


def test_the_command_line_succeeds_on_a_right_trace(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["golden", str(NORMALISERS)])
    assert golden.main() == 0
    assert "BEYOND" not in capsys.readouterr().out


def test_a_file_that_is_no_trace_is_refused_by_name(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, something=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz: neither an update trace nor a normaliser"):
        golden.replay(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.npz"):
        golden.replay(tmp_path / "absent.npz")

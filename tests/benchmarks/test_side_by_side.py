"""The comparison with the published code, without that code."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import published, published_training, side_by_side
from purejax_simba.config import ConfigError

TASK = "dmc/cheetah-run"


def _write(file: Path, returns: np.ndarray) -> None:
    file.parent.mkdir(parents=True)
    with file.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(published_training.COLUMNS)
        for step, row in enumerate(returns):
            for seed, value in enumerate(row):
                rows.writerow(("x", "cheetah-run", seed, "avg_return", 5000 * step, value))


def test_the_comparison_says_who_is_above_whom(tmp_path, monkeypatch, capsys):
    ours = np.array([[0.0, 0.0, 0.0], [1.0, 5.0, 3.0]])
    theirs = np.array([[0.0, 0.0], [2.0, 3.0]])
    _write(tmp_path / "ours" / TASK / "metrics.csv", ours)
    # The published code evaluates later at first; such steps are left out.
    _write(tmp_path / "published" / TASK / "metrics.csv", np.vstack([theirs, [[9.0, 9.0]]]))
    monkeypatch.setattr(sys, "argv", ["side_by_side", str(tmp_path)])
    assert side_by_side.main() == 0
    (line,) = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert (result["task"], result["env_step"]) == (TASK, 5000)
    # Of six pairs (1, 5, 3) against (2, 3), three are above and one is even.
    assert result["last"]["probability_that_ours_is_above"] == pytest.approx(3.5 / 6)
    low, high = result["last"]["interval"]
    assert 0.0 <= low < 3.5 / 6 < high <= 1.0
    # On another task every seed is above, which counts as much.
    _write(tmp_path / "ours" / "other" / "metrics.csv", ours + 10.0)
    _write(tmp_path / "published" / "other" / "metrics.csv", theirs)
    assert side_by_side.main() == 0
    whole = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert whole["task"] == "all" and len(whole["last"]["ours"]) == 6
    assert whole["last"]["probability_that_ours_is_above"] == pytest.approx((3.5 / 6 + 1) / 2)
    assert (tmp_path / side_by_side.FIGURE).stat().st_size > 10_000


def test_nothing_to_compare_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["side_by_side", str(tmp_path)])
    assert side_by_side.main() == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_published_code_is_asked_for_the_same_run(tmp_path):
    arguments = published.Arguments(tmp_path, Path("python"))
    words = published.command(arguments, 3, tmp_path / "metrics.csv")
    # 5,000 environment steps are 2,500 interactions, because an action is repeated once.
    assert {"seed=3", "env=dmc", "evaluation_per_interaction_step=2500"} <= set(words)
    elsewhere = published.Arguments(tmp_path, Path("python"), task="gymnax/Pendulum-v1")
    with pytest.raises(ConfigError, match="is of none of these suites: dmc, mujoco"):
        published.command(elsewhere, 0, tmp_path / "metrics.csv")

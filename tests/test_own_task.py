"""The example of the README is complete, short, and learns."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def example() -> str:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (code,) = (block for block in blocks if "envs.register" in block)
    return code


def test_the_example_has_fewer_than_60_lines():
    assert len(example().splitlines()) < 60


@pytest.mark.slow
def test_the_example_trains(tmp_path):
    (tmp_path / "ball.py").write_text(example())
    result = subprocess.run(
        [sys.executable, "ball.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    (metrics,) = tmp_path.rglob("metrics.csv")
    with metrics.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "avg_return"]
    for seed in ("0", "1"):
        returns = [float(row["value"]) for row in rows if row["seed"] == seed]
        assert returns[-1] > returns[0] + 20, "of 100 that are possible"

"""What is made of the measurements of an accelerator, and all of them at small sizes."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.accelerator import Sizes, cost_model, lines
from benchmarks.train import Arguments, make_config
from envs.physics import cost
from purejax_simba.training import make_program


def test_the_cost_model_is_read_off_the_measurements():
    """A call of 1 ms, 10 us a world; MJX 5 ms, whatever the number: faster from 400 worlds."""
    seconds = {("mujoco", n): 1e-3 + n * 1e-5 for n in (1, 10, 128, 2048)}
    seconds |= {("mjx", n): 5e-3 for n in (1, 10, 128, 2048)}
    found = cost_model(seconds)
    assert found["HOST_CALL"] == pytest.approx(1e-3)
    assert found["HOST_WORLD"] == pytest.approx(1e-5)
    assert found["LAUNCH"] * cost.LAUNCHES["mjx"] == pytest.approx(5e-3)
    assert found["mjx_from_worlds"] == pytest.approx(400)
    assert found["mjx_faster_at_worlds"] == 2048
    assert cost_model({("mujoco", 1): 1.0}) == {}


def test_engines_step_up_to_8192_worlds():
    measured = [about for about, _ in lines(Sizes())]
    steps = [about for about in measured if about["measured"] == "step"]
    assert {about["worlds"] for about in steps} == {1, 10, 128, 2048, 8192}
    assert {about["engine"] for about in steps} == {"mujoco", "mjx"}  # warp needs a GPU
    assert measured[-1]["worlds"] == 8192


@pytest.mark.exhaustive
def test_everything_is_measured_at_small_sizes():
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.accelerator", "--small", "--minutes", "20"],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"},
    )
    printed = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert not [line for line in printed if "failed" in line or "left_out" in line]
    measured = {line["measured"] for line in printed}
    assert measured == {
        "golden",
        "parity",
        "neighbours",
        "update",
        "step",
        "training",
        "cost_model",
    }
    assert printed[-1]["HOST_WORLD"] > 0


def test_many_environments_do_not_make_more_updates():
    """Or an interaction of thousands of them would take as many updates."""
    for environments in (1, 128):
        config = make_config(Arguments(task="dmc/pendulum-swingup", environments=environments))
        assert make_program(config).config.updates_per_interaction == 2

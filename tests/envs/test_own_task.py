"""The example of `docs/tasks.md` is complete, short, and learns."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.pages import ROOT, blocks, file_block


def example() -> str:
    return file_block("ball.py")


def test_the_example_has_at_most_60_lines():
    assert len(example().splitlines()) <= 60


@pytest.mark.slow
@pytest.mark.optimised
def test_the_example_trains(tmp_path):
    (tmp_path / "ball.py").write_text(example())
    command(tmp_path, "ball.py")
    run = str(check_learning(tmp_path))
    render = f"-m envs render ball:mine/ball --policy {run} --output strip.png --steps 2"
    command(tmp_path, *render.split())


@pytest.mark.slow
@pytest.mark.optimised
def test_the_commands_take_it_with_its_module(tmp_path):
    """That its policy is played again, too."""
    (tmp_path / "ball.py").write_text(example())
    options = "--num-seeds 2 --total-env-steps 4000 --evaluation-interval 2000 "
    options += "--learning-starts 500 --agent.learning-rate 1e-3 "
    options += "--agent.actor-hidden-dim 32 --agent.critic-hidden-dim 32"
    train = str(ROOT / "train.py")
    command(tmp_path, train, "--task", "ball:mine/ball", "--output", "runs", *options.split())
    run = check_learning(tmp_path)
    own = ("--task", "ball:mine/ball")
    assert command(tmp_path, train, "--evaluate", str(run), *own).count("return") == 2


@pytest.mark.parametrize("physics", ["mujoco", pytest.param("mjx", marks=pytest.mark.slow)])
def test_every_episode_of_the_example_that_varies_has_a_mass_of_its_own(physics):
    page = blocks(ROOT / "docs" / "tasks.md")
    (vary,) = [block.text for block in page if "def vary" in block.text]
    place = "    def observe"
    code, _ = example().replace(place, f"{vary}\n{place}").split("envs.register(")
    module: dict = {}
    exec(code, module)
    environment = module["build"](physics)
    state, _ = jax.vmap(environment.reset)(jax.random.split(jax.random.key(0), 8))
    _, transition = jax.jit(jax.vmap(environment.step))(state, jnp.ones((8, 2)))
    speed = np.asarray(transition.observation)[:, 2]
    # Two steps of 0.02 s from rest by a force of 2 against a damping of 0.5, which is implicit.
    masses = np.linspace(0.5, 2.0, 100_001)
    first = 0.02 * 2.0 / (masses + 0.02 * 0.5)
    second = first + 0.02 * (2.0 - 0.5 * first) / (masses + 0.02 * 0.5)
    found = np.interp(-speed, -second, masses)
    np.testing.assert_allclose(np.interp(found, masses, second), speed, rtol=1e-5)
    assert np.diff(np.sort(found)).min() > 1e-3, "one mass each"
    assert np.ptp(found) > 0.5


def command(directory: Path, *words: str) -> str:
    """Runs Python with the task's module in a directory; returns what it prints."""
    result = subprocess.run(
        [sys.executable, *words],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{directory}"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def check_learning(directory: Path) -> Path:
    """Checks the returns of the one run below a directory, and finds it."""
    (metrics,) = directory.rglob("metrics.csv")
    with metrics.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "avg_return"]
    for seed in ("0", "1"):
        returns = [float(row["value"]) for row in rows if row["seed"] == seed]
        assert returns[-1] > returns[0] + 20, "of 100 that are possible"
    return metrics.parent

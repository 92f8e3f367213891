"""Networks and runs that are as small as they can be."""

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from purejax_simba.agents.simba_v2 import SimbaV2
from purejax_simba.config import Config, ReplayConfig
from purejax_simba.runs import experiment

ROOT = Path(__file__).parent.parent.parent
AGENT = SimbaV2(actor_hidden_dim=8, critic_hidden_dim=8, critic_num_blocks=1, num_bins=11)


def run_module(name: str, *words: str, timeout: float | None = None) -> None:
    """Runs a module of tests as a program, in a process of its own; it has to succeed.

    `timeout` is in seconds.
    """
    result = subprocess.run(
        [sys.executable, "-m", name, *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=timeout,
    )
    assert result.returncode == 0, result.stderr[-2000:]


def choosing_how_to_draw() -> dict[str, str]:
    """Environment variables for a process that chooses MuJoCo's way of drawing itself."""
    return {name: value for name, value in os.environ.items() if name != "MUJOCO_GL"}


def train(task: str, output: Path, **options: Any) -> list[dict[str, str]]:
    """Trains two seeds for a few hundred steps; returns the rows of their results."""
    config = Config(
        task=task,
        **({"diagnostics": "none"} | options),
        num_seeds=2,
        total_env_steps=400,
        evaluation_interval=200,
        num_evaluation_episodes=2,
        episode_length=40,
        learning_starts=100,
        agent=AGENT,
        replay=ReplayConfig(batch_size=16),
        output=str(output),
    )
    with (experiment.train(config) / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))

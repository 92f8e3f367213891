"""Seeds that diverged: where their results end, and that it is said once."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np

from purejax_simba.agents.agent import UpdateMetrics
from purejax_simba.config import Config
from purejax_simba.evaluation import EvaluationMetrics
from purejax_simba.runs.jobs import Job, JobFiles, open_files
from purejax_simba.runs.result_files import read_diverged, read_returns
from purejax_simba.training import Report

TASK = "gymnax/Pendulum-v1"
CONFIG = Config(
    TASK,
    num_seeds=2,
    seed=7,
    action_repeat=2,
    num_environments=5,
    total_env_steps=400,
    evaluation_interval=100,
    num_evaluation_episodes=10,
    experiment="mine",
)


def _report(diverged_at: list[int]) -> Report:
    """Of three runs, the last two of which are of the second configuration."""
    count = len(diverged_at)
    progress: Any = SimpleNamespace(
        diverged_at=np.array(diverged_at),
        updates=np.full(count, 4),
        update_sums=UpdateMetrics(*(np.arange(count) * 8.0 for _ in UpdateMetrics._fields)),
    )
    evaluation: Any = EvaluationMetrics(*(np.arange(count) + 0.5 for _ in range(3)))
    return Report(evaluation, progress, {"rank": np.arange(count) * 10.0})


def _said(files: JobFiles, env_step: int, diverged_at: list[int]) -> list[str]:
    report = _report(diverged_at)
    files.write(env_step, report)
    return list(files.troubles(env_step, report))


def test_results_end_where_a_seed_diverged_which_is_said_once(tmp_path):
    jobs = [
        Job(config, tmp_path / config.experiment, config)
        for config in (dataclasses.replace(CONFIG, num_seeds=1, seed=0, experiment="other"), CONFIG)
    ]
    for job in jobs:
        job.directory.mkdir()
    _, files = open_files(jobs, [None, None])
    assert _said(files, 100, [3, -1, -1]) == []
    # Interaction 13 of five environments that repeat actions twice.
    (line,) = _said(files, 200, [3, -1, 13])
    assert line == "seed 8 diverged at env step 130: its results end there"
    assert _said(files, 300, [3, -1, 13]) == []
    assert read_diverged(tmp_path / "mine") == {8: 130}
    assert read_returns(tmp_path / "mine") == {
        7: [(100, 1.5), (200, 1.5), (300, 1.5)],
        8: [(100, 2.5)],
    }
    assert read_diverged(tmp_path / "other") == {}
    rows = (tmp_path / "mine" / "metrics.csv").read_text().splitlines()
    assert "mine,Pendulum-v1,7,critic_loss,100,2.0" in rows  # 8 over 4 updates
    assert "mine,Pendulum-v1,8,rank,100,20.0" in rows

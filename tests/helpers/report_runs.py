"""Run directories as training writes them, with made-up results."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from purejax_simba.config import Config
from purejax_simba.names import replace_values
from purejax_simba.runs.result_files import MetricsFile, run_directory, write_config, write_diverged
from purejax_simba.runs.session_record import RECORD_FILE

SESSION = {
    "command": "python train.py --task dmc/cheetah-run",
    "begun": "2026-01-02T03:04:05+00:00",
    "updated": "2026-01-02T04:04:05+00:00",
    "status": "finished",
    "versions": {"python": "3.11.0", "jax": "0.10.2", "mujoco": "3.17.0", "revision": "0123abcd"},
    "machine": "a processor, 2 cores, Linux x86_64",
    "devices": "2 x cpu",
    "runs_together": 4,
    "startup_seconds": 20.0,
    "first_env_step": 0,
    "env_step": 100_000,
    "updates": 200_000,
    "seconds": 1_000.0,
    "times": [[0, 30.0], [50_000, 500.0], [100_000, 1_020.0]],
}


def write_run(
    output: Path,
    experiment: str,
    task: str,
    scores: Sequence[float] | np.ndarray,
    steps: Sequence[int] = (0, 50_000, 100_000),
    metrics: dict[str, float] | None = None,
    session: dict[str, Any] | None = SESSION,
    diverged: dict[int, int] | None = None,
    **values: Any,
) -> Path:
    """Writes a run whose seeds rise linearly from 0 to a return each; returns its directory.

    Args:
      output, experiment, task: of the run.
      scores: returns of the seeds at the last step, and a thousandth of it as success rate.
      steps: of the evaluations.
      metrics: others, and the value of each at the last step; it starts at half of it.
      session: for the record; None for no record.
      diverged: seed -> env step, from which on it has no results.
      values: of the configuration; dots are written as `__`.
    """
    config = dataclasses.replace(
        Config(),
        output=str(output),
        experiment=experiment,
        task=task,
        num_seeds=len(scores),
        total_env_steps=max(steps),
        num_environments=1,
        action_repeat=2,
        update_to_data_ratio=2.0,
    )
    config = replace_values(config, {name.replace("__", "."): v for name, v in values.items()})
    directory = run_directory(config)
    directory.mkdir(parents=True)
    write_config(directory, config)
    file = MetricsFile(directory, config)
    for step in steps:
        share = step / max(steps)
        rows = {}
        for seed, score in enumerate(scores):
            if diverged and step >= diverged.get(seed, step + 1):
                continue
            rows[seed] = {"avg_return": share * score, "avg_success": share * score / 1000}
            for name, value in (metrics or {}).items():
                rows[seed][name] = value * (0.5 + 0.5 * share) * (1 + 0.01 * seed)
        file.write(step, rows)
    if diverged:
        write_diverged(directory, diverged)
    if session is not None:
        (directory / RECORD_FILE).write_text(json.dumps([session]))
    return directory

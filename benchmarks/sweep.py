"""What it gains to train configurations as one program.

`python -m benchmarks.sweep --help` shows the options.
"""

import contextlib
import dataclasses
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import tyro

from benchmarks.common import print_json
from envs.cores import count_cores
from purejax_simba.agents.simba_v2 import SimbaV2
from purejax_simba.commands import one_line_errors
from purejax_simba.config import Config
from purejax_simba.runs import experiment
from purejax_simba.runs.devices import use_all_cores
from purejax_simba.sweep.axes import Axis
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.running import run_sweep


@dataclass(frozen=True)
class Arguments:
    """Measure a sweep over learning rates against its configurations one after the other."""

    task: str = "gymnax/Pendulum-v1"
    """Task id."""
    configurations: int = 12
    """Learning rates."""
    num_seeds: int = 3
    """Seeds of each."""
    widths: tuple[int, ...] = (64, 128)
    """Widths of the critic; the actor's is half of it."""
    total_env_steps: int = 1_500
    """Environment steps of each seed."""
    learning_starts: int = 500
    """Transitions before the first update."""


def make_sweep(arguments: Arguments, width: int, output: Path) -> Sweep:
    """The sweep at one width."""
    config = Config(
        task=arguments.task,
        num_seeds=arguments.num_seeds,
        total_env_steps=arguments.total_env_steps,
        evaluation_interval=arguments.total_env_steps,
        num_evaluation_episodes=2,
        learning_starts=arguments.learning_starts,
        agent=SimbaV2(critic_hidden_dim=width, actor_hidden_dim=width // 2),
        output=str(output),
    )
    rates = tuple(1e-4 * 1.1**number for number in range(arguments.configurations))
    return Sweep(config, (config.task,), (Axis("agent.learning_rate", "grid", rates),))


def run(arguments: Arguments) -> dict[str, Any]:
    """Measures; seconds are those of the wall clock, with compilation and files.

    Single runs compile anew each, as in processes of their own, but do not pay for starting one.

    Raises:
      ConfigError, envs.TaskError: for what cannot be measured.
    """
    results: dict[str, Any] = {}
    for width in arguments.widths:
        with tempfile.TemporaryDirectory() as directory:
            sweep = make_sweep(arguments, width, Path(directory) / "together")
            begin = time.perf_counter()
            run_sweep(sweep)
            together = time.perf_counter() - begin
            begin = time.perf_counter()
            for trial in sweep.trials():
                jax.clear_caches()
                single = dataclasses.replace(trial.config, output=f"{directory}/alone")
                experiment.train(single)
            alone = time.perf_counter() - begin
        results[f"sweep_seconds_{width}"] = together
        results[f"single_runs_seconds_{width}"] = alone
        results[f"ratio_{width}"] = alone / together
    return results


def main() -> int:
    """Runs the command line; returns the exit status."""
    arguments = tyro.cli(Arguments)
    use_all_cores(count_cores())
    with one_line_errors("measure again") as outcome:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            results = run(arguments)
        print_json(dataclasses.asdict(arguments), results)
    return outcome.status


if __name__ == "__main__":
    sys.exit(main())

"""Trains the published SimbaV2 code on a task, to be compared with ours.

It needs a checkout of the published repository, whose code is not part of this project, and an
interpreter with the packages that it pins. A seed is a process, as the published code has it;
seeds that are in the result file are not trained again.
"""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

import envs
from benchmarks import published_training
from purejax_simba.config import Config, ConfigError, known
from purejax_simba.defaults import resolve
from purejax_simba.files import check_output
from purejax_simba.runs.result_files import METRICS_FILE, read_returns


@dataclass(frozen=True)
class Arguments:
    """Train the published code, and write its evaluations in the columns of our result files."""

    checkout: Path
    """Of the published repository."""
    python: Path
    """The interpreter that has its packages."""
    task: str = "dmc/cheetah-run"
    """A task of DeepMind Control or MuJoCo."""
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    """Seeds."""
    total_env_steps: int = 50_000
    """Environment steps per seed."""
    evaluation_interval: int = 5_000
    """Environment steps between evaluations."""
    critic_hidden_dim: int = 128
    """Width of the critics."""
    actor_hidden_dim: int = 64
    """Width of the actor."""
    output: Path = Path("results/side_by_side/published")
    """Results go to <output>/<task>/metrics.csv."""


def command(arguments: Arguments, seed: int, file: Path) -> list[str]:
    """The program for one seed.

    Raises:
      ConfigError, envs.TaskError: for a task that the published code cannot train here.
    """
    suite, _, name = arguments.task.partition("/")
    if suite not in published_training.SUITES:
        suites = ", ".join(published_training.SUITES)
        raise ConfigError(f"--task {arguments.task} is of none of these suites: {suites}")
    repeat = known(resolve(Config(arguments.task)).action_repeat)
    interval = arguments.evaluation_interval // repeat
    return [
        str(arguments.python),
        published_training.__file__,
        str(arguments.checkout.absolute()),
        str(file.absolute()),
        f"seed={seed}",
        f"env={suite}",
        f"env.env_name={name}",
        f"env.num_env_steps={arguments.total_env_steps}",
        f"agent.critic_hidden_dim={arguments.critic_hidden_dim}",
        f"agent.actor_hidden_dim={arguments.actor_hidden_dim}",
        f"evaluation_per_interaction_step={interval}",
        f"logging_per_interaction_step={interval}",
    ]


def main() -> int:
    """Runs the command line; returns the exit status."""
    arguments = tyro.cli(Arguments)
    file = arguments.output / arguments.task / METRICS_FILE
    try:
        commands = {seed: command(arguments, seed, file) for seed in arguments.seeds}
        check_output(file)
        done = read_returns(file.parent) if file.exists() else {}
    except (ConfigError, envs.TaskError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    file.parent.mkdir(parents=True, exist_ok=True)
    for seed, words in commands.items():
        if seed in done:
            continue
        status = subprocess.run(words).returncode
        if status:
            print(f"error: the published code failed with seed {seed}", file=sys.stderr)
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Memory of a run at the published sizes: what XLA says of the compiled program, and the estimate.

`python -m benchmarks.memory --help` shows the options. One line of JSON per task. Nothing is run,
so it takes the memory of compiling only.
"""

import sys
from dataclasses import dataclass

import tyro

from benchmarks.common import print_json, program_bytes_per_run
from purejax_simba.agents import registry
from purejax_simba.commands import one_line_errors
from purejax_simba.config import LENGTHS, Config, ReplayConfig
from purejax_simba.runs.compiling import lowering
from purejax_simba.runs.devices import make_mesh, use_all_cores
from purejax_simba.runs.memory import bytes_per_run
from purejax_simba.training import make_program

DEVICE_GIGABYTES = (16, 40, 80)


@dataclass(frozen=True)
class Arguments:
    """Say how much memory a run takes, and how many runs fit a device."""

    tasks: tuple[str, ...] = ("dmc/humanoid-run", "dmc/dog-run")
    """Task ids."""
    physics: str = "auto"
    """Engine."""
    agent: str = "simba_v2"
    """Agent."""
    replay_capacity: int = LENGTHS["replay.capacity"]
    """Transitions kept."""
    runs: int = 1
    """Runs advanced side by side on a device."""
    critic_hidden_dim: int | None = None
    """Width of each critic. Default: as published."""
    actor_hidden_dim: int | None = None
    """Width of the actor. Default: as published."""


def measure(task: str, arguments: Arguments) -> dict[str, int | float]:
    """Bytes of one run by kind, and runs per device by its size.

    Returns:
      `argument_bytes_per_run` and `temporary_bytes_per_run` of the compiled steps,
      `estimated_bytes_per_run` before compilation, their ratio, and `runs_in_16_gb` and so on.

    Raises:
      ConfigError, envs.TaskError: for what cannot be trained.
    """
    agent = registry.agent_settings(
        arguments.agent,
        critic_hidden_dim=arguments.critic_hidden_dim,
        actor_hidden_dim=arguments.actor_hidden_dim,
    )
    replay = ReplayConfig(arguments.replay_capacity)
    config = Config(task, arguments.physics, arguments.runs, agent=agent, replay=replay)
    program, mesh = make_program(config), make_mesh(1)
    steps = lowering(program, mesh, arguments.runs).advance().compile()
    compiled = program_bytes_per_run(steps, arguments.runs)
    per_run = sum(compiled.values())
    estimate = bytes_per_run(program)
    estimated = sum(estimate.values()) - estimate["checkpoint"]
    fits = {f"runs_in_{size}_gb": size * 10**9 // per_run for size in DEVICE_GIGABYTES}
    ratio = {"estimated_bytes_per_run": estimated, "estimate_over_compiled": estimated / per_run}
    return compiled | ratio | fits


def main() -> int:
    """Runs the command line; returns the exit status."""
    arguments = tyro.cli(Arguments)
    use_all_cores(num_runs=1)
    with one_line_errors("measure again") as outcome:
        for task in arguments.tasks:
            print_json({"task": task}, measure(task, arguments))
    return outcome.status


if __name__ == "__main__":
    sys.exit(main())

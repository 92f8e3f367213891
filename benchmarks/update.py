"""Speed of the SimbaV2 update alone, compared with the machine's speed at matrix products.

`python -m benchmarks.update --help` shows the options.
"""

import sys
from dataclasses import asdict, dataclass
from typing import Any

import tyro

from benchmarks.common import (
    Learner,
    measure_update,
    peak_memory_bytes,
    print_json,
)
from purejax_simba.agents import simba_v2
from purejax_simba.config import AgentConfig, Config, default_discount, hyperparameters
from purejax_simba.flops import flops_per_update
from purejax_simba.parallel import use_all_cores


@dataclass(frozen=True)
class Arguments:
    """Measure the update alone: no environment, no replay."""

    runs: int = 4
    """Runs updated at once."""
    critic_hidden_dim: int = 512
    """Width of each critic."""
    actor_hidden_dim: int = 128
    """Width of the actor."""
    num_critics: int = 1
    """Critics of each run."""
    batch_size: int = 256
    """Transitions per update."""
    observation_size: int = 17
    """Length of an observation."""
    action_size: int = 6
    """Length of an action."""
    seconds: float = 20.0
    """Time to measure for, compilation excluded."""


def agent_config(arguments: Arguments) -> AgentConfig:
    """The agent with the given sizes and all else as published."""
    return AgentConfig(
        actor_hidden_dim=arguments.actor_hidden_dim,
        critic_hidden_dim=arguments.critic_hidden_dim,
        num_critics=arguments.num_critics,
    )


def make_learner(arguments: Arguments) -> Learner:
    """The learner with the given sizes and all else as published."""
    sizes = agent_config(arguments)
    # Of the task's numbers only schedules and the discount matter here, and not to the speed.
    config = Config(
        action_repeat=2, update_to_data_ratio=2.0, discount=default_discount(500), agent=sizes
    )
    agent = simba_v2.make(
        arguments.observation_size,
        arguments.action_size,
        actor_hidden_dim=sizes.actor_hidden_dim,
        actor_num_blocks=sizes.actor_num_blocks,
        critic_hidden_dim=sizes.critic_hidden_dim,
        critic_num_blocks=sizes.critic_num_blocks,
        num_bins=sizes.num_bins,
        num_critics=arguments.num_critics,
    )
    return Learner(
        agent=agent,
        hyperparameters=hyperparameters(config, arguments.action_size),
        observation_size=arguments.observation_size,
        action_size=arguments.action_size,
        batch_size=arguments.batch_size,
        critic_hidden_dim=arguments.critic_hidden_dim,
    )


def run(arguments: Arguments) -> dict[str, Any]:
    """Measures, and returns results whose names carry their units.

    "per run" is the speed at which one run goes on beside the others; "per update and run" divides
    the time by the updates of all runs. `times_matmul_floor` is that time in units of what the
    update's matrix products take at the machine's own rate, which is measured in turns with the
    updates, so that other load on the machine meets both: median by median, and best by best.
    """
    update = measure_update(make_learner(arguments), arguments.runs, arguments.seconds)
    flops = flops_per_update(
        agent_config(arguments),
        arguments.observation_size,
        arguments.action_size,
        arguments.batch_size,
    )
    seconds, best_seconds = (time / arguments.runs for time in update.seconds)
    return {
        "updates_per_second_per_run": 1.0 / update.seconds.median,
        "updates_per_second": 1.0 / seconds,
        "seconds_per_update_and_run": seconds,
        "best_seconds_per_update_and_run": best_seconds,
        "compile_seconds": update.compile_seconds,
        "peak_memory_bytes": peak_memory_bytes(),
        **update.program_bytes,
        "flops_per_update": flops,
        "matmul_flops_per_second": 1.0 / update.matmul_seconds.median,
        "best_matmul_flops_per_second": 1.0 / update.matmul_seconds.best,
        "times_matmul_floor": seconds / (flops * update.matmul_seconds.median),
        "best_times_matmul_floor": best_seconds / (flops * update.matmul_seconds.best),
    }


def main() -> int:
    """Runs the command line; returns the exit status."""
    arguments = tyro.cli(Arguments)
    if arguments.runs < 1:
        print(f"error: --runs is {arguments.runs}: give 1 or more", file=sys.stderr)
        return 2
    use_all_cores(arguments.runs)
    print_json(asdict(arguments), run(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Speed of an agent's update alone, compared with the machine's speed at matrix products.

`python -m benchmarks.update --help` shows the options.
"""

import sys
from dataclasses import asdict, dataclass
from typing import Any

import tyro

from benchmarks.common import Learner, measure_update, peak_memory_bytes, print_json
from benchmarks.flops import flops_per_update
from purejax_simba.agents import registry
from purejax_simba.config import Config, ReplayConfig
from purejax_simba.defaults import (
    default_discount,
    hyperparameters,
    with_agent_defaults,
    with_lengths,
)
from purejax_simba.names import fill
from purejax_simba.runs.devices import use_all_cores


@dataclass(frozen=True)
class Arguments:
    """Measure the update alone: no environment, no replay. Sizes not given are the agent's own."""

    agent: str = "simba_v2"
    """Whose update."""
    runs: int = 4
    """Runs updated at once."""
    critic_hidden_dim: int | None = None
    """Width of each critic."""
    actor_hidden_dim: int | None = None
    """Width of the actor."""
    num_critics: int | None = None
    """Critics of each run. Where the agent leaves it to the task: 1."""
    batch_size: int | None = None
    """Transitions per update."""
    observation_size: int = 17
    """Length of an observation."""
    action_size: int = 6
    """Length of an action."""
    seconds: float = 20.0
    """Time to measure for, compilation excluded."""


def make_config(arguments: Arguments) -> Config:
    """A configuration with the given sizes and all else as published."""
    config = Config(
        # Of the task's numbers only schedules and the discount matter here, and not to the speed.
        action_repeat=2,
        discount=default_discount(500),
        agent=registry.agent_settings(
            arguments.agent,
            actor_hidden_dim=arguments.actor_hidden_dim,
            critic_hidden_dim=arguments.critic_hidden_dim,
            num_critics=arguments.num_critics,
        ),
        replay=ReplayConfig(batch_size=arguments.batch_size),
    )
    config = with_agent_defaults(with_lengths(config))
    return fill(config, {"agent.num_critics": 1, "update_to_data_ratio": 2.0})


def make_learner(arguments: Arguments) -> Learner:
    """The learner with the given sizes and all else as published."""
    config = make_config(arguments)
    return Learner(
        agent=registry.make(arguments.observation_size, arguments.action_size, config.agent),
        hyperparameters=hyperparameters(config, arguments.action_size),
        observation_size=arguments.observation_size,
        action_size=arguments.action_size,
        batch_size=config.batch_size,
        critic_hidden_dim=config.critic_width,
        policy_delay=config.agent.given().get("policy_delay", 1),
    )


def run(arguments: Arguments) -> dict[str, Any]:
    """Measures, and returns results whose names carry their units.

    "per run" is the speed at which one run goes on beside the others; "per update and run" divides
    the time by the updates of all runs. `times_matmul_floor` is that time in units of what the
    update's matrix products take at the machine's own rate, which is measured in turns with the
    updates, so that other load on the machine meets both: median by median, and best by best.
    """
    learner = make_learner(arguments)
    update = measure_update(learner, arguments.runs, arguments.seconds)
    flops = flops_per_update(learner)
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
    if arguments.agent == "random":
        print("error: --agent random has no updates to measure", file=sys.stderr)
        return 2
    use_all_cores(arguments.runs)
    print_json(asdict(arguments), run(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())

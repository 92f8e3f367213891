"""Speed and memory of training, and what it costs beyond its parts.

`python -m benchmarks.train --help` shows the options.
"""

import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import jax
import tyro

import envs
from benchmarks.common import (
    REPETITIONS,
    Learner,
    Updates,
    measure,
    peak_memory_bytes,
    print_json,
    program_bytes_per_run,
    repeat,
)
from benchmarks.envs import Steps
from purejax_simba.agents.simba_v2 import SimbaV2
from purejax_simba.commands import one_line_errors
from purejax_simba.config import Config, ConfigError, ReplayConfig
from purejax_simba.program import Program
from purejax_simba.runs.compiling import Compiler
from purejax_simba.runs.devices import Placement, use_all_cores
from purejax_simba.runs.runs import Runs
from purejax_simba.training import make_program


@dataclass(frozen=True)
class Arguments:
    """Measure training as `train.py` does it, and its parts."""

    task: str = "dmc/cheetah-run"
    """Task id."""
    physics: str = "auto"
    """Engine."""
    runs: int = 4
    """Runs trained at once."""
    environments: int = 1
    """Environments of each run, which makes as many updates per interaction as with one."""
    batch_size: int | None = None
    """Transitions per update. Default: the agent's."""
    replay_capacity: int | None = None
    """Transitions of each run's replay. Default: as published."""
    critic_hidden_dim: int = 128
    """Width of each critic."""
    actor_hidden_dim: int = 64
    """Width of the actor."""
    random_interactions: int = 2_000
    """Interactions with random actions, in which the environments are measured."""
    seconds: float = 20.0
    """Time to measure learning for, half of it in updates alone; compilation excluded."""


class Training:
    """Runs under way.

    Attributes:
      runs: the runs.
      compile_seconds: of all of the program's functions together, tracing included.
    """

    def __init__(self, program: Program):
        compiler, placement = Compiler(program), Placement.choose(program)
        begin = time.perf_counter()
        compiler.compile(placement)
        self.compile_seconds = time.perf_counter() - begin
        self.runs = Runs(compiler, placement)

    def __call__(self, interactions: int) -> None:
        """Goes on for so many interactions."""
        self.runs.advance(interactions)

    def diagnose(self, count: int) -> None:
        """Computes the diagnostics of an evaluation so many times."""
        for _ in range(count):
            self.runs.diagnose()

    def interactions(self) -> int:
        """Interactions so far, of each environment."""
        return int(self.runs.counters.interactions)

    def updates(self) -> int:
        """Updates so far, of each run."""
        return int(self.runs.get(lambda state: state.agent.updates)[0])


def make_learner(program: Program) -> Learner:
    """The program's agent with the sizes of its task."""
    return Learner(
        agent=program.agent,
        hyperparameters=program.hyperparameters(),
        observation_size=program.environment.observation_size,
        action_size=program.environment.action_size,
        batch_size=program.config.batch_size,
        critic_hidden_dim=program.config.critic_width,
        policy_delay=program.config.agent.given().get("policy_delay", 1),
    )


def make_config(arguments: Arguments) -> Config:
    """A run with the given sizes and all else as published, but for an early first update."""
    return Config(
        task=arguments.task,
        physics=arguments.physics,
        num_seeds=arguments.runs,
        num_environments=arguments.environments,
        update_to_data_ratio=envs.spec(arguments.task).action_repeat / arguments.environments,
        learning_starts=(arguments.random_interactions + 1) * arguments.environments,
        replay=ReplayConfig(arguments.replay_capacity, arguments.batch_size),
        agent=SimbaV2(
            critic_hidden_dim=arguments.critic_hidden_dim,
            actor_hidden_dim=arguments.actor_hidden_dim,
        ),
    )


def run(arguments: Arguments) -> dict[str, Any]:
    """Measures, and returns results whose names carry their units.

    "per run" is the speed at which one run goes on beside the others. `training_overhead` is the
    time of an interaction while learning divided by that of its parts: its updates, measured in
    turns with it in the same process, and an interaction with random actions. What is above 1 goes
    to sampling, normalising and drawing noise. `share_of_bare_environments` is the time of a step
    of the same environments with nothing around them, measured in turns with the interactions with
    random actions (in which everything is done but updates), divided by that of such a one.
    `diagnostics_overhead` is the time of training with diagnostics, at the default evaluation
    interval, divided by that without.

    Raises:
      ConfigError, envs.TaskError: for what cannot be measured.
    """
    runs = arguments.runs
    random_count = arguments.random_interactions // (REPETITIONS + 1)
    if random_count < 1:
        raise ConfigError(
            f"--random-interactions is {arguments.random_interactions}: "
            f"give {REPETITIONS + 1} or more"
        )
    program = make_program(make_config(arguments))
    training = Training(program)
    training(random_count)
    bare = Steps(program.environment, runs * arguments.environments)
    environment, step = repeat([training, bare], [random_count, random_count])

    training(arguments.random_interactions + 1 - training.interactions())
    peak_memory = peak_memory_bytes()
    updates = Updates(make_learner(program), runs, training.runs.placement.mesh)
    interactions_before, updates_before = training.interactions(), training.updates()
    learning, update = measure([training, updates], arguments.seconds / 2.0)
    updates_per_interaction = (training.updates() - updates_before) / (
        training.interactions() - interactions_before
    )
    replay = jax.eval_shape(program.init, jax.random.key(0), program.hyperparameters()).replay
    replay_bytes = sum(array.size * array.dtype.itemsize for array in jax.tree.leaves(replay))
    (diagnosis,) = repeat([training.diagnose], [1])
    interval = program.config.interactions_per_evaluation
    env_steps = program.config.steps_per_interaction
    parts = updates_per_interaction * update.median + environment.median
    return {
        "compile_seconds": training.compile_seconds,
        "random_env_steps_per_second_per_run": env_steps / environment.median,
        "random_env_steps_per_second": runs * env_steps / environment.median,
        "learning_env_steps_per_second_per_run": env_steps / learning.median,
        "learning_env_steps_per_second": runs * env_steps / learning.median,
        "learning_updates_per_second_per_run": updates_per_interaction / learning.median,
        "learning_updates_per_second": runs * updates_per_interaction / learning.median,
        "updates_per_interaction": updates_per_interaction,
        "seconds_per_update_and_run_alone": update.median / runs,
        "seconds_per_interaction_and_run_random": environment.median / runs,
        "seconds_per_interaction_and_run_learning": learning.median / runs,
        "training_overhead": learning.median / parts,
        "share_of_bare_environments": step.median / environment.median,
        "replay_bytes_per_transition": replay_bytes / program.config.stored_transitions,
        "seconds_per_diagnosis_and_run": diagnosis.median / runs,
        "diagnostics_overhead": 1.0 + diagnosis.median / (interval * learning.median),
        "peak_memory_bytes": peak_memory,
        **program_bytes_per_run(training.runs.compiled.advance, updates.runs_per_device),
    }


def main() -> int:
    """Runs the command line; returns the exit status."""
    arguments = tyro.cli(Arguments)
    use_all_cores(arguments.runs)
    with one_line_errors("measure again") as outcome, envs.clear_errors():
        print_json(asdict(arguments), run(arguments))
    return outcome.status


if __name__ == "__main__":
    sys.exit(main())

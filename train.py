"""Trains many seeds of SimbaV2 at once, or evaluates a finished run."""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

import envs
from purejax_simba.compilation_cache import use_compilation_cache
from purejax_simba.config import AgentConfig, Config, ConfigError, ReplayConfig
from purejax_simba.parallel import use_all_cores


def demonstration() -> Config:
    """A swing-up that small networks learn within minutes on two cores."""
    return Config(
        task="gymnax/Pendulum-v1",
        total_env_steps=8_000,
        evaluation_interval=1_000,
        learning_starts=500,
        agent=AgentConfig(
            actor_hidden_dim=32,
            critic_hidden_dim=64,
            critic_num_blocks=1,
            learning_rate=1e-3,
            learning_rate_end=5e-4,
        ),
        replay=ReplayConfig(batch_size=128),
        experiment=f"demonstration-{time.strftime('%Y%m%d-%H%M%S')}",
    )


@dataclass(frozen=True)
class Arguments:
    """Train many seeds of SimbaV2 at once as one compiled program.

    Without arguments: a demonstration of a few minutes on a laptop. Everything else has the
    published defaults.
    """

    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)
    evaluate: Path | None = None
    """Play the trained policies of this run directory instead, and report their returns."""
    list_tasks: bool = False
    """List the known tasks."""


def main() -> int:
    """Runs the command line; returns the exit status."""
    arguments = tyro.cli(Arguments) if len(sys.argv) > 1 else Arguments(config=demonstration())
    try:
        if arguments.list_tasks:
            print("\n".join(envs.tasks()))
        elif arguments.evaluate is not None:
            from purejax_simba.experiment import evaluate_run

            for seed, metrics in evaluate_run(arguments.evaluate).items():
                print(
                    f"seed {seed}: return {metrics['avg_return']:.1f}, length "
                    f"{metrics['avg_length']:.0f}, success {metrics['avg_success']:.2f}"
                )
        else:
            use_all_cores(arguments.config.num_seeds)
            use_compilation_cache()
            from purejax_simba.experiment import run

            run(arguments.config)
    except (ConfigError, envs.TaskError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except envs.HostEnvironmentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

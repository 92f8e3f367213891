"""Records the policy of a finished run as a dataset, for `train.py --offline`.

python -m purejax_simba.datasets <run directory> --episodes 100 --output minari/pendulum/mine
python -m purejax_simba.datasets <run directory> --noise 0.3 --output pendulum.hdf5
"""

if __name__ == "__main__":
    from purejax_simba import stopping

    stopping.hear()  # while the rest is imported, too

import os
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from purejax_simba import trust
from purejax_simba.commands import one_line_errors
from purejax_simba.commands.command_line import OwnCode
from purejax_simba.config import Config, ConfigError
from purejax_simba.datasets import d4rl, minari_format
from purejax_simba.datasets.recording import record_run
from purejax_simba.files import check_output
from purejax_simba.runs.policies import finished_run
from purejax_simba.stopping import stop_requests
from purejax_simba.waiting import count_of, still


@dataclass(frozen=True)
class Arguments:
    """Play the policy of a finished run and record its episodes."""

    directory: Annotated[Path, tyro.conf.Positional]
    """The run directory."""
    output: str
    """minari/<id>, or a new file that ends in .hdf5, in D4RL's layout."""
    episodes: int = 100
    """Episodes to record."""
    noise: float = 0.1
    """Standard deviation of normal noise on the actions, whose range is [-1, 1]."""
    run_seed: int | None = None
    """The seed of the run whose policy is played. Default: the first."""
    seed: int = 0
    """Random seed of the episodes."""
    own: Annotated[OwnCode, tyro.conf.arg(name="")] = field(default_factory=OwnCode)


def record(arguments: Arguments) -> None:
    """Records and writes; refuses an output that cannot be before anything is played."""
    output = arguments.output
    to_minari = output.startswith(minari_format.PREFIX)
    if to_minari:
        own_id = minari_format.check_new(output)
        output = minari_format.PREFIX + own_id
    elif not output.endswith(d4rl.SUFFIXES):
        raise ConfigError(
            f"--output {output}: give {minari_format.PREFIX}<id>, or a file that ends in "
            f"{' or '.join(d4rl.SUFFIXES)}"
        )
    elif os.path.lexists(output):
        raise ConfigError(f"{output} exists already: give another --output, or remove it")
    else:
        check_output(Path(output))
    dataset = record_run(
        arguments.directory,
        arguments.episodes,
        arguments.noise,
        arguments.run_seed,
        arguments.seed,
        output,
        arguments.own.given(),
    )
    with stop_requests("writing the dataset") as request, still("writing the dataset"):
        if to_minari:
            description = f"{arguments.directory} on {dataset.origin.task}, noise {arguments.noise}"
            minari_format.write(own_id, dataset, description)
        else:
            d4rl.write(Path(output), dataset)
    print(
        f"{output}: {count_of(dataset.size, 'transition')} of "
        f"{count_of(dataset.ended.sum(), 'episode')}, mean return "
        f"{dataset.mean_return():.1f} (without noise {dataset.origin.expert_return:.1f}, random "
        f"{dataset.origin.random_return:.1f})"
    )
    config = Config(task=dataset.origin.task, host_python=arguments.own.host_python)
    words = ["--offline", output]
    # Observations are in the order that the run had them in, which these change.
    run = finished_run(arguments.directory, arguments.own.given())
    if run.privileged_observations:
        words += ["--agent.name", run.agent.name]
        words += ["--privileged-observations", *run.privileged_observations]
    print("to train on it:", trust.train_command(shlex.join(words), config))
    if request.signal:
        raise SystemExit(128 + request.signal)


def main() -> int:
    """Runs the command line; returns the exit status."""
    with one_line_errors("give the same command again") as outcome:
        record(tyro.cli(Arguments))
    return outcome.status


if __name__ == "__main__":
    sys.exit(main())

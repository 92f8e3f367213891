"""Which checkpoint runs go on from, and what may have changed since it was taken."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from purejax_simba.config import Config, ConfigError
from purejax_simba.names import flatten
from purejax_simba.runs import processes
from purejax_simba.runs.checkpoint import STATE_DIRECTORY, Checkpoint, read_newest
from purejax_simba.runs.result_files import replace_text
from purejax_simba.waiting import still

# What may be another after a resume, because no number of the results depends on it.
HARMLESS = (
    "total_env_steps",
    "offline.epochs",
    "output",
    "checkpoint",
    "host_time_limit",
    "diagnostics",
    "loggers",
    "log_seeds",
    "devices_per_run",
)


def check_differences(saved: Config, config: Config) -> None:
    """Makes sure that a run goes on as it began.

    Raises:
      ConfigError: with all that differs and should not.
    """
    before, now = flatten(saved), flatten(config)
    differences = [
        f"--{name.replace('_', '-')} was {before[name]} and is {now[name]}"
        for name in before
        if before[name] != now[name] and not {name, name.partition(".")[0]}.intersection(HARMLESS)
    ]
    if differences:
        raise ConfigError(f"a run goes on only as it began: {'; '.join(differences)}")
    length = "offline.epochs" if config.is_offline else "total_env_steps"
    if now[length] < before[length]:
        raise ConfigError(
            f"--{length.replace('_', '-')} was {before[length]} and is {now[length]}: "
            "give as many or more"
        )


def remember(path: Path, values: list[int]) -> list[int]:
    """The values that were first given for a file, now or before a process was killed."""
    if path.exists():
        return json.loads(path.read_text())
    replace_text(path, json.dumps(values))
    return values


@still("reading the checkpoint", processes.say)
def find(directory: Path) -> Checkpoint:
    """The newest sound checkpoint of the run in a directory.

    Raises:
      ConfigError: if there is none.
    """
    return read_newest(directory / STATE_DIRECTORY)


def select(checkpoint: Checkpoint, jobs: Sequence[int]) -> Checkpoint:
    """What of a checkpoint belongs to some of the jobs that it was taken of, as indices."""
    seeds = checkpoint.notes["num_seeds"]
    ends = np.cumsum(seeds)
    runs = np.concatenate([np.arange(ends[i] - seeds[i], ends[i]) for i in jobs])
    arrays = {
        name: array[runs] if name.startswith("state.") else array
        for name, array in checkpoint.arrays.items()
    }
    notes = checkpoint.notes | {
        name: [checkpoint.notes[name][i] for i in jobs] for name in ("metrics_bytes", "num_seeds")
    }
    return checkpoint._replace(arrays=arrays, notes=notes)

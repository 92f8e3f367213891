"""Taking runs up again from a checkpoint, on whatever devices there are."""

import json
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from purejax_simba.config import Config, ConfigError
from purejax_simba.names import flatten
from purejax_simba.runs import processes
from purejax_simba.runs.checkpoint import (
    STATE_DIRECTORY,
    Checkpoint,
    named_leaves,
    read_newest,
    tree_of,
)
from purejax_simba.runs.result_files import replace_text
from purejax_simba.runs.runs import Runs, Snapshot
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
_REPLAY = "state.replay."


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


def select(checkpoint: Checkpoint, members: Sequence[int]) -> Checkpoint:
    """The part of a checkpoint that belongs to some of its members, as indices."""
    seeds = checkpoint.notes["num_seeds"]
    ends = np.cumsum(seeds)
    runs = np.concatenate([np.arange(ends[i] - seeds[i], ends[i]) for i in members])
    arrays = {
        name: array[runs] if name.startswith("state.") else array
        for name, array in checkpoint.arrays.items()
    }
    notes = checkpoint.notes | {
        name: [checkpoint.notes[name][i] for i in members]
        for name in ("metrics_bytes", "num_seeds")
    }
    return checkpoint._replace(arrays=arrays, notes=notes)


def arrays_of(snapshot: Snapshot) -> dict[str, np.ndarray]:
    """A snapshot as named arrays."""
    return {name: np.asarray(leaf) for name, leaf in named_leaves(snapshot).items()}


def _holds(wide: np.dtype, narrow: np.dtype) -> bool:
    return wide == narrow or (wide.kind == narrow.kind == "u" and wide.itemsize > narrow.itemsize)


def restore(runs: Runs, checkpoint: Checkpoint) -> bool:
    """Puts all runs where the checkpoint was taken; returns whether they had to begin new episodes.

    They must where environments are in worker processes, or the replay was not saved.

    Raises:
      ConfigError: if the checkpoint is of other runs.
    """
    steps = checkpoint.notes["interactions"]
    has_replay = checkpoint.notes["replay"]

    def fit(name: str, array: np.ndarray | None, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        if name.startswith(_REPLAY) and array is None and not has_replay:
            return np.zeros(shape.shape, shape.dtype)
        if name.startswith(_REPLAY) and array is not None:
            # With more env steps the ring is longer; until it is full, its end is what is free.
            missing = [(0, n - m) for n, m in zip(shape.shape, array.shape, strict=True)]
            extra = missing.pop(1)[1]
            if extra > 0 and not any(m for _, m in missing) and _holds(shape.dtype, array.dtype):
                widths = [(0, 0)] * array.ndim
                widths[1] = (0, extra)
                return np.pad(array.astype(shape.dtype), widths)
        found = "nothing" if array is None else f"{array.dtype}{array.shape}"
        raise ConfigError(
            f"{name} of the checkpoint is {found}, and {shape.dtype}{shape.shape} is needed: "
            "it was made with another version or other physics"
        )

    snapshot: Snapshot = tree_of(checkpoint.arrays, runs.snapshot_shapes(), fit)
    if not has_replay:
        counters = snapshot.counters.replace(replay_start=np.int32(steps))  # type: ignore[attr-defined]
        snapshot = snapshot._replace(counters=counters)
    runs.restore(snapshot)
    is_elsewhere = snapshot.state.environment is not None and runs.program.environment.elsewhere
    begins_episodes = not has_replay or is_elsewhere
    if begins_episodes:
        runs.begin_episodes()
    return begins_episodes

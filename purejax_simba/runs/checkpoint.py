"""Saving everything of runs under way, so that they can go on."""

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import jax
import numpy as np
import orbax.checkpoint as ocp

from purejax_simba.config import ConfigError
from purejax_simba.errors import WriteError, first_line
from purejax_simba.files import UnreadableError, read_json, reading
from purejax_simba.runs import processes
from purejax_simba.waiting import still

STATE_DIRECTORY = Path("checkpoints") / "state"
# What arrays are kept in is a directory with these; a checkpoint is named after its env step.
_ARRAYS, _NOTES, _CHECKSUMS = "arrays", "notes.json", "checksums.json"
_UNFINISHED = "unfinished"
_FULL = os.strerror(errno.ENOSPC)


class CheckpointError(WriteError):
    """A checkpoint could not be written; the message is one line."""


class Notes(TypedDict):
    """What stands beside the arrays of a checkpoint.

    Attributes:
      interactions: of each run.
      replay: whether the replay is there.
      metrics_bytes, num_seeds: size of `metrics.csv`, and runs, of each job.
    """

    interactions: int
    replay: bool
    metrics_bytes: list[int]
    num_seeds: list[int]


class Checkpoint(NamedTuple):
    """What `read_newest` found.

    Attributes:
      env_step: where it was taken.
      arrays: name -> array.
      damaged: messages about newer checkpoints that cannot be used.
    """

    env_step: int
    arrays: dict[str, np.ndarray]
    notes: Notes
    damaged: list[str]

    def of_jobs(self, jobs: Sequence[int]) -> "Checkpoint":
        """What of it belongs to some of the jobs that it was taken of, as indices."""
        seeds = self.notes["num_seeds"]
        ends = np.cumsum(seeds)
        runs = np.concatenate([np.arange(ends[i] - seeds[i], ends[i]) for i in jobs])
        arrays = {
            name: array[runs] if name.startswith("state.") else array
            for name, array in self.arrays.items()
        }
        notes: Notes = {
            **self.notes,
            "metrics_bytes": [self.notes["metrics_bytes"][i] for i in jobs],
            "num_seeds": [seeds[i] for i in jobs],
        }
        return self._replace(arrays=arrays, notes=notes)


class CheckpointWriter:
    """Writes checkpoints in the background, each complete or not at all, and keeps the last ones.

    A context: it waits for the last one to be written.

    Attributes:
      newest: env step of the newest that it has written, complete and on disk; -1 before.
    """

    def __init__(self, directory: Path, keep: int):
        """Writes nothing yet, and nothing ever if `save` is not called."""
        self._directory, self._keep = directory, keep
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._under_way: Future | None = None
        self.newest = -1

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            self.wait()
        except CheckpointError:
            # What ends the block already says what is wrong.
            if kind is None:
                raise
        finally:
            self._thread.shutdown()

    def save(self, env_step: int, arrays: dict[str, np.ndarray], notes: Notes) -> None:
        """Begins to write a checkpoint, of arrays that do not change any more.

        Raises:
          CheckpointError: if the one before, which is waited for, could not be written.
        """
        self.wait()
        self._under_way = self._thread.submit(self._write, env_step, arrays, notes)

    def wait(self) -> None:
        """Returns when everything is on disk.

        Raises:
          CheckpointError: if it could not be written.
        """
        writing, self._under_way = self._under_way, None
        if writing is not None:
            writing.result()

    def _write(self, env_step: int, arrays: dict[str, np.ndarray], notes: Notes) -> None:
        write_arrays(self._directory / str(env_step), arrays, notes)
        self.newest = env_step
        # Later ones were damaged, or the run would have gone on from there: they do not count.
        written = [step for step in _env_steps(self._directory) if step <= env_step]
        for old in written[: -self._keep]:
            shutil.rmtree(self._directory / str(old))


@still("reading the checkpoint", processes.say)
def read_newest(directory: Path) -> Checkpoint:
    """Reads the newest checkpoint below `directory` whose files are what was written.

    Raises:
      ConfigError: if there is none.
    """
    damaged: list[str] = []
    for env_step in reversed(_env_steps(directory)):
        path = directory / str(env_step)
        try:
            arrays, notes = read_arrays(path), read_json(path / _NOTES, Notes)
            with reading(path):
                _check_notes(notes, arrays)
            return Checkpoint(env_step, arrays, notes, damaged)
        except UnreadableError as error:
            damaged.append(f"{error.path} is damaged ({error.reason})")
    reason = "; ".join(damaged) or "no checkpoint was written"
    raise ConfigError(f"{directory} holds nothing to go on from: {reason}")


def _check_notes(notes: Notes, arrays: dict[str, np.ndarray]) -> None:
    """Makes sure that numbers in a checkpoint belong together."""
    sizes, seeds = notes["metrics_bytes"], notes["num_seeds"]
    if not len(sizes) == len(seeds) > 0 or min(seeds) < 1 or min(*sizes, notes["interactions"]) < 0:
        raise ConfigError(f"its {_NOTES} cannot be")
    for name, array in arrays.items():
        if name.startswith("state.") and array.shape[:1] != (sum(seeds),):
            raise ConfigError(f"{name} is not of {sum(seeds)} runs")


def has_checkpoint(directory: Path) -> bool:
    """Whether there is a checkpoint below `directory`, damaged or not."""
    return bool(_env_steps(directory))


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a tree under names like `agent.actor.weight`, empty ones left out."""
    leaves = jax.tree.leaves_with_path(tree)
    names = {leaf_name(path): leaf for path, leaf in leaves}
    return {name: leaf for name, leaf in names.items() if leaf.size}


def tree_of(arrays: dict[str, np.ndarray], shapes: Any, fit: Callable[..., np.ndarray]) -> Any:
    """The opposite of `named_leaves`.

    Args:
      arrays: name -> array.
      shapes: a tree of `jax.ShapeDtypeStruct`.
      fit: `(name, array or None, shape) -> array` of that shape, where it is another or missing.
    """

    def find(path: Any, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        name = leaf_name(path)
        array = arrays.get(name)
        if array is None and 0 in shape.shape:
            return np.zeros(shape.shape, shape.dtype)
        if array is not None and (array.shape, array.dtype) == (shape.shape, shape.dtype):
            return array
        return fit(name, array, shape)

    return jax.tree.map_with_path(find, shapes)


def leaf_name(path: Any) -> str:
    """A path in a tree as a name."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _env_steps(directory: Path) -> list[int]:
    if not directory.is_dir():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdecimal())


def write_arrays(
    directory: Path, arrays: dict[str, np.ndarray], notes: Notes | None = None
) -> None:
    """Writes arrays with checksums, complete or not at all, in place of what is there.

    Raises:
      CheckpointError: if they cannot be written.
    """
    unfinished = directory.with_name(_UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)  # what an earlier process left
    try:
        unfinished.mkdir(parents=True)
        _save_tree(unfinished / _ARRAYS, arrays)
        if notes is not None:
            (unfinished / _NOTES).write_text(json.dumps(notes))
        (unfinished / _CHECKSUMS).write_text(json.dumps(_checksums(unfinished)))
        for path in unfinished.rglob("*"):
            _flush(path)
        shutil.rmtree(directory, ignore_errors=True)
        unfinished.rename(directory)
        _flush(directory.parent)
    except Exception as error:  # whatever the libraries below raise where a disk is full
        reason = _FULL if _FULL in str(error) else first_line(error)
        raise CheckpointError(f"cannot write {directory}: {reason}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def read_arrays(directory: Path, advice: str = "restore it from a copy") -> dict[str, np.ndarray]:
    """What `write_arrays` wrote; `advice` is for where it is damaged.

    Raises:
      UnreadableError: if files are missing, or not what was written.
    """
    # Whatever the libraries below make of what others wrote.
    with reading(directory, Exception, advice=advice):
        known = read_json(directory / _CHECKSUMS, dict[str, str], advice=advice)
        found = _checksums(directory)
        for name in sorted({*known, *found}):
            if known.get(name) != found.get(name):
                what = "not as it was written" if name in found else "missing"
                raise ConfigError(f"{name} is {what}")
        with _checkpointer() as checkpointer:
            return checkpointer.restore((directory / _ARRAYS).absolute())


def _checksums(directory: Path) -> dict[str, str]:
    sums = {}
    for path in [directory, *sorted(directory.rglob("*"))]:
        if path.is_symlink():
            raise ConfigError(f"{path.name} is a symbolic link")
        if path.is_file() and path.name != _CHECKSUMS:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, hashlib.blake2b)
            sums[str(path.relative_to(directory))] = digest.hexdigest()
    return sums


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _save_tree(path: Path, tree: dict[str, np.ndarray]) -> None:
    # What fails is raised; orbax would print the traceback of each of its threads as well.
    log = logging.getLogger("absl")
    was_disabled, log.disabled = log.disabled, True
    try:
        with _checkpointer() as checkpointer:
            checkpointer.save(path.absolute(), tree)
    finally:
        log.disabled = was_disabled


def _checkpointer() -> ocp.Checkpointer:
    """A process that saves or restores does not wait for the others to do it too."""
    index = jax.process_index()
    own = ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"process{index}"
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=own)
    return ocp.Checkpointer(handler, multiprocessing_options=own)

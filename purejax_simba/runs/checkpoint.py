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
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from purejax_simba.config import ConfigError
from purejax_simba.errors import WriteError
from purejax_simba.runs import processes
from purejax_simba.waiting import still

STATE_DIRECTORY = Path("checkpoints") / "state"
# A checkpoint is a directory with these, named after its env step.
_ARRAYS, _NOTES, _CHECKSUMS = "arrays", "notes.json", "checksums.json"
_UNFINISHED = "unfinished"
_FULL = os.strerror(errno.ENOSPC)


class CheckpointError(WriteError):
    """A checkpoint could not be written; the message is one line."""


class Checkpoint(NamedTuple):
    """What `read_newest` found.

    Attributes:
      env_step: where it was taken.
      arrays: name -> array.
      notes: what was saved beside the arrays.
      damaged: messages about newer checkpoints that cannot be used.
    """

    env_step: int
    arrays: dict[str, np.ndarray]
    notes: dict[str, Any]
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
        notes = self.notes | {
            name: [self.notes[name][i] for i in jobs] for name in ("metrics_bytes", "num_seeds")
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

    def save(self, env_step: int, arrays: dict[str, np.ndarray], notes: dict[str, Any]) -> None:
        """Begins to write a checkpoint, after the one before is on disk.

        Args:
          env_step: its name.
          arrays: name -> array, not to be changed any more.
          notes: numbers and strings to keep beside them.

        Raises:
          CheckpointError: if the one before could not be written.
        """
        self.wait()
        self._under_way = self._thread.submit(self._write, env_step, arrays, notes)

    def wait(self) -> None:
        """Returns when everything is on disk.

        Raises:
          CheckpointError: if it could not be written.
        """
        writing, self._under_way = self._under_way, None
        if writing is None:
            return
        try:
            writing.result()
        except Exception as error:  # whatever the libraries below raise where a disk is full
            lines = str(error).strip().splitlines() or [repr(error)]
            reason = _FULL if _FULL in str(error) else lines[0]
            raise CheckpointError(
                f"cannot write a checkpoint to {self._directory}: {reason}"
            ) from error

    def _write(self, env_step: int, arrays: dict[str, np.ndarray], notes: dict[str, Any]) -> None:
        unfinished, final = self._directory / _UNFINISHED, self._directory / str(env_step)
        shutil.rmtree(unfinished, ignore_errors=True)  # what an earlier process left
        unfinished.mkdir(parents=True)
        try:
            save_tree(unfinished / _ARRAYS, arrays)
            (unfinished / _NOTES).write_text(json.dumps(notes))
            (unfinished / _CHECKSUMS).write_text(json.dumps(_checksums(unfinished)))
            for path in unfinished.rglob("*"):
                _flush(path)
            shutil.rmtree(final, ignore_errors=True)
            unfinished.rename(final)
            _flush(self._directory)
            self.newest = env_step
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        for old in _env_steps(self._directory)[: -self._keep]:
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
            if json.loads((path / _CHECKSUMS).read_text()) != _checksums(path):
                raise ValueError("its files are not as they were written")
            notes = json.loads((path / _NOTES).read_text())
            return Checkpoint(env_step, read_tree(path / _ARRAYS), notes, damaged)
        except (OSError, ValueError) as error:
            damaged.append(f"{path} is damaged ({error})")
    reason = "; ".join(damaged) or "no checkpoint was written"
    raise ConfigError(f"{directory} holds nothing to go on from: {reason}")


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


def _checksums(directory: Path) -> dict[str, str]:
    sums = {}
    for path in sorted(directory.rglob("*")):
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


def save_tree(path: Path, tree: Any, force: bool = False) -> None:
    """Writes the arrays of a tree to a directory, complete or not at all.

    Args:
      path: of the directory.
      tree: of numpy arrays.
      force: in place of what is there.
    """
    # What fails is raised; orbax would print the traceback of each of its threads as well.
    log = logging.getLogger("absl")
    was_disabled, log.disabled = log.disabled, True
    try:
        with _checkpointer() as checkpointer:
            checkpointer.save(path.absolute(), tree, force=force)
    finally:
        log.disabled = was_disabled


def read_tree(path: Path) -> Any:
    """What `save_tree` wrote, as nested dictionaries."""
    with _checkpointer() as checkpointer:
        return checkpointer.restore(path.absolute())


def _checkpointer() -> ocp.Checkpointer:
    """A process that saves or restores does not wait for the others to do it too."""
    index = jax.process_index()
    own = ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"process{index}"
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=own)
    return ocp.Checkpointer(handler, multiprocessing_options=own)

"""Rows of the table of bad input: what is given to a command, and what it has to say."""

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from purejax_simba.agents.registry import agent_settings
from purejax_simba.config import Config, ReplayConfig
from purejax_simba.datasets import d4rl
from purejax_simba.datasets.dataset import Dataset, Origin
from purejax_simba.runs import experiment

TASK = "gymnax/Pendulum-v1"
# Below the directory in which commands are given: a finished run of one seed, and a dataset.
RUN = f"runs/tiny/{TASK}"
DATA = "data.hdf5"

# Of Linux: what `prctl` and `capset` take.
_GET_SECURE_BITS, _SET_SECURE_BITS, _NO_SETUID_FIXUP = 27, 28, 1 << 2
_POWER_OVER_FILES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH

# Does something in the directory in which the command is given.
Step = Callable[[Path], Any]


@dataclass(frozen=True)
class Row:
    """A command that cannot work.

    Attributes:
      command: as it is typed.
      line: what the one line says; anything may stand at `...`.
      before: what is done before.
      status: of the command.
      writes: names of what it makes all the same.
      environment: variables that are set; those that are None are not there.
      stdout: where its output goes.
    """

    command: str
    line: str
    before: tuple[Step, ...] = ()
    status: int = 2
    writes: tuple[str, ...] = ()
    environment: tuple[tuple[str, str | None], ...] = ()
    stdout: str = ""

    @property
    def pattern(self) -> re.Pattern[str]:
        """That the line has to match."""
        return re.compile(".*".join(map(re.escape, self.line.split("..."))))


def row(
    command: str,
    line: str,
    *before: Step,
    status: int = 2,
    writes: tuple[str, ...] = (),
    stdout: str = "",
    **environment: str | None,
) -> Row:
    """A row of the table."""
    return Row(command, line, before, status, writes, tuple(environment.items()), stdout)


def write(path: str, content: Any) -> Step:
    """A file of this text, these bytes, or these values as JSON."""

    def step(here: Path) -> None:
        target = here / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            target.write_text(content if isinstance(content, str) else json.dumps(content))

    return step


def change(path: str, **values: Any) -> Step:
    """Other values in a file of JSON."""

    def step(here: Path) -> None:
        known = json.loads((here / path).read_text())
        (here / path).write_text(json.dumps(known | values))

    return step


def attributes(path: str, **values: Any) -> Step:
    """Other attributes of a HDF5 file; None removes one."""

    def step(here: Path) -> None:
        with h5py.File(here / path, "r+") as file:
            for name, value in values.items():
                file.attrs.pop(name, None)
                if value is not None:
                    file.attrs[name] = value

    return step


def cut(path: str, count: int) -> Step:
    """A file without its last bytes."""
    return lambda here: os.truncate(here / path, (here / path).stat().st_size - count)


def remove(pattern: str) -> Step:
    """Without the first file or directory that matches."""

    def step(here: Path) -> None:
        found = sorted(here.glob(pattern))[0]
        shutil.rmtree(found) if found.is_dir() else found.unlink()

    return step


def damage(pattern: str) -> Step:
    """Another bit in the middle of the largest file that matches."""

    def step(here: Path) -> None:
        found = max((p for p in here.glob(pattern) if p.is_file()), key=lambda p: p.stat().st_size)
        content = bytearray(found.read_bytes())
        content[len(content) // 2] ^= 1
        found.write_bytes(content)

    return step


def fifo(path: str) -> Step:
    """A pipe to which nobody writes."""

    def step(here: Path) -> None:
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).unlink(missing_ok=True)
        os.mkfifo(here / path)

    return step


def link(path: str, target: str) -> Step:
    """What is there is moved, and a symbolic link to it left behind."""

    def step(here: Path) -> None:
        source = sorted(here.glob(path))[0]
        (here / target).parent.mkdir(parents=True, exist_ok=True)
        source.rename(here / target)
        source.symlink_to(here / target)

    return step


def read_only(path: str) -> Step:
    """A directory to which nobody may write."""

    def step(here: Path) -> None:
        (here / path).mkdir(parents=True, exist_ok=True)
        (here / path).chmod(0o555)

    return step


def make_examples(here: Path) -> None:
    """Makes `RUN` and `DATA`; takes some seconds."""
    config = Config(
        TASK,
        num_seeds=1,
        total_env_steps=40,
        evaluation_interval=20,
        num_evaluation_episodes=1,
        episode_length=10,
        learning_starts=20,
        diagnostics="none",
        agent=agent_settings("sac", actor_hidden_dim=8, critic_hidden_dim=8),
        replay=ReplayConfig(batch_size=8),
        experiment="tiny",
        output="runs",
    )
    with contextlib.chdir(here):
        experiment.train(config)
    random = np.random.default_rng(0)
    ended = np.arange(1, 41) % 10 == 0
    made = Dataset(
        "made here",
        observation=random.normal(size=(40, 3)).astype(np.float32),
        action=random.uniform(-1.0, 1.0, (40, 1)).astype(np.float32),
        reward=random.normal(size=40).astype(np.float32),
        terminated=np.zeros(40, bool),
        ended=ended,
        next_observation=random.normal(size=(40, 3)).astype(np.float32),
        origin=Origin(TASK, 1, 10, -120.0, -20.0),
    )
    d4rl.write(here / DATA, made)


def snapshot(place: Path) -> dict[str, Any]:
    """Everything below a directory: kind and content by path."""
    found: dict[str, Any] = {}
    for directory, directories, files in os.walk(place):
        for name in (*directories, *files):
            path = Path(directory) / name
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
            link = os.readlink(path) if path.is_symlink() else ""
            found[str(path.relative_to(place))] = (path.lstat().st_mode, link, content)
    return found


@contextlib.contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    """Fails what takes longer, a pipe that is read forever for example."""

    def fail(*_: object) -> None:
        raise AssertionError(f"it hangs: nothing for {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def without_power_over_files() -> Iterator[None]:
    """Permissions hold inside for the superuser too, as far as this thread goes (Linux only)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    known = ctypes.create_string_buffer(24)
    if libc.capget(header, known):
        raise OSError(ctypes.get_errno(), "capget")
    own, bits = known.raw, libc.prctl(_GET_SECURE_BITS)
    effective, *others = struct.unpack("6I", own)
    # Otherwise `access` asks what the superuser could do. Users may not, and need not.
    libc.prctl(_SET_SECURE_BITS, bits | _NO_SETUID_FIXUP)
    libc.capset(header, struct.pack("6I", effective & ~_POWER_OVER_FILES, *others))
    try:
        yield
    finally:
        libc.capset(header, own)
        libc.prctl(_SET_SECURE_BITS, bits)

"""`run.json`: which program wrote the results of a run, on what machine, and how long it took.

A list of sessions; a run that was resumed has several. Times are UTC, durations in seconds.
"""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import jax

from purejax_simba.errors import WriteError, first_line
from purejax_simba.files import read_json, write_json
from purejax_simba.runs import processes
from purejax_simba.trust import Module, Modules
from purejax_simba.waiting import count_of

RECORD_FILE = "run.json"
_PACKAGES = ("purejax_simba", "jax", "jaxlib", "numpy", "mujoco", "mujoco-mjx", "gymnax", "brax")
RUNNING, FINISHED = "running", "finished"


class Session(TypedDict, total=False):
    """What is known of a session; earlier versions noted less."""

    command: str
    begun: str
    updated: str
    status: str
    versions: dict[str, str]
    modules: dict[str, Module]
    machine: str
    devices: str
    matmul_precision: str
    physics: str
    runs_together: int
    startup_seconds: float
    first_env_step: int
    env_step: int
    updates: int
    seconds: float
    times: list[list[float]]  # an env step, and seconds until it was noted, startup included


class SessionRecord:
    """The session of this process, in the run directories of all that it trains.

    As a context it notes how the session ended. Of several processes only the first writes.
    """

    def __init__(
        self,
        directories: Sequence[Path],
        runs: int,
        env_step: int,
        precision: str,
        modules: Modules | None = None,
        physics: str = "",
    ):
        """Begins a session.

        Args:
          directories, runs: those of all configurations that train together.
          env_step: environment steps that each had taken before.
          precision: of the matrix products of networks.
          modules: that register what they train, if these are not our own.
          physics: the engine, also where it was chosen by `auto`; empty for a task's own.
        """
        self._directories = list(directories) if processes.is_first() else []
        self._earlier = {place: read_sessions(place) for place in self._directories}
        self._begin = time.monotonic()
        self._first_updates = 0
        now = utc_now()
        self._values: Session = {
            "command": _command(),
            "begun": now,
            "updated": now,
            "status": RUNNING,
            "versions": _versions(),
            "modules": modules or {},
            "machine": _machine(),
            "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
            "matmul_precision": precision,
            "physics": physics,
            "runs_together": runs,
            "startup_seconds": 0.0,
            "first_env_step": env_step,
            "env_step": env_step,
            "updates": 0,
            "seconds": 0.0,
            "times": [],
        }
        self._write()

    def training_begins(self, updates: int) -> None:
        """Notes that everything is compiled and in its place; `updates` were made before."""
        self._values["startup_seconds"] = self._seconds()
        self._begin = time.monotonic()
        self._first_updates = updates

    def update(self, env_step: int, updates: int) -> None:
        """Notes how far it has come.

        Args:
          env_step: environment steps of each run, from its beginning.
          updates: of all runs together, from their beginning.
        """
        self._values["env_step"] = env_step
        self._values["updates"] = updates - self._first_updates
        self._values["seconds"] = self._seconds()
        passed = round(self._values["startup_seconds"] + self._values["seconds"], 3)
        times = self._values["times"]
        if not times or times[-1][0] != env_step:
            times.append([env_step, passed])
        self._write()

    def __enter__(self) -> "SessionRecord":
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        if error is None:
            self._values["status"] = FINISHED
        elif isinstance(error, SystemExit | KeyboardInterrupt):
            self._values["status"] = "stopped"
        else:
            self._values["status"] = f"failed: {type(error).__name__}: {first_line(error)}"
        # A disk that is full must not hide why the session ended.
        with contextlib.suppress(*([] if error is None else [WriteError])):
            self._write()

    def _seconds(self) -> float:
        return round(time.monotonic() - self._begin, 3)

    def _write(self) -> None:
        self._values["updated"] = utc_now()
        for place, earlier in self._earlier.items():
            write_json(place / RECORD_FILE, [*earlier, self._values])


def read_sessions(directory: Path) -> list[Session]:
    """The sessions of the run in a directory, oldest first; none if there is no record."""
    return read_json(directory / RECORD_FILE, list[Session], [])


def utc_now() -> str:
    """The time, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    revision = _revision()
    return versions | ({"revision": revision} if revision else {})


def _command() -> str:
    """As it was given."""
    program, *words = sys.argv
    is_name = program.startswith("purejax-simba ")  # or else a script
    return " ".join([program if is_name else shlex.join(["python", program]), shlex.join(words)])


def _revision() -> str:
    """The git commit of the source, with `-dirty` if files differ from it; empty if unknown."""
    try:
        # An installed copy may lie in the repository of another project.
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*words: str) -> str:
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 10, "check": True}
    return subprocess.run(["git", *words], cwd=Path(__file__).parent, **options).stdout.strip()


def _machine() -> str:
    cores = count_of(os.cpu_count() or 1, "core")
    return f"{_processor()}, {cores}, {platform.system()} {platform.machine()}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"

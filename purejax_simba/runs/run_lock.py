"""One process at a time writes to a run directory: `running.lock` says which.

A process that was killed leaves the file behind. On the same machine it can be seen that it is no
more. Of one on another machine, only that it no longer renews the file.
"""

import contextlib
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

from purejax_simba.config import ConfigError
from purejax_simba.files import read_json, writing
from purejax_simba.runs import processes
from purejax_simba.runs.session_record import utc_now
from purejax_simba.stopping import in_any_case
from purejax_simba.waiting import say

LOCK_FILE = "running.lock"
RENEWAL_SECONDS = 20.0
# Network file systems may show what others write a minute late.
STALE_SECONDS = 120.0


class RunLock:
    """As a context: a directory is this process's own. Of several processes the first has it."""

    def __init__(self, directory: Path, patience: float = 0.0):
        """Takes nothing yet; waits `patience` seconds for a process that is about to end."""
        self._directory, self._patience = directory, patience
        self._path = directory / LOCK_FILE
        self._own = _identity() | {"begun": utc_now()}
        self._is_over = threading.Event()
        self._renewal = threading.Thread(target=self._renew, name="run lock", daemon=True)
        self._held = contextlib.ExitStack()

    def __enter__(self) -> "RunLock":
        """Takes the directory, which is made if need be; refuses one that another process has."""
        processes.first_does(self._take)
        if processes.is_first():
            self._renewal.start()
            self._held.enter_context(in_any_case(self._release))
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def _release(self) -> None:
        self._is_over.set()
        self._renewal.join()
        with contextlib.suppress(OSError):
            if _read(self._path) == self._own:
                self._path.unlink()

    def _take(self) -> None:
        with writing(self._directory, "give another --output"):
            self._directory.mkdir(parents=True, exist_ok=True)
            end = time.monotonic() + self._patience
            while not self._create() and (owner := self._take_over()) is not None:
                if time.monotonic() >= end:
                    name = f"{_name(owner)}, writes to {self._directory}"
                    raise ConfigError(f"{name}: wait until it ends, or stop it")
                time.sleep(1.0)

    def _create(self) -> bool:
        """Whether there was none."""
        try:
            with self._path.open("x") as file:
                file.write(json.dumps(self._own, indent=2) + "\n")
        except FileExistsError:
            return False
        return True

    def _take_over(self) -> dict[str, Any] | None:
        """Takes what a process that is no more has left; the owner, if there is one."""
        found = _read(self._path)
        is_alive = _is_alive(found)
        if is_alive is None:
            is_alive = self._is_renewed(found)
        if is_alive:
            return found
        # Others may be at it too. A file can be moved only once, and it must have been that one.
        aside = self._aside()
        with contextlib.suppress(FileNotFoundError):
            self._path.rename(aside)
            if _read(aside) != found:
                aside.rename(self._path)
            else:
                aside.unlink()
        return None if self._create() else _read(self._path)

    def _is_renewed(self, owner: dict[str, Any]) -> bool:
        """Watches for as long as it takes to see, if it was renewed not long ago."""
        try:
            renewed = self._path.stat().st_mtime_ns
            # By the clock of the file system, and no other.
            probe = self._aside()
            probe.write_text("")
            left = STALE_SECONDS - (probe.stat().st_mtime_ns - renewed) / 1e9
            probe.unlink()
            if left > 0:
                line = f"waiting up to {left:.0f} s for {_name(owner)}, which writes to "
                say(f"{line}{self._directory} or is no more")
            end = time.monotonic() + left
            while time.monotonic() < end:
                time.sleep(min(1.0, left))
                if self._path.stat().st_mtime_ns != renewed:
                    return True
        except FileNotFoundError:  # it has just ended
            pass
        return False

    def _aside(self) -> Path:
        return self._path.with_name(f"{LOCK_FILE}.{os.getpid()}.unfinished")

    def _renew(self) -> None:
        while not self._is_over.wait(RENEWAL_SECONDS):
            try:
                if _read(self._path) not in ({}, self._own):
                    # This machine stood still for so long that another one went on with the run.
                    say(f"error: {self._directory} was taken over by another process")
                    os._exit(1)
                os.utime(self._path)
            except OSError:
                continue  # which may pass


def _identity() -> dict[str, Any]:
    """Which process this is, on which machine."""
    return {
        "host": socket.gethostname(),
        "machine": [_text("/proc/sys/kernel/random/boot_id"), _link("/proc/self/ns/pid")],
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def _is_alive(owner: dict[str, Any]) -> bool | None:
    """Whether a process is there; None if that cannot be seen from here."""
    own = _identity()
    if any(owner.get(key) != own[key] for key in ("host", "machine")) or not own["started"]:
        return None
    return _started(owner.get("pid")) == owner.get("started")


def _name(owner: dict[str, Any]) -> str:
    pid, host, begun = (owner.get(key, "unknown") for key in ("pid", "host", "begun"))
    return f"process {pid} on {host}, begun {begun}"


def _started(pid: Any) -> str:
    """When a process began, in ticks since the machine did; empty if there is none."""
    state, *fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split() or [""]
    is_dead = state in ("", "Z", "X")  # killed, and its parent has not asked yet
    return "" if is_dead else fields[18]


def _read(path: Path) -> dict[str, Any]:
    """What a lock says; nothing if it is not there or not written yet."""
    try:
        return read_json(path, dict[str, Any])
    except ConfigError:
        return {}


def _text(path: Path | str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""

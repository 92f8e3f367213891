"""One worker process: how it is started, spoken to and ended, whatever happens."""

import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from envs.workers import program
from envs.workers.program import FLAGS, HEADER, PROTOCOL, map_memory

GOODBYE_SECONDS = 2.0
START_SECONDS = 120.0
LONGEST_POLL = 2**31 - 1  # milliseconds


class WorkerError(Exception):
    """A worker failed while it was busy with the place `slot` (-1 for none); the text says how."""

    def __init__(self, slot: int, text: str):
        super().__init__(text)
        self.slot = slot


class Description(NamedTuple):
    """What a worker says of an environment.

    Attributes:
      layout: name and shape of each part of the observation, in the order of the flattened one.
      observation_size: length of the flattened observation.
      actor_observation_size: how many of its first numbers are for actors, too; None for all.
      low, high: flat ends of what [-1, 1] is mapped to, see `program.action_range`.
      episode_length: the environment's own limit, or None.
    """

    layout: list[tuple[str, tuple[int, ...]]]
    observation_size: int
    actor_observation_size: int | None
    low: np.ndarray
    high: np.ndarray
    episode_length: int | None


class WorkerProcess:
    """A process with sub-environments in numbered places. One thread at a time may speak to it."""

    def __init__(self, source: dict[str, Any], time_limit: float, python: str = sys.executable):
        self._time_limit = time_limit
        self._capacity = 0
        ours, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        # Without a name there is nothing that could be left behind.
        self._memory = _nameless_file()
        descriptors = (theirs.fileno(), self._memory, lifeline)
        self._process = subprocess.Popen(
            # Isolated, so that the modules next to the program are not importable by it.
            [python, "-I", program.__file__, *map(str, descriptors)],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=2,  # what environments print is not our output
            start_new_session=True,  # an interrupt from the terminal is for us alone
            # Workers are as many as cores: libraries that start a thread per core would disturb.
            env={"OMP_NUM_THREADS": "1", **os.environ},
        )
        theirs.close()
        os.close(lifeline)
        self._connection = Connection(ours.detach())
        self._poller = select.poll()
        self._poller.register(self._connection.fileno(), select.POLLIN)
        self._header = np.full(1, -1, np.int32)
        self.send("make", source)

    def send(self, *message: Any) -> None:
        """Sends a command; `receive` must follow."""
        try:
            self._connection.send_bytes(pickle.dumps(message, PROTOCOL))
        except OSError:
            raise self._death() from None

    def receive(self, time_limit: float | None = None) -> Any:
        """The answer to the last command."""
        seconds = self._time_limit if time_limit is None else time_limit
        if not self._poller.poll(min(1000 * seconds, LONGEST_POLL)):
            raise WorkerError(int(self._header[0]), f"did not answer within {seconds} s")
        try:
            kind, *answer = pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise self._death() from None
        if kind == "failed":
            raise WorkerError(*answer)
        return answer[0]

    def describe(self) -> Description:
        """Waits until the process has loaded the environment."""
        # Imports may take longer than any step is allowed to.
        said = self.receive(max(self._time_limit, START_SECONDS))
        said |= {name: np.asarray(said[name], np.float32) for name in ("low", "high")}
        said["layout"] = [(name, tuple(shape)) for name, shape in said["layout"]]
        description = Description(**said)
        self._actions = description.low.size
        self._row_size = self._actions + FLAGS + description.observation_size
        return description

    def send_reset(
        self, count: int, indices: list[int], seeds: list[int], continues: list[bool]
    ) -> None:
        """Asks for new episodes in some places, of which there are `count`."""
        if count > self._capacity:
            self._capacity = max(2 * self._capacity, count)
            os.ftruncate(self._memory, HEADER + 4 * self._capacity * self._row_size)
            self._header, self._rows = map_memory(self._memory, self._capacity, self._row_size)
        self.send("reset", self._capacity, indices, seeds, continues)

    def send_step(self, indices: np.ndarray, actions: np.ndarray) -> None:
        """Asks for a step with one row of actions per place."""
        self._rows[indices, : self._actions] = actions
        self.send("step", indices.tolist())

    def results(self, indices: np.ndarray) -> np.ndarray:
        """What the last exchange left in some places: flags and observation."""
        return self._rows[indices, self._actions :]

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def kill(self) -> None:
        """Ends the process at once; whoever waits for it is told."""
        self._process.kill()

    def hang_up(self) -> None:
        """Lets the process end by itself."""
        self._connection.close()

    def end(self, patience: float) -> None:
        """Makes sure that the process has ended, and frees what was shared with it."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._lifeline)
        os.close(self._memory)

    def _death(self) -> WorkerError:
        try:
            status = self._process.wait(GOODBYE_SECONDS)
            how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
        except subprocess.TimeoutExpired:
            how = "it closed its socket"
        return WorkerError(int(self._header[0]), f"ended its worker process ({how})")


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("environments")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())

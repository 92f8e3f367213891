"""Simulations of the C engine, in batches that are stepped at once."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import mujoco
import numpy as np
from mujoco.batch import Batch

# Positions, velocities, activations, controls, applied forces, time and solver warm start:
# everything that the next step depends on, and the rows of `Batch.state`.
STATE_SIGNATURE = mujoco.mjtState.mjSTATE_INTEGRATION.value

# A larger batch does without a simulation of its own for every row, which takes up to some
# megabytes, and pays for it by deriving twice what a step begins with.
_MOST_SIMULATIONS = 512


class SimulationBatch:
    """Some simulations of one model.

    Attributes:
      batch: the simulations.
      control: `(count, nu)`, the controls of their next step.
      varied: per field of the model that varies `(count, size)`, its values.
      views: per field `(count, size)`, its values after the last step.
      changing: the same for the fields whose change is wanted.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        fields: tuple[str, ...],
        changes: tuple[str, ...],
        varied: tuple[str, ...],
        count: int,
        threads: int,
        keep_all: bool,
    ):
        """With `keep_all` there is a simulation for every row, however many."""
        keep = keep_all or count <= _MOST_SIMULATIONS
        self.batch = Batch(model, count, threads, persistent=keep)
        self.control = self.batch.bind("ctrl")
        self.varied = [self.batch.expand(name).reshape(count, -1) for name in varied]
        self.views = [self.batch.bind(name).reshape(count, -1) for name in fields]
        self.changing = [self.batch.bind(name).reshape(count, -1) for name in changes]


class Simulation(NamedTuple):
    """A single simulation: its model, the same without actuation, and its data."""

    model: mujoco.MjModel
    passive_model: mujoco.MjModel
    data: mujoco.MjData


class SimulationPool:
    """Batches of simulations of one model, for calls from several threads at once."""

    def __init__(
        self,
        make_batch: Callable[[int, int], SimulationBatch],
        make_single: Callable[[], Simulation],
    ):
        """Makes none yet. `make_batch` does, of so many simulations for so many threads."""
        self._make_batch, self._make_single = make_batch, make_single
        self._free: list[SimulationBatch] = []
        self._free_singles: list[Simulation] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def batch(self, states: np.ndarray, threads: int) -> Iterator[SimulationBatch]:
        """Lends a batch in these states, `(count, state size)`.

        It is the one that had them last, if there is one: then nothing needs to be derived again.
        """
        with self._lock:
            fitting = [free for free in self._free if free.batch.nsim == len(states)]
            first = states[:1].tobytes()
            had_them = [free for free in fitting if free.batch.state[:1].tobytes() == first]
            candidates = had_them or fitting
            taken = candidates[-1] if candidates else None
            if taken is not None:
                self._free.remove(taken)
        if taken is None:
            taken = self._make_batch(len(states), threads)
        taken.batch.state[:] = states
        try:
            yield taken
        finally:
            with self._lock:
                self._free.append(taken)
                # Batches of other sizes make way, those that were not used for longest first.
                while len(self._free) > 1 and self._simulations() > 2 * _MOST_SIMULATIONS:
                    del self._free[0]

    def _simulations(self) -> int:
        return sum(free.batch.nsim for free in self._free)

    @contextlib.contextmanager
    def single(self) -> Iterator[Simulation]:
        """Lends a single simulation in whatever state."""
        with self._lock:
            taken = self._free_singles.pop() if self._free_singles else None
        if taken is None:
            taken = self._make_single()
        try:
            yield taken
        finally:
            with self._lock:
                self._free_singles.append(taken)

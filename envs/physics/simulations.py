"""Simulations of the C engine that wait to be continued."""

import threading
from collections import OrderedDict

import mujoco

# Each takes some megabytes. In larger batches simulations are set to a state again at every step.
_MOST_SIMULATIONS = 256


class Simulation:
    """One `MjData` with the views that are read and written at every step."""

    __slots__ = ("changing", "control", "data", "views")

    def __init__(self, model: mujoco.MjModel, fields: tuple[str, ...], changes: tuple[str, ...]):
        self.data = mujoco.MjData(model)
        self.control = self.data.ctrl
        self.views = tuple(getattr(self.data, name).reshape(-1) for name in fields)
        self.changing = tuple(getattr(self.data, name).reshape(-1) for name in changes)


class SimulationPool:
    """Simulations of one model. Methods may be called from several threads at once.

    A simulation whose derived quantities belong to a state that was handed out is kept under the
    bits of that state: whoever continues from it need not derive them again.
    """

    def __init__(self, model: mujoco.MjModel, fields: tuple[str, ...], changes: tuple[str, ...]):
        """Makes none yet."""
        self._arguments = (model, fields, changes)
        self._ready: OrderedDict[bytes, Simulation] = OrderedDict()
        self._idle: list[Simulation] = []
        self._count = 0
        self._largest_batch = 1
        self._lock = threading.Lock()

    def expect(self, batch: int) -> None:
        """Announces that so many simulations are in use at a time."""
        with self._lock:
            self._largest_batch = max(self._largest_batch, batch)

    def take_ready(self, key: bytes) -> Simulation | None:
        """The simulation that is in the state with these bits, if there is one."""
        with self._lock:
            return self._ready.pop(key, None)

    def take_any(self) -> Simulation:
        """A simulation in whatever state."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
            # Room for the states in use and those that a reset replaces.
            room = min(max(16, 2 * self._largest_batch), _MOST_SIMULATIONS)
            if self._ready and self._count >= room:
                return self._ready.popitem(last=False)[1]
            self._count += 1
        return Simulation(*self._arguments)

    def give_back(self, simulation: Simulation, key: bytes | None = None) -> None:
        """Returns a simulation, under the bits of its state if somebody may continue from it."""
        with self._lock:
            if key is None:
                self._idle.append(simulation)
                return
            twin = self._ready.pop(key, None)
            if twin is not None:
                self._idle.append(twin)
            self._ready[key] = simulation

"""The C engine as a pure function: full simulation state in, full simulation state out.

The state crosses between XLA and the engine as raw bits, so that an episode is exactly the one
that MuJoCo would play on its own, and a checkpoint of the bits continues it exactly.
"""

import copy
import itertools
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct

from envs.cores import count_cores
from envs.physics.base import POST_CONSTRAINT_FIELDS, Reading, field_shapes
from envs.physics.simulations import Simulation, SimulationPool

# Positions, velocities, activations, controls, applied forces, time and solver warm start:
# everything that the next step depends on.
STATE_SIGNATURE = mujoco.mjtState.mjSTATE_INTEGRATION.value

# Threads meet at the interpreter lock before and after each simulation. It only pays to have
# several when a simulation takes longer than this.
_SECONDS_WORTH_A_THREAD = 60e-6

_CORES = count_cores()
_threads = ThreadPoolExecutor(max_workers=_CORES, thread_name_prefix="mujoco")


@struct.dataclass
class MujocoState:
    """State of one simulation.

    Attributes:
      bits: `(2 * state_size,)` uint32, MuJoCo's integration state and behind it the fields
        whose change is wanted, each float64 as two words.
      fields: what the task asked for, see `PhysicsState`.
    """

    bits: jax.Array
    fields: dict[str, jax.Array]


class MujocoPhysics:
    """`Physics` through one host callback per step for a whole batch.

    Only numpy and MuJoCo run inside the callbacks. They may run concurrently (one per device,
    training next to evaluation): simulations are taken from and returned to a common pool.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        fields: tuple[str, ...],
        substeps: int,
        settling_steps: int = 0,
        reading: Reading = "dm_control",
        changes: tuple[str, ...] = (),
    ):
        self.model = copy.copy(model)
        # A diverged simulation must come out as NaN instead of restarting by itself.
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET.value
        # dm_control evaluates the first state of an episode without actuation.
        self._passive_model = copy.copy(self.model)
        self._passive_model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ACTUATION.value
        self._gymnasium = reading == "gymnasium"
        self._post_constraint = bool(POST_CONSTRAINT_FIELDS & set(fields))
        self._substeps, self._settling_steps = substeps, settling_steps
        self._runge_kutta = model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4

        self._fields, self._changes = fields, changes
        self._shapes = field_shapes(model, fields, changes)
        ends = list(itertools.accumulate(math.prod(s) for s in self._shapes.values()))
        self._slices = [slice(*edges) for edges in itertools.pairwise([0, *ends])]
        # A row is the state, the fields whose change is wanted as they are now, and the fields,
        # padded so that every row is aligned for float64.
        self._state_size = mujoco.mj_stateSize(self.model, STATE_SIGNATURE)
        changing = sum(math.prod(self._shapes[f"{name}_change"]) for name in changes)
        self._change_part = slice(ends[-1] - changing, ends[-1])
        self._state_words = 2 * (self._state_size + changing)
        self._row_size = self._state_words + 2 * math.ceil(ends[-1] / 2)

        self._pool = SimulationPool(self.model, fields, changes)
        self._devices = 1
        self._active_calls = 0
        self._lock = threading.Lock()
        self._step_seconds = self._measure()
        self._reset_seconds = self._step_seconds * max(1.0, settling_steps / substeps)

    def reset(self, qpos: jax.Array, qvel: jax.Array, act: jax.Array | None = None) -> MujocoState:
        """See `Physics.reset`."""
        act = jnp.zeros(self.model.na) if act is None else act
        start = jnp.concatenate([qpos, qvel, act])
        return self._call(self._host_reset, _words(start))

    def contacts(self, qpos: jax.Array) -> jax.Array:
        """See `Physics.contacts`."""
        return jax.pure_callback(
            self._host_contacts,
            jax.ShapeDtypeStruct((), jnp.int32),
            qpos.astype(jnp.float32),
            vmap_method="broadcast_all",
        )

    def step(self, state: MujocoState, control: jax.Array) -> MujocoState:
        """See `Physics.step`."""
        words = jnp.concatenate([state.bits, _words(control)])
        return self._call(self._host_step, words)

    def _call(self, host_function, words: jax.Array) -> MujocoState:
        self._devices = jax.local_device_count()
        # One array in and one out: each further one costs about 50 us per call.
        result = jax.pure_callback(
            host_function,
            jax.ShapeDtypeStruct((self._row_size,), jnp.uint32),
            words,
            vmap_method="broadcast_all",
        )
        bits = result[: self._state_words]
        packed = jax.lax.bitcast_convert_type(result[self._state_words :], jnp.float32)
        fields = {
            name: packed[part].reshape(shape)
            for (name, shape), part in zip(self._shapes.items(), self._slices, strict=True)
        }
        return MujocoState(bits=bits, fields=fields)

    # What follows runs on the host, inside callbacks: numpy only.

    def _host_reset(self, words) -> np.ndarray:
        words = np.asarray(words)
        starts = words.reshape(-1, words.shape[-1]).view(np.float32)
        sizes = (self.model.nq, self.model.nv, self.model.na)
        qpos, qvel, act = np.split(starts, np.cumsum(sizes)[:-1], axis=1)

        def reset_one(row: int) -> Simulation:
            simulation = self._pool.take_any()
            data = simulation.data
            mujoco.mj_resetData(self.model, data)
            if not self._gymnasium:
                mujoco.mj_forward(self._passive_model, data)
            data.qpos[:] = qpos[row]
            data.qvel[:] = qvel[row]
            data.act[:] = act[row]
            if self._settling_steps:
                self._advance(data, self._settling_steps)
                data.time = 0.0
            mujoco.mj_forward(self.model if self._gymnasium else self._passive_model, data)
            return simulation

        finite = np.isfinite(starts).all(1)
        return self._run(reset_one, self._reset_seconds, finite, words.shape[:-1])

    def _host_contacts(self, qpos) -> np.ndarray:
        qpos = np.asarray(qpos)
        rows = qpos.reshape(-1, qpos.shape[-1])
        counts = np.zeros(len(rows), np.int32)

        def count_rows(numbers: list[int]) -> None:
            simulation = self._pool.take_any()
            data = simulation.data
            for row in numbers:
                data.qpos[:] = rows[row]
                mujoco.mj_kinematics(self.model, data)
                mujoco.mj_comPos(self.model, data)
                mujoco.mj_collision(self.model, data)
                counts[row] = data.ncon
            self._pool.give_back(simulation)

        finite = np.isfinite(rows).all(1)
        seconds = self._step_seconds / self._substeps
        self._split(count_rows, finite.nonzero()[0].tolist(), seconds)
        return counts.reshape(qpos.shape[:-1])

    def _host_step(self, words) -> np.ndarray:
        words = np.asarray(words)
        rows = words.reshape(-1, words.shape[-1])
        bits = rows[:, : self._state_words]
        control = rows[:, self._state_words :].view(np.float32)

        def step_one(row: int) -> Simulation:
            simulation = self._take(bits[row].tobytes())
            simulation.control[:] = control[row]
            self._advance(simulation.data, self._substeps)
            return simulation

        # The state begins with the time, which a simulation that failed carries as NaN.
        time_words = np.ascontiguousarray(bits[:, :2])
        finite = np.isfinite(control).all(1) & np.isfinite(time_words.view(np.float64)[:, 0])
        before = np.ascontiguousarray(bits[:, 2 * self._state_size :]).view(np.float64)
        return self._run(step_one, self._step_seconds, finite, words.shape[:-1], before)

    def _advance(self, data: mujoco.MjData, steps: int) -> None:
        """Steps, then (as dm_control does) derives what depends on positions and velocities.

        A step from derived quantities is only its second half. Runge-Kutta has no halves.
        """
        if self._gymnasium:
            mujoco.mj_step(self.model, data, steps)
            if self._post_constraint:
                mujoco.mj_rnePostConstraint(self.model, data)
            return
        if self._runge_kutta:
            mujoco.mj_step(self.model, data, steps)
        else:
            mujoco.mj_step2(self.model, data)
            if steps > 1:
                mujoco.mj_step(self.model, data, steps - 1)
        mujoco.mj_step1(self.model, data)

    def _run(
        self, simulate, seconds: float, finite: np.ndarray, batch: tuple[int, ...], before=None
    ) -> np.ndarray:
        """Runs `simulate(row)`, of so many seconds, where finite; the other rows become NaN.

        Changes are counted from `before`, `(rows, size)`; without it they are zero.
        """
        count = len(finite)
        rows = np.empty((count, self._row_size), np.uint32)
        states = rows[:, : self._state_words].view(np.float64)
        fields = rows[:, self._state_words :].view(np.float32)
        states[~finite] = np.nan

        def run_rows(numbers: list[int]) -> None:
            with np.errstate(over="ignore"):
                for row in numbers:
                    simulation = simulate(row)
                    state = states[row]
                    integration = state[: self._state_size]
                    mujoco.mj_getState(self.model, simulation.data, integration, STATE_SIGNATURE)
                    if self._changes:
                        state[self._state_size :] = np.concatenate(simulation.changing)
                    for part, view in zip(self._slices, simulation.views, strict=False):
                        fields[row, part] = view
                    self._pool.give_back(simulation, state.tobytes())

        self._split(run_rows, finite.nonzero()[0].tolist(), seconds)
        if self._changes:
            after = states[:, self._state_size :]
            with np.errstate(over="ignore", invalid="ignore"):
                fields[:, self._change_part] = 0.0 if before is None else after - before
        failed = ~np.isfinite(states).all(1)
        if failed.any():
            states[failed] = np.nan
            fields[failed] = np.nan
        return rows.reshape(*batch, -1)

    def _split(self, run_rows, numbers: list[int], seconds: float) -> None:
        """Runs all rows, on several threads if rows of so many seconds are worth it."""
        # Every device makes a call of its own.
        self._pool.expect(len(numbers) * self._devices)
        with self._lock:
            self._active_calls += 1
            workers = min(len(numbers), _CORES // self._active_calls)
        try:
            if workers < 2 or seconds < _SECONDS_WORTH_A_THREAD:
                run_rows(numbers)
                return
            mine, *others = [numbers[worker::workers] for worker in range(workers)]
            running = [_threads.submit(run_rows, other) for other in others]
            run_rows(mine)
            for other in running:
                other.result()
        finally:
            with self._lock:
                self._active_calls -= 1

    def _measure(self) -> float:
        """Seconds that one control interval takes at the least."""
        data = mujoco.MjData(self.model)
        mujoco.mj_step1(self.model, data)
        seconds = []
        for _ in range(5):
            begin = time.perf_counter()
            self._advance(data, self._substeps)
            seconds.append(time.perf_counter() - begin)
        return min(seconds)

    def _take(self, key: bytes) -> Simulation:
        """A simulation in the state with these bits, with positions and velocities derived."""
        simulation = self._pool.take_ready(key)
        if simulation is None:
            simulation = self._pool.take_any()
            state = np.frombuffer(key, np.float64)[: self._state_size]
            mujoco.mj_setState(self.model, simulation.data, state, STATE_SIGNATURE)
            if not self._gymnasium:
                mujoco.mj_step1(self.model, simulation.data)
        return simulation


def _words(numbers: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(numbers.astype(jnp.float32), jnp.uint32)

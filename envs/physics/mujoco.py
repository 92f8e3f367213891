"""The C engine as a pure function: full simulation state in, full simulation state out.

The state crosses between XLA and the engine as raw bits, so that an episode is exactly the one
that MuJoCo would play on its own, and a checkpoint of the bits continues it exactly.
"""

import copy
import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct
from mujoco.batch import Batch, SimulationError

from envs.cores import count_cores
from envs.host_call import float_words, host_call
from envs.physics.base import Physics, field_shapes
from envs.physics.simulations import STATE_SIGNATURE, SimulationBatch, SimulationPool

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


class MujocoPhysics(Physics):
    """`Physics` through one host call per step for a whole batch.

    Calls may run concurrently (one per device): simulations are lent by a common pool.
    """

    def __init__(self, *arguments: Any, **named: Any):
        """See `Physics`."""
        super().__init__(*arguments, **named)
        self.model = copy.copy(self.model)
        # A diverged simulation must come out as NaN instead of restarting by itself.
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET.value
        # dm_control evaluates the first state of an episode without actuation.
        self._passive_model = copy.copy(self.model)
        self._passive_model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ACTUATION.value
        self._runge_kutta = self.model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4

        self._shapes = field_shapes(self.model, self._fields, self._changes)
        ends = list(itertools.accumulate(math.prod(s) for s in self._shapes.values()))
        self._columns = [slice(*edges) for edges in itertools.pairwise([0, *ends])]
        # A row is the state, the fields whose change is wanted as they are now, and the fields,
        # padded so that every row is aligned for float64.
        self._state_size = mujoco.mj_stateSize(self.model, STATE_SIGNATURE)
        changing = sum(math.prod(self._shapes[f"{name}_change"]) for name in self._changes)
        self._change_columns = slice(ends[-1] - changing, ends[-1])
        self._state_words = 2 * (self._state_size + changing)
        self._row_size = self._state_words + 2 * math.ceil(ends[-1] / 2)
        self._value_columns = slice(0, ends[-1] - changing)
        # dm_control derives what depends on positions and velocities after the last substep.
        stage = mujoco.mjtStage.mjSTAGE_NONE if self._gymnasium else mujoco.mjtStage.mjSTAGE_VEL
        self._stage = stage.value
        make_batch = partial(
            SimulationBatch, self.model, self._fields, self._changes, keep_all=self._post_constraint
        )
        self._pool = SimulationPool(self.model, make_batch)
        self._threads = 1

    def reset(self, qpos: jax.Array, qvel: jax.Array, act: jax.Array | None = None) -> MujocoState:
        """See `Physics.reset`."""
        act = jnp.zeros(self.model.na) if act is None else act
        start = jnp.concatenate([qpos, qvel, act])
        return self._call(self._host_reset, float_words(start))

    def contacts(self, qpos: jax.Array) -> jax.Array:
        """See `Physics.contacts`."""
        return host_call(self._host_contacts, qpos.astype(jnp.float32), 1, jnp.int32)[0]

    def step(self, state: MujocoState, control: jax.Array) -> MujocoState:
        """See `Physics.step`."""
        words = jnp.concatenate([state.bits, float_words(control)])
        return self._call(self._host_step, words)

    def _call(self, host_function, words: jax.Array) -> MujocoState:
        # Every device makes a call of its own.
        self._threads = max(1, _CORES // jax.local_device_count())
        result = host_call(host_function, words, self._row_size, jnp.uint32)
        bits = result[: self._state_words]
        packed = jax.lax.bitcast_convert_type(result[self._state_words :], jnp.float32)
        fields = {
            name: packed[columns].reshape(shape)
            for (name, shape), columns in zip(self._shapes.items(), self._columns, strict=True)
        }
        return MujocoState(bits=bits, fields=fields)

    # What follows runs on the host, inside callbacks: numpy only.

    def _host_reset(self, words: np.ndarray) -> np.ndarray:
        starts = words.view(np.float32)
        sizes = (self.model.nq, self.model.nv, self.model.na)
        qpos, qvel, act = np.split(starts, np.cumsum(sizes)[:-1], axis=1)
        sound = np.isfinite(starts).all(1)
        rows, states, fields = self._new_rows(len(starts))

        def reset_rows(numbers: np.ndarray) -> None:
            with self._pool.data() as data, np.errstate(over="ignore"):
                for row in numbers:
                    mujoco.mj_resetData(self.model, data)
                    if not self._gymnasium:
                        mujoco.mj_forward(self._passive_model, data)
                    data.qpos[:] = qpos[row]
                    data.qvel[:] = qvel[row]
                    data.act[:] = act[row]
                    if self._settling_steps:
                        self._settle(data)
                    mujoco.mj_forward(self.model if self._gymnasium else self._passive_model, data)
                    own = states[row, : self._state_size]
                    mujoco.mj_getState(self.model, data, own, STATE_SIGNATURE)
                    states[row, self._state_size :] = _flat(data, self._changes)
                    fields[row, self._value_columns] = _flat(data, self._fields)
            fields[numbers, self._change_columns] = 0.0

        self._split(reset_rows, np.flatnonzero(sound))
        _fail(np.logical_not(sound), states, fields)
        return rows

    def _settle(self, data: mujoco.MjData) -> None:
        """Steps without control, at the start of an episode.

        As in dm_control, where a step begins with its second half, the first of them takes what
        is derived from positions and velocities from before these were set.
        """
        if self._gymnasium or self._runge_kutta:
            mujoco.mj_step(self.model, data, self._settling_steps)
        else:
            mujoco.mj_step2(self.model, data)
            mujoco.mj_step(self.model, data, self._settling_steps - 1)
        data.time = 0.0

    def _host_contacts(self, qpos: np.ndarray) -> np.ndarray:
        counts = np.zeros((len(qpos), 1), np.int32)

        def count_rows(numbers: np.ndarray) -> None:
            with self._pool.data() as data:
                for row in numbers:
                    data.qpos[:] = qpos[row]
                    mujoco.mj_kinematics(self.model, data)
                    mujoco.mj_comPos(self.model, data)
                    mujoco.mj_collision(self.model, data)
                    counts[row] = data.ncon

        self._split(count_rows, np.flatnonzero(np.isfinite(qpos).all(1)))
        return counts

    def _split(self, run_rows: Callable[[np.ndarray], None], numbers: np.ndarray) -> None:
        """Runs all rows, on several threads if there are."""
        mine, *others = np.array_split(numbers, min(self._threads, len(numbers)) or 1)
        running = [_threads.submit(run_rows, other) for other in others]
        run_rows(mine)
        for other in running:
            other.result()

    def _host_step(self, words: np.ndarray) -> np.ndarray:
        before = words[:, : self._state_words].view(np.float64)
        control = words[:, self._state_words :].view(np.float32)
        # The state begins with the time, which a simulation that failed carries as NaN.
        sound = np.isfinite(control).all(1) & np.isfinite(before[:, 0])
        ids = None if sound.all() else np.flatnonzero(sound)
        rows, states, fields = self._new_rows(len(words))
        with (
            self._pool.batch(before[:, : self._state_size], self._threads) as simulations,
            np.errstate(over="ignore", invalid="ignore"),
        ):
            simulations.control[:] = control
            try:
                simulations.batch.step(ids, self._substeps, self._stage)
            except SimulationError as error:
                sound[error.ids] = False
            states[:, : self._state_size] = simulations.batch.state
            for columns, view in zip(self._columns, simulations.views, strict=False):
                fields[:, columns] = view
            if self._post_constraint:
                self._add_post_constraint(simulations.batch, fields)
            if self._changes:
                np.concatenate(simulations.changing, 1, out=states[:, self._state_size :])
                fields[:, self._change_columns] = (states - before)[:, self._state_size :]
        _fail(np.logical_not(sound), states, fields)
        return rows

    def _add_post_constraint(self, batch: Batch, fields: np.ndarray) -> None:
        """Fills in what Gymnasium's environments ask for after their last substep."""
        with self._pool.data() as data:
            for row in range(batch.nsim):
                batch.get_data(row, data)
                mujoco.mj_rnePostConstraint(self.model, data)
                fields[row, self._value_columns] = _flat(data, self._fields)

    def _new_rows(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Room for results: their words, and views of states and fields."""
        rows = np.empty((count, self._row_size), np.uint32)
        states = rows[:, : self._state_words].view(np.float64)
        return rows, states, rows[:, self._state_words :].view(np.float32)


def _flat(data: mujoco.MjData, names: tuple[str, ...]) -> np.ndarray:
    return np.concatenate([np.empty(0), *(np.ravel(getattr(data, name)) for name in names)])


def _fail(failed: np.ndarray, states: np.ndarray, fields: np.ndarray) -> None:
    """Makes rows NaN that have failed, or whose state says so."""
    failed |= ~np.isfinite(states).all(1)
    if failed.any():
        states[failed] = np.nan
        fields[failed] = np.nan

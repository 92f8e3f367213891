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
from mujoco.batch import MODEL_FIELDS, Batch, SimulationError

from envs.cores import count_cores
from envs.host_call import Function, float_words, host_call
from envs.physics.base import Physics, field_shapes
from envs.physics.simulations import STATE_SIGNATURE, Simulation, SimulationBatch, SimulationPool
from envs.physics.varying import BOUNDS, NOTHING_VARIED, Varied, why_fixed_in_c

_CORES = count_cores()
_threads = ThreadPoolExecutor(max_workers=_CORES, thread_name_prefix="mujoco")


@struct.dataclass
class MujocoState:
    """State of one simulation.

    Attributes:
      bits: `(2 * state_size,)` uint32, MuJoCo's integration state and behind it the fields
        whose change is wanted, each float64 as two words.
      fields: what the task asked for, see `PhysicsState`.
      varied: see `PhysicsState`.
    """

    bits: jax.Array
    fields: dict[str, jax.Array]
    varied: dict[str, jax.Array]


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
        if BOUNDS & set(self._varied):
            # These boxes are constants of the model, and contacts looked for in them alone.
            self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE.value
        # dm_control evaluates the first state of an episode without actuation.
        self._passive_model = copy.copy(self.model)
        self._passive_model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ACTUATION.value
        self._runge_kutta = self.model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4

        self._shapes = field_shapes(self.model, self._fields, self._changes)
        self._columns = _columns([math.prod(shape) for shape in self._shapes.values()])
        self._varied_columns = _columns([getattr(self.model, name).size for name in self._varied])
        width = self._columns[-1].stop
        # A row is the state, the fields whose change is wanted as they are now, and the fields,
        # padded so that every row is aligned for float64.
        self._state_size = mujoco.mj_stateSize(self.model, STATE_SIGNATURE)
        changing = sum(math.prod(self._shapes[f"{name}_change"]) for name in self._changes)
        self._change_columns = slice(width - changing, width)
        self._state_words = 2 * (self._state_size + changing)
        self._row_size = self._state_words + 2 * math.ceil(width / 2)
        self._value_columns = slice(0, width - changing)
        # dm_control derives what depends on positions and velocities after the last substep.
        stage = mujoco.mjtStage.mjSTAGE_NONE if self._gymnasium else mujoco.mjtStage.mjSTAGE_VEL
        self._stage = stage.value
        make_batch = partial(
            SimulationBatch,
            self.model,
            self._fields,
            self._changes,
            self._varied,
            keep_all=self._post_constraint,
        )
        self._pool = SimulationPool(make_batch, self._make_single)
        self._threads = 1

    @staticmethod
    def varies(name: str) -> bool:
        """See `Physics.varies`."""
        return name in MODEL_FIELDS

    def why_fixed(self, name: str) -> str:
        """See `Physics.why_fixed`."""
        return super().why_fixed(name) or why_fixed_in_c(self.model, name)

    def reset(
        self,
        qpos: jax.Array,
        qvel: jax.Array,
        act: jax.Array | None = None,
        varied: Varied = NOTHING_VARIED,
    ) -> MujocoState:
        """See `Physics.reset`."""
        act = jnp.zeros(self.model.na) if act is None else act
        start = jnp.concatenate([qpos, qvel, act])
        return self._call(self._host_reset, float_words(start), self._complete(varied))

    def contacts(self, qpos: jax.Array, varied: Varied = NOTHING_VARIED) -> jax.Array:
        """See `Physics.contacts`."""
        start = jnp.concatenate([qpos.astype(jnp.float32), self._row(self._complete(varied))])
        return host_call(self._host_contacts, start, 1, jnp.int32)[0]

    def step(self, state: MujocoState, control: jax.Array) -> MujocoState:
        """See `Physics.step`."""
        words = jnp.concatenate([state.bits, float_words(control)])
        return self._call(self._host_step, words, state.varied)

    def _row(self, varied: Varied) -> jax.Array:
        """The fields that vary, one after the other, in float32."""
        values = [varied[name].ravel().astype(jnp.float32) for name in self._varied]
        return jnp.concatenate([jnp.zeros(0, jnp.float32), *values])

    def _call(self, host_function: Function, words: jax.Array, varied: Varied) -> MujocoState:
        words = jnp.concatenate([words, float_words(self._row(varied))])
        # Every device makes a call of its own.
        self._threads = max(1, _CORES // jax.local_device_count())
        result = host_call(host_function, words, self._row_size, jnp.uint32)
        packed = jax.lax.bitcast_convert_type(result[self._state_words :], jnp.float32)
        fields = {
            name: packed[columns].reshape(shape)
            for (name, shape), columns in zip(self._shapes.items(), self._columns, strict=True)
        }
        return MujocoState(bits=result[: self._state_words], fields=fields, varied=dict(varied))

    # What follows runs on the host, inside callbacks: numpy only.

    def _host_reset(self, words: np.ndarray) -> np.ndarray:
        starts = words.view(np.float32)
        sizes = (self.model.nq, self.model.nv, self.model.na)
        qpos, qvel, act, varied = np.split(starts, np.cumsum(sizes), axis=1)
        sound = np.isfinite(starts).all(1)
        rows, states, fields = self._new_rows(len(starts))

        def reset_rows(numbers: np.ndarray) -> None:
            with self._pool.single() as simulation, np.errstate(over="ignore"):
                model, passive_model, data = simulation
                for row in numbers:
                    self._vary(simulation, varied[row])
                    mujoco.mj_resetData(model, data)
                    if not self._gymnasium:
                        mujoco.mj_forward(passive_model, data)
                    data.qpos[:] = qpos[row]
                    data.qvel[:] = qvel[row]
                    data.act[:] = act[row]
                    if self._settling_steps:
                        self._settle(model, data)
                    mujoco.mj_forward(model if self._gymnasium else passive_model, data)
                    own = states[row, : self._state_size]
                    mujoco.mj_getState(model, data, own, STATE_SIGNATURE)
                    states[row, self._state_size :] = _flat(data, self._changes)
                    fields[row, self._value_columns] = _flat(data, self._fields)
            fields[numbers, self._change_columns] = 0.0

        self._split(reset_rows, np.flatnonzero(sound))
        _fail(np.logical_not(sound), states, fields)
        return rows

    def _make_single(self) -> Simulation:
        model, passive_model = self.model, self._passive_model
        if self._varied:
            model, passive_model = copy.copy(model), copy.copy(passive_model)
        return Simulation(model, passive_model, mujoco.MjData(model))

    def _vary(self, simulation: Simulation, values: np.ndarray) -> None:
        """Gives a simulation its own fields of the model."""
        for name, columns in zip(self._varied, self._varied_columns, strict=True):
            for model in (simulation.model, simulation.passive_model):
                getattr(model, name).flat = values[columns]

    def _settle(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Steps without control, at the start of an episode.

        As in dm_control, where a step begins with its second half, the first of them takes what
        is derived from positions and velocities from before these were set.
        """
        if self._gymnasium or self._runge_kutta:
            mujoco.mj_step(model, data, self._settling_steps)
        else:
            mujoco.mj_step2(model, data)
            mujoco.mj_step(model, data, self._settling_steps - 1)
        data.time = 0.0

    def _host_contacts(self, starts: np.ndarray) -> np.ndarray:
        qpos, varied = np.split(starts, [self.model.nq], axis=1)
        counts = np.zeros((len(qpos), 1), np.int32)

        def count_rows(numbers: np.ndarray) -> None:
            with self._pool.single() as simulation:
                model, _, data = simulation
                for row in numbers:
                    self._vary(simulation, varied[row])
                    data.qpos[:] = qpos[row]
                    mujoco.mj_kinematics(model, data)
                    mujoco.mj_comPos(model, data)
                    mujoco.mj_collision(model, data)
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
        given = words[:, self._state_words :].view(np.float32)
        control, varied = np.split(given, [self.model.nu], axis=1)
        # The state begins with the time, which a simulation that failed carries as NaN.
        sound = np.isfinite(control).all(1) & np.isfinite(before[:, 0])
        ids = None if sound.all() else np.flatnonzero(sound)
        rows, states, fields = self._new_rows(len(words))
        with (
            self._pool.batch(before[:, : self._state_size], self._threads) as simulations,
            np.errstate(over="ignore", invalid="ignore"),
        ):
            simulations.control[:] = control
            for values, columns in zip(simulations.varied, self._varied_columns, strict=True):
                values[:] = varied[:, columns]
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
        with self._pool.single() as (model, _, data):
            for row in range(batch.nsim):
                if self._varied:
                    batch.get_model(row, model)
                batch.get_data(row, data)
                mujoco.mj_rnePostConstraint(model, data)
                fields[row, self._value_columns] = _flat(data, self._fields)

    def _new_rows(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Room for results: their words, and views of states and fields."""
        rows = np.empty((count, self._row_size), np.uint32)
        states = rows[:, : self._state_words].view(np.float64)
        return rows, states, rows[:, self._state_words :].view(np.float32)


def _columns(sizes: list[int]) -> list[slice]:
    """Where parts of these sizes are, one after the other."""
    ends = itertools.accumulate(sizes, initial=0)
    return [slice(*edges) for edges in itertools.pairwise(ends)]


def _flat(data: mujoco.MjData, names: tuple[str, ...]) -> np.ndarray:
    return np.concatenate([np.empty(0), *(np.ravel(getattr(data, name)) for name in names)])


def _fail(failed: np.ndarray, states: np.ndarray, fields: np.ndarray) -> None:
    """Makes rows NaN that have failed, or whose state says so."""
    failed |= ~np.isfinite(states).all(1)
    if failed.any():
        states[failed] = np.nan
        fields[failed] = np.nan

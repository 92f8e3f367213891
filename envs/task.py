"""A task over MuJoCo physics: pure functions of named fields, and the environment they make."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct

from envs.base import Drawable, TimeStep, select
from envs.physics.base import POST_CONSTRAINT_FIELDS, PhysicsState, Reading, field_shapes
from envs.physics.engines import make_physics
from envs.physics.varying import NOTHING_VARIED, Varied, without_short_cuts
from envs.registry import TaskError

# Apart from the number of every attempt, see `Task.retry`.
_ACTIVATIONS, _MODEL = 2**31 - 1, 2**31 - 2
# Fields that MuJoCo leaves at zero unless a sensor or a flag asks for them -> where they are.
_NOT_COMPUTED = {
    "subtree_linvel": "a sensor, subtreelinvel",
    "subtree_angmom": "a sensor, subtreeangmom",
    "energy": "sensors, e_kinetic and e_potential",
    "qfrc_inverse": "forces that are computed, qfrc_actuator for example",
}


class Task:
    """What makes a model into a task. Subclasses resolve names to indices once, in `__init__`.

    The functions receive `data`, whose attributes are the fields that the task asked for
    (`data.qpos`, `data.xmat`, ... see `PhysicsState.fields`), and `variables`, whatever
    `initialize` drew for the episode beyond the physics (a target position, say).

    Attributes:
      model: the compiled MuJoCo model.
      fields: names of the fields that the functions read.
      substeps: simulation steps per control interval.
      settling_steps: simulation steps without control before an episode begins.
      most_attempts: how many starts to try until one is found in which nothing touches. One
        takes the first start as it is.
      reading: to which instant derived fields belong after a step, see `Physics`.
      changes: names of fields whose change over the control interval the functions read too,
        as `data.qpos_change` for example.
      room: for how many contacts and constraints MuJoCo Warp has room in a simulation.
    """

    model: mujoco.MjModel
    fields: tuple[str, ...]
    substeps: int = 1
    settling_steps: int = 0
    most_attempts: int = 1
    reading: Reading = "dm_control"
    changes: tuple[str, ...] = ()
    room: tuple[int, int] = (64, 128)

    def mjx_model(self) -> mujoco.MjModel:
        """The model for MJX: `model`, unless it has something in it that MJX cannot simulate.

        A task that changes the model here says what it changes and what difference that makes.
        Numbers of bodies, joints, sensors, ... must remain the same.
        """
        return self.model

    def warp_model(self) -> mujoco.MjModel:
        """The same for MuJoCo Warp."""
        return self.model

    def action_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest actions, `(nu,)` each: those of the controls, unless overridden."""
        _check_control_ranges(self.model)
        low, high = self.model.actuator_ctrlrange.T
        return low.copy(), high.copy()

    def control(self, action: jax.Array) -> jax.Array:
        """The `(nu,)` controls of an action: itself, unless overridden."""
        return action

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """Draws the start of an episode: `(nq,)` positions, `(nv,)` velocities, variables."""
        raise NotImplementedError

    def retry(self, key: jax.Array, attempt: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """The start to try in attempt number `attempt`, from zero: a new one, unless overridden."""
        return self.initialize(jax.random.fold_in(key, attempt))

    def activate(self, key: jax.Array) -> jax.Array:
        """Draws the actuators' activations at the start, `(na,)`. Zeros, unless overridden."""
        return jnp.zeros(self.model.na)

    def vary(self, key: jax.Array) -> dict[str, jax.Array]:
        """Draws what the model is in an episode: field -> its values, in MuJoCo's shape.

        The model as it is, unless overridden. What MuJoCo's compiler takes from a field (an inertia
        from sizes, `body_invweight0` from masses) stays the model's, unless it is drawn here too;
        `derive` in `envs/physics/varying.py` has what follows by itself.
        """
        return {}

    def observe(self, data: Any, variables: Any) -> jax.Array:
        """The flat observation, `(observation_size,)`."""
        raise NotImplementedError

    def advance(self, data: Any, variables: Any) -> Any:
        """The variables after the step that led to `data`: as before, unless overridden.

        It is these that the other functions receive for this step.
        """
        return variables

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """The reward of the step that led to `data`, `()`."""
        raise NotImplementedError

    def terminated(self, data: Any, variables: Any) -> jax.Array:
        """Whether the episode ends in `data`, `()` bool. Never, unless a task says otherwise."""
        return jnp.zeros((), bool)

    def success(self, data: Any, variables: Any) -> jax.Array:
        """Whether the task counts as solved in `data`, `()` bool."""
        return jnp.zeros((), bool)

    def show(self, model: mujoco.MjModel, variables: Any) -> None:
        """Puts into a model what only a picture needs of the variables (a target's place, say)."""


@struct.dataclass
class TaskState:
    """State of a `TaskEnvironment`: the engine's state and the task's variables."""

    physics: Any
    variables: Any


class TaskEnvironment(Drawable):
    """The `Environment` that a task and an engine make. Actions are the task's."""

    def __init__(self, task: Task, physics: str):
        """Joins `task` with the engine called `physics`. Compiles nothing.

        Raises:
          TaskError: if an actuator of the model has no range to take actions from, a field has no
            value that engines agree on, or the task varies what is the same in all simulations of
            an engine.
        """
        self.task, self._engine = task, physics
        _check_fields(task)
        self._varied = varied = _varied_fields(task)
        models = {"mjx": task.mjx_model, "warp": task.warp_model}
        own_model = models.get(physics.partition(":")[0], lambda: task.model)
        self.physics = make_physics(
            physics,
            own_model(),
            task.fields,
            task.substeps,
            task.settling_steps,
            task.reading,
            task.changes,
            varied,
            room=task.room,
        )
        for name in varied:
            if reason := self.physics.why_fixed(name):
                raise TaskError(f"in physics {physics} {name} cannot vary: {reason}")
        self.action_size = task.model.nu
        self.action_low, self.action_high = task.action_range()
        (self.observation_size,) = jax.eval_shape(self._observe_zeros).shape
        self.interval = float(task.model.opt.timestep * task.substeps)

    def _observe_zeros(self) -> jax.Array:
        shapes = field_shapes(self.task.model, self.task.fields, self.task.changes)
        data = SimpleNamespace(**{name: jnp.zeros(shape) for name, shape in shapes.items()})
        _, _, variables = self.task.initialize(jax.random.key(0))
        return self.task.observe(data, variables)

    def reset(self, key: jax.Array) -> tuple[TaskState, jax.Array]:
        """Starts an episode, see `Environment.reset`.

        Raises:
          TaskError: if the engine cannot simulate the model, or has none of a field.
        """
        return self._begin(key, jnp.ones((), bool))

    def restart(
        self, state: TaskState, key: jax.Array, ended: jax.Array
    ) -> tuple[TaskState, jax.Array]:
        """See `Environment.restart`. The C engine only works where an episode has ended."""
        fresh, observation = self._begin(key, ended)
        return select(ended, fresh, state), observation

    def _begin(self, key: jax.Array, wanted: jax.Array) -> tuple[TaskState, jax.Array]:
        if reason := self.physics.why_unsupported():
            raise TaskError(f"physics {self._engine} cannot do this ({reason}): take mujoco")
        varied = self.task.vary(jax.random.fold_in(key, _MODEL))
        qpos, qvel, variables = self.draw(key, wanted, varied)
        act = self.task.activate(jax.random.fold_in(key, _ACTIVATIONS))
        physics = self.physics.reset(qpos, qvel, act, varied)
        observation = self.task.observe(_data(physics), variables)
        return TaskState(physics=physics, variables=variables), observation

    def draw(
        self, key: jax.Array, wanted: jax.Array | bool = True, varied: Varied = NOTHING_VARIED
    ) -> tuple[jax.Array, jax.Array, Any]:
        """The task's draw of a start, see `Task.initialize`; one without contacts if so asked.

        Every attempt is made for a whole batch at once, until all of its members have a start.
        A member that runs out of attempts gets NaN, which its first observation reports; so does
        one for which no start is wanted.
        """
        task = self.task
        if task.most_attempts == 1:
            qpos, qvel, variables = task.initialize(key)
            return jnp.where(wanted, qpos, jnp.nan), qvel, variables
        shapes = jax.eval_shape(task.initialize, key)
        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        def unfinished(carry):
            attempts, contacts, _ = carry
            return (contacts > 0) & (attempts < task.most_attempts)

        def attempt(carry):
            attempts, _, _ = carry
            start = task.retry(key, attempts)
            return attempts + 1, self.physics.contacts(start[0], varied), start

        contacts = jnp.asarray(wanted, jnp.int32)
        begin = (jnp.zeros((), jnp.int32), contacts, nothing)
        _, contacts, (qpos, qvel, variables) = jax.lax.while_loop(unfinished, attempt, begin)
        return jnp.where(wanted & (contacts == 0), qpos, jnp.nan), qvel, variables

    def step(self, state: TaskState, action: jax.Array) -> tuple[TaskState, TimeStep]:
        """Takes one step, see `Environment.step`."""
        physics = self.physics.step(state.physics, self.task.control(action))
        data = _data(physics)
        variables = self.task.advance(data, state.variables)
        observation = self.task.observe(data, variables)
        # An indicator reward would report a diverged simulation as a mere failure.
        diverged = ~jnp.isfinite(observation).all()
        reward = jnp.where(diverged, jnp.nan, self.task.reward(data, variables))
        timestep = TimeStep(
            observation=observation,
            reward=reward,
            terminated=self.task.terminated(data, variables),
            truncated=jnp.zeros((), bool),
            success=self.task.success(data, variables),
        )
        return TaskState(physics=physics, variables=variables), timestep

    def mujoco_model(self) -> mujoco.MjModel:
        """See `Drawable.mujoco_model`."""
        return without_short_cuts(self.task.model, self._varied)

    def pose(self, model: mujoco.MjModel, data: mujoco.MjData, state: TaskState) -> None:
        """See `Drawable.pose`; of the C engine's states."""
        bits = np.asarray(state.physics.bits).view(np.float64)
        signature = mujoco.mjtState.mjSTATE_INTEGRATION
        size = mujoco.mj_stateSize(model, signature)
        mujoco.mj_setState(model, data, bits[:size], signature)
        for name, values in state.physics.varied.items():
            getattr(model, name)[:] = values
        self.task.show(model, state.variables)


def _check_control_ranges(model: mujoco.MjModel) -> None:
    low, high = model.actuator_ctrlrange.T
    for number in np.flatnonzero(~model.actuator_ctrllimited.astype(bool) | (low >= high)):
        name = model.actuator(number).name or number
        raise TaskError(
            f"actuator {name} has no range of controls: give it ctrllimited and ctrlrange"
        )


def _check_fields(task: Task) -> None:
    data = mujoco.MjData(task.model)
    for name in (*task.fields, *task.changes):
        if name in _NOT_COMPUTED:
            raise TaskError(f"field {name} is not computed by itself: read {_NOT_COMPUTED[name]}")
        if not isinstance(getattr(data, name, None), np.ndarray) or name.startswith("efc_"):
            raise TaskError(f"{name!r} is no array of constant size in mujoco.MjData: drop it")
        if name in POST_CONSTRAINT_FIELDS and task.reading == "dm_control":
            raise TaskError(
                f'field {name} is not what dm_control would read: give the task reading="gymnasium"'
                ", or the model a sensor of forces or accelerations"
            )


def _varied_fields(task: Task) -> tuple[str, ...]:
    """Names of what `Task.vary` draws."""
    drawn = jax.eval_shape(lambda: task.vary(jax.random.key(0)))
    for name, values in drawn.items():
        shape = getattr(getattr(task.model, name, None), "shape", None)
        if values.shape != shape:
            raise TaskError(f"vary draws {name}, {values.shape}, and of the model it is {shape}")
    return tuple(drawn)


def _data(physics: PhysicsState) -> SimpleNamespace:
    return SimpleNamespace(**physics.fields)

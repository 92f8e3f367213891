"""The same physics in XLA, for accelerators."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from mujoco import mjx

from envs.physics.base import OF_LAST_SUBSTEP, Physics, field_shapes
from envs.physics.corrections.algebra import compact_algebra
from envs.physics.corrections.cholesky import serial_cholesky
from envs.physics.corrections.contacts import contacts_of_c
from envs.physics.corrections.frames import frames_of_c
from envs.physics.corrections.line_search import short_line_search
from envs.physics.corrections.tendons import tendons_of_c
from envs.physics.varying import LOSSES, NOTHING_VARIED, SMALLEST_LOSS, Varied


@struct.dataclass
class MjxState:
    """State of one simulation: what the next step depends on, and the fields.

    Attributes:
      carried: name -> array of `mjx.Data`; everything else is derived from these.
      fields: what the task asked for, see `PhysicsState`.
      varied: see `PhysicsState`.
    """

    carried: dict[str, jax.Array]
    fields: dict[str, jax.Array]
    varied: dict[str, jax.Array] = struct.field(default_factory=dict)


@contextlib.contextmanager
def _corrected() -> Iterator[None]:
    """Inside, MJX is traced with what is put right about it, and computes in full float32."""
    with (
        jax.default_matmul_precision("float32"),
        contacts_of_c(),
        tendons_of_c(),
        compact_algebra(),
        short_line_search(),
        serial_cholesky(),
    ):
        yield


class MjxPhysics(Physics):
    """`Physics` on MuJoCo XLA, one simulation at a time; `vmap` makes the batch.

    Attributes:
      carried: names of what the next step depends on, besides `changes`.
    """

    # Acceleration sensors belong to the last substep, so sensordata cannot be derived afterwards.
    carried: tuple[str, ...] = ("time", "qpos", "qvel", "act", "qacc_warmstart", "sensordata")

    def __init__(self, *arguments: Any, **named: Any):
        """See `Physics`."""
        super().__init__(*arguments, **named)
        self._shapes = field_shapes(self.model, self._fields)
        self._loaded: tuple[Any, Any, Any] | None = None

    @staticmethod
    def varies(name: str) -> bool:
        """See `Physics.varies`."""
        known = {field.name: field.type for field in dataclasses.fields(mjx.Model)}
        return known.get(name) is jax.Array

    def reset(
        self,
        qpos: jax.Array,
        qvel: jax.Array,
        act: jax.Array | None = None,
        varied: Varied = NOTHING_VARIED,
    ) -> MjxState:
        """See `Physics.reset`."""
        return self._reset(qpos, qvel, act, dict(self._complete(varied)))

    # Both are jitted so that they are traced once, which takes seconds, and not at each of the
    # dozen places of a program at which they are called.

    @functools.partial(jax.jit, static_argnums=0)
    @_corrected()
    def _reset(
        self, qpos: jax.Array, qvel: jax.Array, act: jax.Array | None, varied: dict[str, jax.Array]
    ) -> MjxState:
        model, passive_model, data = self._load(varied)
        act = data.act if act is None else act
        data = data.replace(qpos=qpos, qvel=qvel, act=act)
        if self._settling_steps:
            settled = self._advance(model, data, self._settling_steps)
            # Nothing else: without actuation MJX leaves an actuator's force as it is.
            data = data.replace(**self._carried(settled)).replace(time=jnp.zeros_like(data.time))
        data = mjx.forward(model if self._gymnasium else passive_model, data)
        state = self._state(data, self._carried(data))
        return dataclasses.replace(state, varied=varied)

    def contacts(self, qpos: jax.Array, varied: Varied = NOTHING_VARIED) -> jax.Array:
        """See `Physics.contacts`."""
        model, _, data = self._load(self._complete(varied))
        data = mjx.collision(model, mjx.kinematics(model, data.replace(qpos=qpos)))
        contact = data._impl.contact
        return (contact.dist < contact.includemargin).sum(dtype=jnp.int32)

    def step(self, state: MjxState, control: jax.Array) -> MjxState:
        """See `Physics.step`."""
        return self._step(state, control)

    @functools.partial(jax.jit, static_argnums=0)
    @_corrected()
    def _step(self, state: MjxState, control: jax.Array) -> MjxState:
        model, _, data = self._load(state.varied)
        data = self._advance(model, data.replace(ctrl=control, **state.carried), self._substeps)
        following = self._state(data, state.carried)
        return dataclasses.replace(following, varied=state.varied)

    def _advance(self, model: Any, data: Any, steps: int) -> Any:
        """Steps, then (as dm_control does) derives what depends on positions and velocities."""
        if self._gymnasium:
            data = jax.lax.fori_loop(0, steps, lambda _, data: _typed_step(model, data), data)
            if self._post_constraint:
                data = mjx.rne_postconstraint(model, data)
            return data

        kept = sorted(OF_LAST_SUBSTEP & set(self._fields))

        def what_is_kept(data: Any) -> dict[str, jax.Array]:
            return self._carried(data) | {name: jnp.asarray(_field(data, name)) for name in kept}

        def substep(_, carried):
            return what_is_kept(mjx.step(model, data.replace(**carried)))

        carried = jax.lax.fori_loop(0, steps, substep, what_is_kept(data))
        # The compiler drops whatever of this no field needs, collisions for example.
        data = mjx.fwd_position(model, data.replace(**carried))
        data = mjx.sensor_pos(model, data)
        data = mjx.fwd_velocity(model, data)
        return mjx.sensor_vel(model, data)

    def _state(self, data: Any, before: dict[str, jax.Array]) -> MjxState:
        fields = {
            name: jnp.asarray(_field(data, name), jnp.float32).reshape(shape)
            for name, shape in self._shapes.items()
        }
        for name in self._changes:
            change = getattr(data, name) - before[name]
            fields[f"{name}_change"] = change.astype(jnp.float32)
        return MjxState(carried=self._carried(data), fields=fields)

    def _carried(self, data: Any) -> dict[str, jax.Array]:
        names = (*self.carried, *self._changes)
        return {name: jnp.asarray(getattr(data, name)) for name in names}

    def _load(self, varied: Varied) -> tuple[Any, Any, Any]:
        """The model, the model without actuation, and blank data, as constants of a trace.

        Fields of the models that vary are those given.

        Made at the first trace, because it runs small XLA programs, and kept as numpy arrays,
        because a program for several devices cannot close over arrays that live on one.
        """
        if self._loaded is None:
            with jax.ensure_compile_time_eval():
                model = mjx.put_model(frames_of_c(self.model), impl="jax")
                data = mjx.make_data(self.model, impl="jax")
            # As in the suite, the first state of an episode is evaluated without actuation.
            flags = model.opt.disableflags | mjx.DisableBit.ACTUATION
            passive_model = model.replace(opt=model.opt.replace(disableflags=flags))
            self._loaded = hold((model, passive_model, data))
        model, passive_model, data = held(self._loaded)
        losses = {n: jnp.maximum(varied[n], SMALLEST_LOSS) for n in LOSSES & set(varied)}
        varied = {**varied, **losses}
        return model.replace(**varied), passive_model.replace(**varied), data


@dataclasses.dataclass(frozen=True)
class _Constant:
    value: np.ndarray


def hold(tree: Any) -> Any:
    """Arrays of JAX as numpy. MJX keeps some leaves as numpy of its own: these stay."""
    return jax.tree.map(
        lambda leaf: _Constant(np.asarray(leaf)) if isinstance(leaf, jax.Array) else leaf, tree
    )


def held(tree: Any) -> Any:
    """What `hold` has taken, as constants of a trace."""
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf.value) if isinstance(leaf, _Constant) else leaf,
        tree,
        is_leaf=lambda leaf: isinstance(leaf, _Constant),
    )


def _typed_step(model: Any, data: Any) -> Any:
    """A step whose result has the types of what it began with, so that it can be repeated."""
    stepped = mjx.step(model, data)
    return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), stepped, data)


def _field(data: Any, name: str) -> jax.Array:
    """A field of `data`, also one that MJX counts among the details of its implementation."""
    return getattr(data._impl if hasattr(data._impl, name) else data, name)

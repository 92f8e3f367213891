"""The same physics in XLA, for accelerators."""

import contextlib
import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Iterator
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
from envs.physics.worlds import simulate_together

# Of what MuJoCo 3.17 simulates, fields of a model that MJX takes without a word and does not use.
_UNUSED = (
    *("actuator_actearly", "actuator_armature", "actuator_damping", "actuator_dampingpoly"),
    *("dof_dampingpoly", "jnt_stiffnesspoly", "tendon_dampingpoly", "tendon_stiffnesspoly"),
    *("flg_adhesion", "flg_surfacevel", "geom_fluid", "nhistory", "nplugin"),
    *("opt.disableactuator", "opt.noslip_iterations"),
)


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
      unused: fields of a model that have to be zero, because they would do nothing.
    """

    unused: tuple[str, ...] = _UNUSED

    # Acceleration sensors belong to the last substep, so sensordata cannot be derived afterwards.
    carried: tuple[str, ...] = ("time", "qpos", "qvel", "act", "qacc_warmstart", "sensordata")

    def __init__(self, *arguments: Any, **named: Any):
        """See `Physics`."""
        super().__init__(*arguments, **named)
        self._shapes = field_shapes(self.model, self._fields)
        self._loaded: Any = None
        self._kept = sorted(OF_LAST_SUBSTEP & set(self._fields))
        self._traced_substep = jax.jit(self._substep)  # one for resets and steps
        functions = (self._begin, self._interval, self._count)
        self._begin_all, self._interval_all, self._count_all = map(self._for_all, functions)

    def _for_all(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of one simulation, for `simulate_together`.

        Traced once, and batched once for every number of simulations.
        """

        @jax.jit
        def of_one(start: dict[str, jax.Array], varied: Varied) -> Any:
            *models, data = self._load(varied)
            return function(tuple(models), data.replace(**start), {**start, **varied})

        @functools.partial(jax.jit, static_argnums=0)
        def for_all(on_cpu: bool, start: dict[str, jax.Array], varied: Varied) -> Any:
            return jax.vmap(of_one)(start, varied)

        return _corrected()(for_all)

    def _outline(self) -> MjxState:
        """Shapes and types of what the engine returns for one simulation."""
        carried = field_shapes(self.model, (*self.carried, *self._changes))
        fields = self._shapes | field_shapes(self.model, (), self._changes)
        number = jnp.zeros(()).dtype  # float64 where JAX is told so
        outline: Any = jax.ShapeDtypeStruct
        return MjxState(
            carried={name: outline(shape, number) for name, shape in carried.items()},
            fields={name: outline(shape, jnp.float32) for name, shape in fields.items()},
        )

    @staticmethod
    def varies(name: str) -> bool:
        """See `Physics.varies`."""
        known = {field.name: field.type for field in dataclasses.fields(mjx.Model)}
        return known.get(name) is jax.Array

    def why_unsupported(self) -> str:
        """See `Physics.why_unsupported`."""
        if reason := self._left_out():
            return reason
        try:
            *_, data = self._held()
        except NotImplementedError as error:
            return str(error).rstrip(".")
        for name, shape in self._shapes.items():
            if not _has(data, name) or np.size(held(_field(data, name))) != math.prod(shape):
                return f"it has no {name}"
        return ""

    def _left_out(self) -> str:
        """What the model has and the engine would leave out without a word; empty if nothing."""
        option, groups = self.model.opt, self.model.actuator_group.tolist()
        has_no_effect = {
            "geom_fluid": not (option.density or option.viscosity),
            "opt.disableactuator": not any(option.disableactuator >> group & 1 for group in groups),
        }
        for name in self.unused:
            if np.any(operator.attrgetter(name)(self.model)) and not has_no_effect.get(name):
                return f"it does nothing with {name}"
        return ""

    def reset(
        self,
        qpos: jax.Array,
        qvel: jax.Array,
        act: jax.Array | None = None,
        varied: Varied = NOTHING_VARIED,
    ) -> MjxState:
        """See `Physics.reset`."""
        act = jnp.zeros(self.model.na) if act is None else act
        outline = self._outline()
        start = {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in outline.carried.items()}
        start |= {"ctrl": jnp.zeros(self.model.nu), "qpos": qpos, "qvel": qvel, "act": act}
        varied = dict(self._complete(varied))
        state = simulate_together(self._begin_all, outline, start, varied)
        return dataclasses.replace(state, varied=varied)

    def contacts(self, qpos: jax.Array, varied: Varied = NOTHING_VARIED) -> jax.Array:
        """See `Physics.contacts`."""
        outline = jax.ShapeDtypeStruct((), jnp.int32)
        varied = dict(self._complete(varied))
        return simulate_together(self._count_all, outline, {"qpos": qpos}, varied)

    def step(self, state: MjxState, control: jax.Array) -> MjxState:
        """See `Physics.step`."""
        start = {"ctrl": control, **state.carried}
        following = simulate_together(self._interval_all, self._outline(), start, state.varied)
        return dataclasses.replace(following, varied=state.varied)

    # Of one simulation: `start` is name -> array of `mjx.Data` with which it began, and of
    # `mjx.Model` what varies.

    def _begin(self, models: tuple, data: Any, start: dict[str, jax.Array]) -> Any:
        model, passive_model = models
        if self._settling_steps:
            settled = self._repeat(model, data, start, self._settling_steps)
            # Nothing else: without actuation MJX leaves an actuator's force as it is.
            data = data.replace(**self._carried(settled)).replace(time=jnp.zeros_like(data.time))
        data = mjx.forward(model if self._gymnasium else passive_model, data)
        return self._state(data, self._carried(data))

    def _interval(self, models: tuple, data: Any, start: dict[str, jax.Array]) -> Any:
        model, _ = models
        data = self._repeat(model, data, start, self._substeps)
        if not self._gymnasium:
            # As dm_control does. The compiler drops whatever of it no field needs.
            data = mjx.sensor_pos(model, mjx.fwd_position(model, data))
            data = mjx.sensor_vel(model, mjx.fwd_velocity(model, data))
        elif self._post_constraint:
            data = mjx.rne_postconstraint(model, data)
        return self._state(data, start)

    def _count(self, models: tuple, data: Any, start: dict[str, jax.Array]) -> Any:
        model, _ = models
        data = mjx.collision(model, mjx.kinematics(model, data))
        contact = data._impl.contact
        return (contact.dist < contact.includemargin).sum(dtype=jnp.int32)

    def _repeat(self, model: Any, data: Any, start: dict[str, jax.Array], steps: int) -> Any:
        if self._gymnasium:
            return jax.lax.fori_loop(0, steps, lambda _, data: _typed_step(model, data), data)

        def substep(_: Any, kept: dict[str, jax.Array]) -> dict[str, jax.Array]:
            return self._traced_substep(start | kept)

        return data.replace(**jax.lax.fori_loop(0, steps, substep, self._to_keep(data)))

    def _substep(self, start: dict[str, jax.Array]) -> dict[str, jax.Array]:
        model, _, data = self._load({name: start[name] for name in self._varied})
        own = {name: start[name] for name in start if name not in self._varied}
        return self._to_keep(mjx.step(model, data.replace(**own)))

    def _to_keep(self, data: Any) -> dict[str, jax.Array]:
        last = {name: jnp.asarray(_field(data, name)) for name in self._kept}
        return self._carried(data) | last

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

    def _held(self) -> Any:
        """The model, the model without actuation, and blank data.

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
        return self._loaded

    def _load(self, varied: Varied) -> tuple[Any, Any, Any]:
        """What is held, as constants of a trace, but for what varies of the models."""
        model, passive_model, data = held(self._held())
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


def _has(data: Any, name: str) -> bool:
    return hasattr(data, name) or hasattr(data._impl, name)


def _field(data: Any, name: str) -> jax.Array:
    """A field of `data`, also one that MJX counts among the details of its implementation."""
    return getattr(data._impl if hasattr(data._impl, name) else data, name)

"""MuJoCo Warp inside the compiled program: what the C engine collides and integrates, on GPUs.

All worlds (runs, environments) of a device are one batch, however many `vmap`s are around a call.
Warp has room for so many contacts and constraints and leaves out what is beyond. Here that is an
error, which ends the program at that very step.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import warp
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir
from mujoco import mjx
from mujoco.mjx.third_party.mujoco_warp import OverflowType
from mujoco.mjx.warp.collision_driver import collision
from mujoco.mjx.warp.types import _BATCH_DIM, GraphMode

from envs.host_call import HostEnvironmentError, host_call
from envs.physics.base import OF_LAST_SUBSTEP, field_shapes
from envs.physics.corrections import capsules
from envs.physics.mjx import MjxPhysics, MjxState, held, hold
from envs.physics.varying import NOTHING_VARIED, Varied

warp.config.log_level = warp.LOG_ERROR  # else it writes a line for each of its many kernels
capsules.apply()

_STATE = frozenset({"time", "qpos", "qvel", "act", "ctrl"})

# Warp's flags for what was left out because there was no room for it.
_OVERFLOWS = int(
    OverflowType.ALL
    & ~(OverflowType.EPA_HORIZON | OverflowType.ITERATIONS | OverflowType.LS_ITERATIONS)
)


class WarpPhysics(MjxPhysics):
    """`Physics` on MuJoCo Warp, by way of MJX."""

    carried = ("time", "qpos", "qvel", "act", "qacc_warmstart")

    def __init__(self, *arguments: Any, room: tuple[int, int], times: int = 1, **named: Any):
        """See `Physics`.

        Args:
          room: for so many contacts and constraints per world. (All worlds share the first.)
          times: how many times that.
        """
        super().__init__(*arguments, **named)
        self._times = times
        self._contacts, self._constraints = (times * number for number in room)
        stages = np.repeat(self.model.sensor_needstage, self.model.sensor_dim)
        self._acceleration = stages == mujoco.mjtStage.mjSTAGE_ACC.value
        derived = set(self._fields) - _STATE - OF_LAST_SUBSTEP
        if self._acceleration.all():
            derived -= {"sensordata"}
        self._derives = bool(derived) and not self._gymnasium

    @staticmethod
    def varies(name: str) -> bool:
        """See `Physics.varies`."""
        return MjxPhysics.varies(name) and _BATCH_DIM["Model"].get(name, False)

    def reset(
        self,
        qpos: jax.Array,
        qvel: jax.Array,
        act: jax.Array | None = None,
        varied: Varied = NOTHING_VARIED,
    ) -> MjxState:
        """See `Physics.reset`."""
        act = jnp.zeros(self.model.na) if act is None else act
        start = {"qpos": qpos, "qvel": qvel, "act": act}
        varied = self._complete(varied)
        state = self._for_all(self._begin, self._outline, start, varied)
        return dataclasses.replace(state, varied=dict(varied))

    def step(self, state: MjxState, control: jax.Array) -> MjxState:
        """See `Physics.step`."""
        start = {"ctrl": control, **state.carried}
        following = self._for_all(self._interval, self._outline, start, state.varied)
        return dataclasses.replace(following, varied=state.varied)

    def contacts(self, qpos: jax.Array, varied: Varied = NOTHING_VARIED) -> jax.Array:
        """See `Physics.contacts`."""
        outline = jax.ShapeDtypeStruct((), jnp.int32)
        return self._for_all(self._count, outline, {"qpos": qpos}, self._complete(varied))

    # What follows is traced for one world, with `vmap` around it, once it is known how many there
    # are. `start` is what a world began with; `needs` see `_needs`.

    def _begin(self, models: tuple, data: Any, start: dict, world: jax.Array) -> tuple:
        model, passive_model, _ = models
        needs = jnp.zeros(4, jnp.int32)
        if self._settling_steps:
            data, needs = _repeat(model, data, self._settling_steps)
            data = data.replace(time=jnp.zeros_like(data.time))
        data = mjx.forward(model if self._gymnasium else passive_model, data)
        return self._state(data, self._carried(data)), jnp.maximum(needs, _needs(data))

    def _interval(self, models: tuple, data: Any, start: dict, world: jax.Array) -> tuple:
        model, _, smooth_model = models
        data, needs = _repeat(model, data, self._substeps)
        state = self._state(data, start)
        if self._derives:
            derived = self._state(mjx.forward(smooth_model, data), start)
            state = self._joined(state, derived)
        return state, needs

    def _count(self, models: tuple, data: Any, start: dict, world: jax.Array) -> tuple:
        data = collision(models[0], mjx.kinematics(models[0], data))
        found = data._impl
        touches = found.contact__dist < found.contact__includemargin
        touches &= jnp.arange(len(touches)) < found.nacon
        # Contacts of all worlds are in one list.
        counts = jnp.zeros(len(touches), jnp.int32).at[found.contact__worldid].add(touches)
        return counts[world], _needs(data)

    def _joined(self, state: MjxState, derived: MjxState) -> MjxState:
        """A state after the last substep, with what dm_control derives anew from it."""
        anew = {
            name: value for name, value in derived.fields.items() if name not in OF_LAST_SUBSTEP
        }
        if "sensordata" in anew:
            last = state.fields["sensordata"]
            anew["sensordata"] = jnp.where(self._acceleration, last, anew["sensordata"])
        changing = {name: derived.carried[name] for name in self._changes}
        return MjxState(carried=state.carried | changing, fields=state.fields | anew)

    @functools.cached_property
    def _outline(self) -> Any:
        """Shapes of the state of a world."""
        data = mujoco.MjData(self.model)
        carried = {
            name: jax.ShapeDtypeStruct(np.shape(getattr(data, name)), jnp.float32)
            for name in (*self.carried, *self._changes)
        }
        shapes = field_shapes(self.model, self._fields, self._changes)
        fields = {name: jax.ShapeDtypeStruct(size, jnp.float32) for name, size in shapes.items()}
        return MjxState(carried=carried, fields=fields)  # type: ignore[arg-type]  # shapes

    def _for_all(
        self,
        function: Callable[..., Any],
        outline: Any,
        start: dict[str, jax.Array],
        varied: Varied,
    ) -> Any:
        """Simulates the worlds of all `vmap`s around it at once.

        Args:
          function: of the above.
          outline: shapes of its result for one world.
          start: name -> array of `mjx.Data` for one world.
          varied: the same of `mjx.Model`.
        """
        arrays = {**start, **varied}
        results = _simulate.bind(
            *(jnp.asarray(array, jnp.float32) for array in arrays.values()),
            function=function,
            names=tuple(arrays),
            ranks=tuple(jnp.ndim(array) for array in arrays.values()),
            outline=tuple(jax.tree.leaves(outline)),
        )
        return jax.tree.unflatten(jax.tree.structure(outline), results)

    def simulate_all(
        self, mode: GraphMode, function: Callable[..., Any], arrays: dict[str, jax.Array]
    ) -> Any:
        """The function's result for all worlds; arrays have them in the first dimension.

        Worlds that begin with a number that is not finite are simulated from the model's default;
        their results are NaN (of integers zero), and so are those of worlds that diverge.
        """
        worlds = len(arrays["qpos"])
        models, blank = held(self._held())
        models = tuple(model.tree_replace({"opt._impl.graph_mode": mode}) for model in models)
        blank = self._with_room(blank, worlds)
        sound = _finite(arrays)

        def simulate(arrays: dict[str, jax.Array], sound: jax.Array, world: jax.Array) -> tuple:
            start: dict[str, jax.Array] = {}
            changed: dict[str, jax.Array] = {}
            for name, value in arrays.items():
                whole, own = (models[0], changed) if name in self._varied else (blank, start)
                usual = getattr(whole, name)
                # Of some fields Warp has the same rows in other shapes than MuJoCo.
                own[name] = jnp.where(sound, value.reshape(usual.shape), usual)
            own_models = tuple(model.replace(**changed) for model in models)
            return function(own_models, blank.replace(**start), start, world)

        result, needs = jax.vmap(simulate)(arrays, sound, jnp.arange(worlds))
        sound &= _finite(result) & self._had_room(needs.max(0), worlds)
        return jax.tree.map(
            lambda leaf: jnp.where(_like(sound, leaf), leaf, _nothing(leaf)), result
        )

    def _had_room(self, needs: jax.Array, worlds: int) -> jax.Array:
        """True, `()` bool, or the program ends with an error.

        (The call to the host also keeps JAX from storing the compiled program for other processes,
        in which the numbers by which Warp knows its functions stand for others.)
        """
        room = jnp.array([self._contacts * worlds] * 2 + [self._constraints, 0])
        refuse = partial(self._refuse, worlds)
        return jax.lax.cond(
            (needs > room).any(),
            lambda needs: host_call(refuse, needs, 1, jnp.int32)[0] > 0,
            lambda needs: jnp.ones((), bool),
            needs,
        )

    def _refuse(self, worlds: int, needs: np.ndarray) -> np.ndarray:
        contacts, candidates, constraints, flags = (int(number) for number in needs[0])
        contacts = max(contacts, candidates)
        ratio = max(contacts / (self._contacts * worlds), constraints / self._constraints)
        raise HostEnvironmentError(
            f"{self.name}: physics warp has room for {self._contacts * worlds} contacts in {worlds}"
            f" worlds and {self._constraints} constraints in one, and now {contacts} and "
            f"{constraints} are needed{_named(flags)}: give --physics "
            f"warp:{max(2, math.ceil(self._times * 1.25 * ratio))}, which has more"
        )

    def _held(self) -> Any:
        """The models (as it is, without actuation, without constraints) and blank data."""
        if self._loaded is None:
            with jax.ensure_compile_time_eval():
                model = mjx.put_model(self.model, impl="warp", graph_mode=GraphMode.NONE)
                data = mjx.make_data(
                    self.model, impl="warp", naconmax=1, naccdmax=1, njmax=self._constraints
                )
            model = model.tree_replace(
                {
                    "opt._impl.warn_overflow": 0,
                    "opt._impl.run_rne_postconstraint": self._post_constraint,
                }
            )
            self._loaded = hold(((model, *map(partial(_without, model), _LEFT_OUT)), data))
        return self._loaded

    def _with_room(self, data: Any, worlds: int) -> Any:
        """Blank data with room for the contacts of so many worlds."""
        room = self._contacts * worlds
        wider = {
            f"_impl.{name}": jnp.broadcast_to(value, (room, *value.shape[1:]))
            for name, value in vars(data._impl).items()
            if name.startswith("contact__") and len(value)
        }
        return data.tree_replace({"_impl.naconmax": room, "_impl.naccdmax": room, **wider})


# Of a model for the first state of an episode, and of one for what needs no contacts.
_LEFT_OUT = (mjx.DisableBit.ACTUATION, mjx.DisableBit.CONSTRAINT)


def _without(model: Any, left_out: mjx.DisableBit) -> Any:
    return model.replace(opt=model.opt.replace(disableflags=model.opt.disableflags | left_out))


def _repeat(model: Any, data: Any, steps: int) -> tuple[Any, jax.Array]:
    """The data after so many steps, and the largest of their `_needs`."""

    def substep(_: Any, loop: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        data = mjx.step(model, loop[0])
        return data, jnp.maximum(loop[1], _needs(data))

    return jax.lax.fori_loop(0, steps, substep, (data, jnp.zeros(4, jnp.int32)))


def _needs(data: Any) -> jax.Array:
    """`(4,)`: of all worlds contacts and pairs that may touch; of this constraints and flags."""
    impl = data._impl
    counts = (impl.nacon[0], impl.ncollision[0], impl.nefc, impl.overflow & _OVERFLOWS)
    return jnp.stack([jnp.asarray(count, jnp.int32) for count in counts])


def _named(flags: int) -> str:
    return f" ({OverflowType(flags).name})" if flags else ""


def _finite(tree: Any) -> jax.Array:
    """Which rows are finite in all leaves, `(rows,)` bool."""
    finite = [jnp.isfinite(leaf) for leaf in jax.tree.leaves(tree)]
    return jnp.stack([leaf.all(tuple(range(1, leaf.ndim))) for leaf in finite]).all(0)


def _like(rows: jax.Array, leaf: jax.Array) -> jax.Array:
    return rows.reshape(-1, *(1,) * (leaf.ndim - 1))


def _nothing(leaf: jax.Array) -> Any:
    return jnp.nan if jnp.issubdtype(leaf.dtype, jnp.floating) else 0


# One call for all worlds: only when it is lowered is it known how many there are, and for what.
_simulate = Primitive("simulate")
_simulate.multiple_results = True


@_simulate.def_impl
def _simulate_now(*arrays: jax.Array, **parameters: Any) -> list[jax.Array]:
    return jax.jit(lambda *arrays: _simulate.bind(*arrays, **parameters))(*arrays)


@_simulate.def_abstract_eval
def _results(*arrays: Any, function: Any, names: Any, ranks: tuple, outline: tuple) -> list[Any]:
    batch = arrays[0].shape[: arrays[0].ndim - ranks[0]]
    return [jax.core.ShapedArray((*batch, *leaf.shape), leaf.dtype) for leaf in outline]


def _batch(arrays: Any, axes: Any, **parameters: Any) -> tuple[list[jax.Array], list[int]]:
    (size,) = {a.shape[axis] for a, axis in zip(arrays, axes, strict=True) if axis is not None}
    rows = [
        jnp.broadcast_to(a, (size, *a.shape)) if axis is None else jnp.moveaxis(a, axis, 0)
        for a, axis in zip(arrays, axes, strict=True)
    ]
    results = _simulate.bind(*rows, **parameters)
    return results, [0] * len(results)


def _simulate_batch(
    mode: GraphMode, *arrays: jax.Array, function: Any, names: Any, ranks: tuple, outline: tuple
) -> list[jax.Array]:
    batch = arrays[0].shape[: arrays[0].ndim - ranks[0]]
    worlds = math.prod(batch)
    start = {
        name: array.reshape(worlds, *array.shape[len(batch) :])
        for name, array in zip(names, arrays, strict=True)
    }
    results = jax.tree.leaves(function.__self__.simulate_all(mode, function, start))
    return [result.reshape(*batch, *result.shape[1:]) for result in results]


batching.primitive_batchers[_simulate] = _batch
# On GPUs Warp captures a graph of CUDA for each place of the buffers, of which a compiled program
# has one. (Staged capture fails on several GPUs.) On CPUs there is nothing to capture.
for _platform, _mode in ((None, GraphMode.WARP), ("cpu", GraphMode.NONE)):
    mlir.register_lowering(
        _simulate,
        mlir.lower_fun(partial(_simulate_batch, _mode), multiple_results=True),
        platform=_platform,
    )

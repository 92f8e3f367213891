"""MuJoCo Warp inside the compiled program: what the C engine collides and integrates, on GPUs.

All worlds (runs, environments) of a device are one batch, however many `vmap`s are around a call.
Warp has room for so many contacts and constraints and leaves out what is beyond. Here that is an
error, which ends the program at that very step.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import warp
from mujoco import mjx
from mujoco.mjx.third_party.mujoco_warp import OverflowType
from mujoco.mjx.warp.collision_driver import collision
from mujoco.mjx.warp.types import _BATCH_DIM, GraphMode

from envs.host_call import HostEnvironmentError, host_call
from envs.physics.base import OF_LAST_SUBSTEP
from envs.physics.corrections import capsules
from envs.physics.mjx import MjxPhysics, MjxState, held, hold
from envs.physics.varying import Varied

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
    # Delayed values are kept by Warp, but not here from one step to the next.
    unused = ("actuator_armature", "nhistory", "opt.disableactuator")

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

    def _for_all(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """See `MjxPhysics._for_all`."""
        return partial(self._simulate_all, function)

    # As in `MjxPhysics`, with what `_needs` says beside the result, and the world in `start`.

    def _begin(self, models: tuple, data: Any, start: dict[str, jax.Array]) -> tuple:
        model, passive_model, _ = models
        needs = jnp.zeros(4, jnp.int32)
        if self._settling_steps:
            data, needs = _repeat(model, data, self._settling_steps)
            data = data.replace(time=jnp.zeros_like(data.time))
        data = mjx.forward(model if self._gymnasium else passive_model, data)
        return self._state(data, self._carried(data)), jnp.maximum(needs, _needs(data))

    def _interval(self, models: tuple, data: Any, start: dict[str, jax.Array]) -> tuple:
        model, _, smooth_model = models
        data, needs = _repeat(model, data, self._substeps)
        state = self._state(data, start)
        if self._derives:
            derived = self._state(mjx.forward(smooth_model, data), start)
            state = self._joined(state, derived)
        return state, needs

    def _count(self, models: tuple, data: Any, start: dict[str, jax.Array]) -> tuple:
        data = collision(models[0], mjx.kinematics(models[0], data))
        found = data._impl
        touches = found.contact__dist < found.contact__includemargin
        touches &= jnp.arange(len(touches)) < found.nacon
        # Contacts of all worlds are in one list.
        counts = jnp.zeros(len(touches), jnp.int32).at[found.contact__worldid].add(touches)
        return counts[start["world"]], _needs(data)

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

    def _simulate_all(
        self,
        function: Callable[..., Any],
        on_cpu: bool,
        start: dict[str, jax.Array],
        varied: Varied,
    ) -> Any:
        """The function's result for all worlds, which are the first dimension of all arrays.

        Worlds that begin with a number that is not finite are simulated from the model's default;
        their results are NaN (of integers zero), and so are those of worlds that diverge.
        """
        start, varied = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (start, varied))
        worlds = len(start["qpos"])
        # On GPUs Warp captures a graph of CUDA for each place of the buffers, of which a compiled
        # program has one. (Staged capture fails on several GPUs.) CPUs have nothing to capture.
        mode = GraphMode.NONE if on_cpu else GraphMode.WARP
        models, blank = held(self._held())
        models = tuple(model.tree_replace({"opt._impl.graph_mode": mode}) for model in models)
        blank = self._with_room(blank, worlds)
        sound = _finite((start, varied))

        def simulate(
            start: dict[str, jax.Array], varied: Varied, sound: jax.Array, world: jax.Array
        ) -> tuple:
            def or_usual(array: jax.Array, usual: Any) -> jax.Array:
                # Of some fields Warp has the same rows in other shapes than MuJoCo.
                return jnp.where(sound, array.reshape(usual.shape), usual)

            start = {name: or_usual(array, getattr(blank, name)) for name, array in start.items()}
            own = {name: or_usual(varied[name], getattr(models[0], name)) for name in varied}
            own_models = tuple(model.replace(**own) for model in models)
            return function(own_models, blank.replace(**start), start | {"world": world})

        result, needs = jax.vmap(simulate)(start, varied, sound, jnp.arange(worlds))
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

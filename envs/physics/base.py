"""What a task may ask of an engine."""

import copy
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, Protocol

import jax
import mujoco
import numpy as np

_logger = logging.getLogger(__name__)

# Left alone, MuJoCo prints its warnings and appends them to MUJOCO_LOG.TXT in the working
# directory. A simulation that diverges is reported as NaN instead.
if mujoco.get_mju_user_warning() is None:
    mujoco.set_mju_user_warning(_logger.debug)


# To which instant the fields after a step belong, see `Physics`.
Reading = Literal["dm_control", "gymnasium"]

# Field of the model -> what it is in one simulation, where simulations differ in it.
Varied = Mapping[str, jax.Array]
NOTHING_VARIED: Varied = MappingProxyType({})

# Fields that no engine computes unless it is asked to.
POST_CONSTRAINT_FIELDS = frozenset({"cacc", "cfrc_int", "cfrc_ext"})


class PhysicsState(Protocol):
    """Whatever an engine carries from step to step, and the fields that the task asked for.

    Attributes:
      fields: MuJoCo's name of a field -> float32 array in MuJoCo's shape, except that rotation
        matrices (`xmat`, `geom_xmat`, ...) are `(count, 3, 3)`. For each name in `changes`
        also `<name>_change`, by how much the field changed in the last control interval (zero
        at the start of an episode).
      varied: name of a field of the model -> what it is in this simulation.
    """

    fields: dict[str, jax.Array]
    varied: dict[str, jax.Array]


class Physics:
    """One simulation of one MuJoCo model as pure functions. Callers `vmap` them.

    Attributes:
      model: what is simulated.
      name: what errors call it.

    There are two readings of the fields. Joint positions and velocities belong to the state
    after the last substep in both.

    - `dm_control`: position and velocity quantities (with the sensors of these stages) belong
      to the state after the last substep as well, acceleration quantities (accelerometers,
      touch, forces) to the instant before it. The first state of an episode is evaluated
      without actuation.
    - `gymnasium`: everything derived is left as the last substep used it, so it belongs to the
      instant before it (with Runge-Kutta, to the last of the states that it tried).
    """

    name: str = "this model"

    def __init__(
        self,
        model: mujoco.MjModel,
        fields: tuple[str, ...],
        substeps: int,
        settling_steps: int = 0,
        reading: Reading = "dm_control",
        changes: tuple[str, ...] = (),
        varied: tuple[str, ...] = (),
    ):
        """Puts the engine around a model. Compiles nothing.

        Args:
          model: the compiled model. It is copied where an engine needs it changed.
          fields: the names that `PhysicsState.fields` will hold.
          substeps: simulation steps per control interval.
          settling_steps: simulation steps without control at the start of an episode.
          reading: to which instant the fields belong, see above.
          changes: fields whose change is wanted, see `PhysicsState`. The C engine subtracts in
            float64, so that a speed taken from it does not lose digits far from the origin.
          varied: fields of the model that each episode brings with it, see `varies`.
        """
        self.model = with_nothing_left_out(model, varied)
        self._fields, self._changes, self._varied = fields, changes, varied
        self._gymnasium = reading == "gymnasium"
        self._post_constraint = bool(POST_CONSTRAINT_FIELDS & set(fields))
        self._substeps, self._settling_steps = substeps, settling_steps

    @staticmethod
    def varies(name: str) -> bool:
        """Whether simulations may differ in a field of the model."""
        raise NotImplementedError

    def reset(
        self,
        qpos: jax.Array,
        qvel: jax.Array,
        act: jax.Array | None = None,
        varied: Varied = NOTHING_VARIED,
    ) -> Any:
        """Starts an episode, then settles if so configured; returns a `PhysicsState`.

        Args:
          qpos: `(nq,)` positions.
          qvel: `(nv,)` velocities.
          act: `(na,)` activations; None stands for zeros.
          varied: the fields of the model that vary, in MuJoCo's shape.
        """
        raise NotImplementedError

    def contacts(self, qpos: jax.Array, varied: Varied = NOTHING_VARIED) -> jax.Array:
        """The number of contacts at `(nq,)` positions, `()` int32; zero where they are not finite.

        The search for a start in which nothing touches, at a fraction of the cost of `reset`.
        """
        raise NotImplementedError

    def step(self, state: Any, control: jax.Array) -> Any:
        """Holds the `(nu,)` controls for one control interval; returns a `PhysicsState`.

        Once a control or the state is not finite, every field is NaN until the next reset.
        """
        raise NotImplementedError


# Where inertias and joints are, and what else the mass matrix depends on.
PLACES = frozenset({"body_ipos", "body_iquat", "jnt_pos", "jnt_axis"})
_MASSES = PLACES | {"body_mass", "body_inertia", "dof_armature"}


def with_nothing_left_out(model: mujoco.MjModel, varied: tuple[str, ...]) -> mujoco.MjModel:
    """The model, or a copy of which engines compute all that depends on these fields.

    MuJoCo's compiler notes which frames are the same as others, and which bodies have a diagonal
    mass matrix that never changes. Of these the C engine reads no field any more.
    """
    if not varied:
        return model
    model, names = copy.copy(model), set(varied)
    for same, own in (
        (model.body_sameframe, set()),
        (model.geom_sameframe, {"geom_pos", "geom_quat"}),
        (model.site_sameframe, {"site_pos", "site_quat"}),
    ):
        if names & {*own, "body_ipos", "body_iquat"}:
            same[:] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE
    if names & _MASSES:
        model.body_simple[:] = 0
        model.dof_simplenum[:] = 0
    return model


def fixed_bodies(model: mujoco.MjModel, drawn: Varied) -> list[str]:
    """Names of bodies of which fields cannot be drawn so: there is no room in the mass matrix.

    Of a body with a diagonal mass matrix MuJoCo's compiler keeps room for the diagonal alone.
    """
    without_room = (model.body_simple > 0) & (model.body_dofnum > 1)
    found = []
    for name in sorted(PLACES.intersection(drawn)):
        values = getattr(model, name)
        body = np.arange(model.nbody) if name.startswith("body") else model.jnt_bodyid
        differs = ~np.isclose(drawn[name], values, atol=1e-6).all(axis=-1)
        found += [model.body(i).name or str(i) for i in body[differs & without_room[body]]]
    return found


def field_shapes(
    model: mujoco.MjModel, fields: tuple[str, ...], changes: tuple[str, ...] = ()
) -> dict[str, tuple[int, ...]]:
    """Shapes of `PhysicsState.fields`. Rotation matrices are `(count, 3, 3)` in every engine.

    Raises:
      AttributeError: for a name that `MjData` does not have.
    """
    data = mujoco.MjData(model)
    shapes = {name: getattr(data, name).shape for name in fields}
    shapes |= {f"{name}_change": getattr(data, name).shape for name in changes}
    return {
        name: (shape[0], 3, 3) if name.endswith("mat") else shape for name, shape in shapes.items()
    }

"""What a task may ask of an engine."""

import logging
from typing import Any, Literal, Protocol

import jax
import mujoco
import numpy as np

from envs.physics.varying import (
    NOTHING_VARIED,
    Varied,
    derive,
    derived_fields,
    why_fixed,
    without_short_cuts,
)

_logger = logging.getLogger(__name__)

# Left alone, MuJoCo prints its warnings and appends them to MUJOCO_LOG.TXT in the working
# directory. A simulation that diverges is reported as NaN instead.
if mujoco.get_mju_user_warning() is None:
    mujoco.set_mju_user_warning(_logger.debug)


# To which instant the fields after a step belong, see `Physics`.
Reading = Literal["dm_control", "gymnasium"]

# Fields that engines compute after a step where they are asked to, from all that it used; in the
# reading of dm_control part of that is of a later instant.
POST_CONSTRAINT_FIELDS = frozenset({"cacc", "cfrc_int", "cfrc_ext"})
# What dm_control does not derive anew after the last substep.
OF_LAST_SUBSTEP = frozenset(
    {
        *("qacc", "qacc_smooth", "act_dot", "actuator_force"),
        *("qfrc_actuator", "qfrc_constraint", "qfrc_smooth"),
    }
)


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
          varied: fields of the model that each episode brings with it, see `why_fixed`.
        """
        self.model = without_short_cuts(model, varied) if varied else model
        derived = (name for name in derived_fields(self.model, varied) if self.varies(name))
        self._fields, self._changes, self._varied = fields, changes, (*varied, *derived)
        self._gymnasium = reading == "gymnasium"
        self._post_constraint = bool(POST_CONSTRAINT_FIELDS & set(fields))
        self._substeps, self._settling_steps = substeps, settling_steps

    @staticmethod
    def varies(name: str) -> bool:
        """Whether the engine lets simulations differ in a field of the model."""
        raise NotImplementedError

    def why_fixed(self, name: str) -> str:
        """Why simulations cannot differ in a field of the model; empty if they can."""
        if not self.varies(name):
            return "it is one for all simulations"
        return why_fixed(self.model, name)

    def why_unsupported(self) -> str:
        """Why the engine cannot simulate the model or has a field not; empty if it can."""
        return ""

    def _complete(self, varied: Varied) -> Varied:
        """With what follows from the fields that vary, see `derive`."""
        varied = derive(self.model, varied)
        return {name: varied[name] for name in self._varied}

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


def field_shapes(
    model: mujoco.MjModel, fields: tuple[str, ...], changes: tuple[str, ...] = ()
) -> dict[str, tuple[int, ...]]:
    """Shapes of `PhysicsState.fields`. Rotation matrices are `(count, 3, 3)` in every engine.

    Raises:
      AttributeError: for a name that `MjData` does not have.
    """
    data = mujoco.MjData(model)
    shapes = {name: np.shape(getattr(data, name)) for name in fields}
    shapes |= {f"{name}_change": np.shape(getattr(data, name)) for name in changes}
    return {
        name: (shape[0], 3, 3) if name.endswith("mat") else shape for name, shape in shapes.items()
    }

"""The MyoHand: a right hand of 23 joints that 39 muscles move, alone or with something to handle.

Models are those that MyoSuite 3 builds; observations, rewards, starts and ends are facts of its
tasks. Muscles are in the model: a control excites, an activation follows it.
"""

import warnings
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from myosuite.core import model_recipes  # noqa: F401  # which makes the recipes known
from myosuite.core.model_builder import build_from_recipe

from envs.task import Task

MUSCLES = 39
FINGERS = ("THtip_r", "IFtip_r", "MFtip_r", "RFtip_r", "LFtip_r")


class Hand(Task):
    """Pays a weighted sum of terms, and ends where MyoSuite's `done` says so.

    Attributes:
      recipe: name of the model in MyoSuite.
      weights: term -> its weight in the reward.
    """

    fields: tuple[str, ...] = ("qpos", "qvel", "act", "site_xpos")
    substeps = 10
    room = (128, 384)
    recipe: str
    weights: ClassVar[dict[str, float]]

    def __init__(self, hard: bool):
        """`hard`: whether the goal is drawn for every episode."""
        self._hard = hard
        with warnings.catch_warnings(action="ignore"):  # of names that could be taken twice
            self.model, _ = build_from_recipe(self.recipe)
        self._interval = float(self.model.opt.timestep * self.substeps)

    def action_range(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Task.action_range`."""
        return -np.ones(MUSCLES), np.ones(MUSCLES)

    def control(self, action: jax.Array) -> jax.Array:
        """The excitation of each muscle, a sigmoid of the action."""
        return 1.0 / (1.0 + jnp.exp(-5.0 * (action - 0.5)))

    def initialize(self, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
        """The model's pose at rest, and the goal."""
        return self.pose(key), jnp.zeros(self.model.nv), self.goal(jax.random.fold_in(key, 1))

    def pose(self, key: jax.Array) -> jax.Array:
        """The positions of a start, `(nq,)`."""
        return jnp.asarray(self.model.qpos0, jnp.float32)

    def goal(self, key: jax.Array) -> Any:
        """What the hand has to do in an episode: the task's variables."""
        return ()

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """What rewards and ends are made of, each `()`, under MyoSuite's names."""
        raise NotImplementedError

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """The weighted sum of terms."""
        terms = self.terms(data, variables)
        return sum((weight * terms[name] for name, weight in self.weights.items()), jnp.zeros(()))

    def terminated(self, data: Any, variables: Any) -> jax.Array:
        """Too far from the goal."""
        return self.terms(data, variables)["done"]

    def success(self, data: Any, variables: Any) -> jax.Array:
        """At the goal."""
        return self.terms(data, variables)["solved"]

    def site(self, data: Any, name: str) -> jax.Array:
        """Where a site is, m, `(3,)`."""
        return data.site_xpos[self.model.site(name).id]

    def effort(self, data: Any) -> jax.Array:
        """MyoSuite's `act_reg`, `()`."""
        return -jnp.linalg.norm(data.act) / MUSCLES


def palm_up(model: Any, loose: int) -> np.ndarray:
    """The open hand with its palm up, under something with so many positions of its own."""
    qpos = np.array(model.qpos0, np.float32)
    qpos[:-loose] = 0.0
    qpos[0] = -1.5
    return qpos

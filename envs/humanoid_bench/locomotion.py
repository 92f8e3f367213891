"""Walk, stand, run on an open floor."""

from functools import partial
from typing import Any

import jax

from envs.humanoid_bench.base import STAND_HEIGHT, Humanoid

WALK_SPEED = 1.0  # m/s
RUN_SPEED = 5.0  # m/s


class Stand(Humanoid):
    """Pays standing upright and still, with little force.

    Attributes:
      head_height: that counts as standing, m.
    """

    head_height = STAND_HEIGHT

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Humanoid.terms`."""
        standing = self.standing(data, self.head_height)
        return self.stand_terms(data, standing, self.upright(data)) | {
            "dont_move": self.still(data)
        }

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """The product of all."""
        terms = self.terms(data, variables)
        return terms["small_control"] * terms["stand_reward"] * terms["dont_move"]


class Move(Humanoid):
    """Pays going forward upright, with little force."""

    def __init__(self, speed: float):
        """`speed`: m/s forwards that earns the full reward."""
        super().__init__()
        self._speed = speed

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Humanoid.terms`."""
        return self.stand_terms(data, self.standing(data), self.upright(data)) | {
            "move": self.moving(data, self._speed)
        }

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """The product of all."""
        terms = self.terms(data, variables)
        return terms["small_control"] * terms["stand_reward"] * terms["move"]


TASKS = {
    "stand": Stand,
    "walk": partial(Move, speed=WALK_SPEED),
    "run": partial(Move, speed=RUN_SPEED),
}

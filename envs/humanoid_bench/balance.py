"""Stand on a board that lies on a ball."""

from functools import partial
from typing import Any

import jax

from envs.humanoid_bench import scenes
from envs.humanoid_bench.base import STAND_HEIGHT, Humanoid
from envs.humanoid_bench.models import load_robot

BOARD_HEIGHT = 0.37  # m


class Balance(Humanoid):
    """Pays standing on the board upright and still, with little force."""

    lowest = 0.8

    def __init__(self, rolling: bool):
        """`rolling`: whether the ball may roll."""
        spec = load_robot()
        scenes.add_board(spec, rolling)
        super().__init__(spec)

    def terms(self, data: Any, variables: Any) -> dict[str, jax.Array]:
        """See `Humanoid.terms`."""
        standing = self.standing(data, STAND_HEIGHT + BOARD_HEIGHT)
        upright = self.upright(data)
        return {
            "standing": standing,
            "upright": upright,
            "stand_reward": standing * upright,
            "small_control": self.small_control(data),
            "dont_move": self.still(data),
        }

    def reward(self, data: Any, variables: Any) -> jax.Array:
        """The product of all."""
        terms = self.terms(data, variables)
        return terms["small_control"] * terms["stand_reward"] * terms["dont_move"]

    def terminated(self, data: Any, variables: Any) -> jax.Array:
        """Too low, anything but the ball on the floor, or the robot on the ball."""
        rolls, carries = self.touches(data, "ball_floor"), self.touches(data, "ball_board")
        ball_touched = self.touches(data, "ball_anything") > rolls + carries
        floor_touched = self.touches(data, "floor_anything") > rolls
        return super().terminated(data, variables) | ball_touched | floor_touched


TASKS = {
    "balance_simple": partial(Balance, rolling=False),
    "balance_hard": partial(Balance, rolling=True),
}

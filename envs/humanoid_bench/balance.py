"""Stand on a board that lies on a ball."""

from functools import partial
from typing import Any

import jax

from envs.humanoid_bench import scenes
from envs.humanoid_bench.base import STAND_HEIGHT
from envs.humanoid_bench.locomotion import Stand

BOARD_HEIGHT = 0.37  # m


class Balance(Stand):
    """Pays standing on the board upright and still, with little force."""

    lowest = 0.8
    head_height = STAND_HEIGHT + BOARD_HEIGHT

    def __init__(self, rolling: bool):
        """`rolling`: whether the ball may roll."""
        super().__init__(partial(scenes.add_board, rolling=rolling))

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

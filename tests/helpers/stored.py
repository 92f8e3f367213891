"""What a replay holds, as plain arrays."""

from typing import NamedTuple

import numpy as np

from purejax_simba.data.replay import Replay
from purejax_simba.data.rows import Rows


class Stored(NamedTuple):
    """Of one run or of many, `(..., rows, E)` and more: observations, and the steps before them."""

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray


def numbers(rows: Rows) -> np.ndarray:
    """All rows in order, `(..., rows, E, width)`."""
    blocks = np.asarray(rows.blocks)
    side_by_side = blocks.shape[-1] // rows.width
    whole = blocks[..., : side_by_side * rows.width]
    apart = whole.reshape(*blocks.shape[:-1], side_by_side, rows.width)
    together = np.moveaxis(apart, -2, -3)
    return together.reshape(*together.shape[:-4], -1, *together.shape[-2:])


def stored(replay: Replay) -> Stored:
    """All rows of the ring."""
    steps = numbers(replay.steps)[..., : replay.rows, :, :]
    reward = steps.shape[-1] - replay.finals.width - 2
    return Stored(steps[..., reward + 2 :], steps[..., :reward], steps[..., reward])

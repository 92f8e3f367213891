"""States of native tasks in MuJoCo itself."""

import copy
from collections.abc import Iterator

import mujoco
import numpy as np

from envs.physics.mujoco import MujocoState
from envs.physics.simulations import STATE_SIGNATURE
from envs.task import TaskEnvironment


def in_c_engine(exact: TaskEnvironment, physics: MujocoState) -> Iterator[mujoco.MjData]:
    """One state after the other, in the same `MjData`, whose model is that of the state.

    Args:
      exact: the task with the C engine.
      physics: states of it, `(rows, ...)`.
    """
    model = copy.copy(exact.physics.model)
    data = mujoco.MjData(model)
    size = mujoco.mj_stateSize(model, STATE_SIGNATURE)
    for row, state in enumerate(np.ascontiguousarray(physics.bits).view(np.float64)):
        for name, values in physics.varied.items():
            getattr(model, name)[:] = values[row]
        mujoco.mj_setState(model, data, state[:size], STATE_SIGNATURE)
        yield data

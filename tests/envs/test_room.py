"""How much MuJoCo Warp has room for, beside what random play needs in the C engine."""

import jax
import mujoco
import numpy as np
import pytest

import envs
from envs.task import TaskEnvironment
from tests.helpers.c_engine import in_c_engine
from tests.helpers.examples import slow_if_in

NATIVE = [task for task in envs.tasks() if "warp" in envs.spec(task).physics]
# Those in which most touches, of each suite.
CROWDED = (
    *("dmc/dog-run", "dmc/humanoid-run", "mujoco/Humanoid-v4"),
    *("myosuite/myo-pen-twirl", "humanoid_bench/h1-sit_simple"),
)
STARTS = 2
INTERVALS = 250


def _needed(environment: TaskEnvironment) -> np.ndarray:
    """Contacts and rows of constraints, the most in any substep of random play."""
    task = environment.task
    states, _ = jax.jit(jax.vmap(environment.reset))(jax.random.split(jax.random.key(0), STARTS))
    shape = (INTERVALS, STARTS, environment.action_size)
    low, high = environment.action_low, environment.action_high
    actions = np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)
    controls = np.asarray(jax.vmap(jax.vmap(task.control))(actions))
    most = np.zeros(2, int)
    for start, data in enumerate(in_c_engine(environment, states.physics)):
        for control in controls[:, start]:
            data.ctrl[:] = control
            for _ in range(task.substeps):
                mujoco.mj_step(data.model, data)
                most = np.maximum(most, [data.ncon, data.nefc])
    return most


@pytest.mark.parametrize("task_id", slow_if_in(CROWDED, NATIVE))
def test_there_is_room_for_twice_what_random_play_needs(task_id):
    """Episodes go on beyond their ends."""
    if missing := envs.spec(task_id).missing():
        pytest.skip(missing)
    environment = envs.make(task_id, "mujoco", action_repeat=1).unwrapped
    needed, room = _needed(environment), np.array(environment.task.room)
    assert (2 * needed <= room).all(), f"{needed} needed, room for {room}"

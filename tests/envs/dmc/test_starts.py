"""The search for a start in which nothing touches."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import envs
from envs.dmc.ball_in_cup import BallInCup
from envs.dmc.humanoid import Humanoid
from envs.dmc.quadruped import RUN_SPEED, Quadruped
from envs.task import TaskEnvironment
from tests.helpers.originals import need_dm_control
from tests.parity.reference import Reference

ENGINES = ["mujoco", pytest.param("mjx", marks=pytest.mark.slow)]


def make_humanoid(physics: str = "mujoco") -> TaskEnvironment:
    return TaskEnvironment(Humanoid(move_speed=0.0), physics)


def contacts_of(model: mujoco.MjModel, qpos: np.ndarray) -> np.ndarray:
    """MuJoCo's own counts after a complete evaluation."""
    data = mujoco.MjData(model)
    counts = []
    for row in np.asarray(qpos):
        data.qpos[:] = row
        mujoco.mj_forward(model, data)
        counts.append(data.ncon)
    return np.array(counts)


@pytest.mark.parametrize("engine", ENGINES)
def test_contacts_are_those_of_a_complete_evaluation(engine):
    environment = make_humanoid(engine)
    keys = jax.random.split(jax.random.key(0), 60)
    qpos, _, _ = jax.jit(jax.vmap(environment.task.initialize))(keys)
    ours = np.asarray(jax.jit(jax.vmap(environment.physics.contacts))(qpos))
    theirs = contacts_of(environment.task.model, qpos)
    assert 0 < (theirs > 0).sum() < 60
    # MJX counts the ends of a capsule on a plane, and both of parallel capsules, differently.
    np.testing.assert_array_equal(ours > 0, theirs > 0)
    if engine == "mujoco":
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "task_id", ["humanoid-run", pytest.param("finger-turn_easy", marks=pytest.mark.slow)]
)
def test_nothing_touches_at_the_start(task_id):
    environment = envs.make(f"dmc/{task_id}", "mujoco").unwrapped
    keys = jax.random.split(jax.random.key(1), 60)
    first, _, _ = jax.jit(jax.vmap(environment.task.initialize))(keys)
    found, _, _ = jax.jit(jax.vmap(environment.draw))(keys)
    assert contacts_of(environment.task.model, first).any(), "or there is nothing to search for"
    assert not contacts_of(environment.task.model, found).any()


def test_the_quadruped_is_raised_as_in_the_suite():
    need_dm_control()
    from dm_control.suite import quadruped as dm_quadruped

    environment = TaskEnvironment(Quadruped(RUN_SPEED), "mujoco")
    physics = Reference("dmc/quadruped-run", seed=0).physics
    qpos, _, _ = jax.jit(jax.vmap(environment.draw))(jax.random.split(jax.random.key(0), 10))
    for row in np.asarray(qpos, np.float64):
        dm_quadruped._find_non_contacting_height(physics, row[3:7])
        np.testing.assert_allclose(row, physics.data.qpos, atol=1e-6)


def test_attempts_are_made_for_the_whole_batch_at_once():
    environment = TaskEnvironment(BallInCup(), "mujoco")
    shapes = []
    host_contacts = environment.physics._host_contacts
    environment.physics._host_contacts = lambda qpos: (
        shapes.append(len(qpos)),
        host_contacts(qpos),
    )[1]
    keys = jax.random.split(jax.random.key(0), (2, 24))
    states, _ = jax.block_until_ready(jax.jit(jax.vmap(jax.vmap(environment.reset)))(keys))
    assert set(shapes) == {48}
    assert 1 < len(shapes) < 48, "as many attempts as the least lucky member needs"
    alone, _ = jax.jit(environment.reset)(keys[1, 3])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1, 3], b), states, alone)


def test_a_search_in_vain_is_reported():
    class Stuck(BallInCup):
        """Starts with the ball in the floor."""

        most_attempts = 5

        def initialize(self, key):
            qpos, qvel, variables = super().initialize(key)
            return qpos.at[self._ball_z].set(-0.2), qvel, variables

    environment = TaskEnvironment(Stuck(), "mujoco")
    _, observation = jax.jit(environment.reset)(jax.random.key(0))
    assert np.isnan(observation).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_activations_reach_the_engine(engine):
    task = Quadruped(RUN_SPEED)
    task.activate = lambda key: jnp.arange(task.model.na, dtype=jnp.float32) / 4
    task.observe = lambda data, variables: data.act
    task.most_attempts = 1
    environment = TaskEnvironment(task, engine)
    _, observation = jax.jit(environment.reset)(jax.random.key(0))
    np.testing.assert_array_equal(observation, np.arange(12, dtype=np.float32) / 4)

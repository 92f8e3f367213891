"""Gymnasium MuJoCo: parity with the original, and the engines' reading of it."""

import warnings

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.gym_mujoco.ant import Ant
from envs.physics import make_physics
from tests.parity import check_rollout, compare, make_reference
from tests.parity_mjx import check_model, record
from tests.parity_reference import bare

TASKS = envs.tasks("mujoco")
# Mean return of a random policy, from the normalisation of the published results.
RANDOM_RETURNS = {
    "mujoco/Ant-v4": -70.288,
    "mujoco/HalfCheetah-v4": -289.415,
    "mujoco/Hopper-v4": 18.791,
    "mujoco/Humanoid-v4": 120.423,
    "mujoco/Walker2d-v4": 2.791,
}


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr("tests.parity.RESETS", 60)
    monkeypatch.setattr("tests.parity.STATES", 40)


def make_ant():
    ant = Ant()
    return make_physics(
        "mujoco", ant.model, ant.fields, ant.substeps, reading=ant.reading, changes=ant.changes
    )


def test_five_tasks_with_the_limits_of_the_original():
    assert set(TASKS) == set(RANDOM_RETURNS)
    assert all(envs.spec(task).action_repeat == 1 for task in TASKS)
    assert [envs.spec(task).terminates for task in TASKS].count(False) == 1
    assert not envs.spec("mujoco/HalfCheetah-v4").terminates


@pytest.mark.parametrize("task_id", TASKS)
def test_mujoco_equals_gymnasium(task_id):
    for check in compare(task_id, steps=50, seed=3, physics="mujoco"):
        assert check.passed, f"{check.name}: {check.detail}"


def test_a_fresh_engine_continues_with_the_same_change():
    """The torso's place before a step is a derived quantity that no state of MuJoCo holds."""
    physics = make_ant()
    qpos = jnp.asarray(physics.model.qpos0, jnp.float32).at[2].set(0.4)
    state = jax.jit(physics.reset)(qpos, jnp.ones(physics.model.nv))
    control = jnp.full(physics.model.nu, 0.5)
    for _ in range(10):
        middle, state = state, jax.jit(physics.step)(state, control)
    again = jax.jit(make_ant().step)(middle, control)
    jax.tree.map(np.testing.assert_array_equal, again, state)
    assert abs(state.fields["xpos_change"][1, 0]) > 1e-3


def test_speed_keeps_its_digits_far_from_the_origin():
    """At 10 km the places of float32 are 1 mm apart, more than the ant's speed allows for."""
    physics = make_ant()
    qpos = jnp.asarray(physics.model.qpos0, jnp.float32)
    changes = []
    for place in (0.0, 8192.0):
        state = jax.jit(physics.reset)(qpos.at[0].set(place), jnp.ones(physics.model.nv))
        assert not state.fields["xpos_change"].any()
        changes.append(jax.jit(physics.step)(state, jnp.zeros(physics.model.nu)))
    near, far = (change.fields["xpos_change"] for change in changes)
    np.testing.assert_allclose(near, far, rtol=0, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("task_id", ("mujoco/HalfCheetah-v4", "mujoco/Ant-v4"))
def test_mjx_equals_gymnasium(task_id, monkeypatch):
    """In float64, where nothing blurs the comparison; `python -m tests.parity` asks for more."""
    monkeypatch.setattr("tests.parity_mjx.STARTS", 8)
    reference = make_reference(task_id, seed=3)
    path = record(reference, bare(envs.make(task_id, "mujoco")), steps=20, seed=3)
    check = check_model(task_id, reference, path, np.arange(20))
    assert check.passed, f"{check.name}: {check.detail}"


@pytest.mark.slow
@pytest.mark.parametrize("task_id", TASKS)
def test_long_rollouts_equal_gymnasium(task_id):
    environment = envs.make(task_id, "mujoco")
    check = check_rollout(environment, make_reference(task_id, seed=5), steps=1000, seed=5)
    assert check.passed, f"{check.name}: {check.detail}"


def random_returns(task_id: str, episodes: int) -> np.ndarray:
    """Of a random policy in the native task."""
    environment = envs.make(task_id, "mujoco")

    def episode(key):
        reset_key, key = jax.random.split(key)
        state, _ = environment.reset(reset_key)

        def step(carry, key):
            state, running = carry
            action = jax.random.uniform(key, (environment.action_size,), minval=-1.0)
            state, timestep = environment.step(state, action)
            reward = jnp.where(running, timestep.reward, 0.0)
            return (state, running & ~timestep.terminated), reward

        keys = jax.random.split(key, environment.episode_length)
        return jax.lax.scan(step, (state, jnp.ones((), bool)), keys)[1].sum()

    return np.asarray(jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), episodes)))


def random_returns_of_gymnasium(task_id: str, episodes: int) -> np.ndarray:
    """Of a random policy in the original."""
    with warnings.catch_warnings(action="ignore"):
        environment = gymnasium.make(task_id.removeprefix("mujoco/"))
    environment.reset(seed=0)
    environment.action_space.seed(0)
    returns = []
    for _ in range(episodes):
        environment.reset()
        total, ended = 0.0, False
        while not ended:
            _, reward, terminated, truncated, _ = environment.step(
                environment.action_space.sample()
            )
            total, ended = total + float(reward), terminated or truncated
        returns.append(total)
    return np.array(returns)


@pytest.mark.slow
@pytest.mark.parametrize("task_id", TASKS)
def test_a_random_policy_earns_what_it_does_in_the_original(task_id):
    """The published figures are means of an unknown number of episodes, so they are only near."""
    ours = random_returns(task_id, 64)
    theirs = random_returns_of_gymnasium(task_id, 64)
    error = np.hypot(ours.std(), theirs.std()) / np.sqrt(64)
    assert abs(ours.mean() - theirs.mean()) < 4 * error
    assert abs(ours.mean() - RANDOM_RETURNS[task_id]) < 2 * ours.std()

"""Gymnasium MuJoCo: parity with the original, and the engines' reading of it."""

import warnings
from types import SimpleNamespace

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.gym_mujoco.ant import Ant
from envs.physics.engines import make_physics
from tests.helpers.examples import mark_others, slow_if_in
from tests.parity.command import check_rollout, compare, make_reference
from tests.parity.mjx import approximate_states, check_model, check_solver, record

TASKS = envs.tasks("mujoco")
# With two solvers, and the one that never ends.
EXAMPLES = ("mujoco/Humanoid-v4", "mujoco/HalfCheetah-v4")


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr("tests.parity.command.RESETS", 60)
    monkeypatch.setattr("tests.parity.command.STATES", 40)


def make_ant():
    ant = Ant()
    return make_physics(
        "mujoco", ant.model, ant.fields, ant.substeps, reading=ant.reading, changes=ant.changes
    )


def test_five_tasks_with_the_limits_of_the_original():
    assert len(TASKS) == 5
    assert all(envs.spec(task).action_repeat == 1 for task in TASKS)
    assert [envs.spec(task).terminates for task in TASKS].count(False) == 1
    assert not envs.spec("mujoco/HalfCheetah-v4").terminates


@pytest.mark.parametrize("task_id", mark_others(pytest.mark.slow, EXAMPLES, TASKS))
def test_mujoco_equals_gymnasium(task_id):
    for check in compare(task_id, steps=50, seed=3, physics="mujoco"):
        assert check.passed, f"{check.name}: {check.detail}"


@pytest.mark.parametrize("name", ["Hopper-v4", "Walker2d-v4", "Ant-v4", "Humanoid-v4"])
def test_health_is_that_of_gymnasium_on_both_sides_of_every_bound(name):
    with warnings.catch_warnings(action="ignore"):  # that there is a version 5
        original = gymnasium.make(name).unwrapped
    task = envs.make(f"mujoco/{name}", "mujoco").unwrapped.task
    height = 2 if name in ("Ant-v4", "Humanoid-v4") else 1
    healthy = []
    for index, values in (
        (height, (0.1, 0.21, 0.69, 0.71, 0.79, 0.81, 0.99, 1.01, 1.99, 2.01, 5.0)),
        (2, (-1.01, -0.99, -0.21, -0.19, 0.19, 0.21, 0.99, 1.01)),
        (4, (-101.0, -99.0, 99.0, 101.0)),
    ):
        for value in values:
            qpos = original.init_qpos.copy()
            qpos[index] = value
            original.set_state(qpos, original.init_qvel)
            data = SimpleNamespace(qpos=jnp.asarray(qpos), qvel=jnp.zeros(task.model.nv))
            healthy.append(bool(original.is_healthy))
            assert bool(task.terminated(data, ())) != healthy[-1], (index, value)
    assert {True, False} == set(healthy)


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


@pytest.mark.parametrize(
    "task_id", slow_if_in(("mujoco/HalfCheetah-v4",), ("mujoco/HalfCheetah-v4", "mujoco/Ant-v4"))
)
def test_mjx_equals_gymnasium(task_id, monkeypatch):
    """In float64, where nothing blurs the comparison; `python -m tests.parity` asks for more."""
    monkeypatch.setattr("tests.parity.mjx.STARTS", 8)
    reference = make_reference(task_id, seed=3)
    path = record(reference, envs.make(task_id, "mujoco").unwrapped, steps=20, seed=3)
    chosen = np.arange(20)
    approximate = approximate_states(reference, path, chosen)
    for check in check_model(task_id, reference, path, chosen, approximate):
        assert check.passed, f"{check.name}: {check.detail}"


def test_the_solver_for_mjx_finds_what_that_of_the_original_looks_for(monkeypatch):
    monkeypatch.setattr("tests.parity.mjx.STARTS", 4)
    native = envs.make("mujoco/Humanoid-v4", "mujoco").unwrapped
    reference = make_reference("mujoco/Humanoid-v4", 3)
    solver, usual = native.task.mjx_model().opt.solver, reference.model.opt.solver
    assert solver != usual
    path = record(reference, native, 60, seed=3)
    check = check_solver(reference, path, np.arange(0, 60, 10), solver)
    assert check.passed, check.detail
    assert reference.model.opt.solver == usual


@pytest.mark.slow
@pytest.mark.parametrize("task_id", TASKS)
def test_long_rollouts_equal_gymnasium(task_id):
    environment = envs.make(task_id, "mujoco")
    check = check_rollout(environment, make_reference(task_id, seed=5), steps=1000, seed=5)
    assert check.passed, f"{check.name}: {check.detail}"

"""HumanoidBench: parity with recorded numbers of the official code, and that the tasks run."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import humanoid_bench
from tests.helpers.examples import mark_others
from tests.parity.humanoid_bench import compare_recorded
from tests.parity.mjx import record
from tests.parity.simplified import ModelReference, check_simplified, compare_simplified

pytest.importorskip(humanoid_bench.PACKAGE)

NAMES = tuple(humanoid_bench.TASKS)


def test_fourteen_tasks_with_the_limits_of_the_benchmark():
    assert len(envs.tasks("humanoid_bench")) == 14
    for task in envs.tasks("humanoid_bench"):
        spec = envs.spec(task)
        assert (spec.action_repeat, spec.episode_length, spec.terminates) == (2, 1000, True)


@pytest.mark.parametrize("name", NAMES)
def test_equals_what_was_recorded(name):
    for check in compare_recorded(envs.make(f"humanoid_bench/h1-{name}").unwrapped, name):
        assert check.passed, f"{check.name}: {check.detail}"


@pytest.mark.parametrize("name", mark_others(pytest.mark.exhaustive, ("walk", "maze"), NAMES))
def test_runs_in_a_batch(name):
    environment = envs.make(f"humanoid_bench/h1-{name}")
    state, observation = jax.jit(jax.vmap(environment.reset))(jax.random.split(jax.random.key(0)))
    assert observation.shape == (2, environment.observation_size)
    assert not np.array_equal(observation[0], observation[1])
    step = jax.jit(jax.vmap(environment.step))
    following, timestep = step(state, jnp.zeros((2, environment.action_size)))
    assert jax.tree.structure(following) == jax.tree.structure(state)
    assert np.isfinite(timestep.observation).all() and np.isfinite(timestep.reward).all()
    assert not timestep.terminated.any()


@pytest.mark.parametrize("name", ["stand", "balance_hard"])
def test_simpler_shapes_change_nothing_in_the_air_and_little_on_the_feet(name, monkeypatch):
    monkeypatch.setattr("tests.parity.mjx.STARTS", 4)
    native = envs.make(f"humanoid_bench/h1-{name}", action_repeat=1).unwrapped
    reference, simple = (
        ModelReference(native.task, model) for model in (native.task.model, native.task.mjx_model())
    )
    for size in ("nq", "nv", "nu", "nbody", "nsite", "nsensordata"):
        assert getattr(reference.model, size) == getattr(simple.model, size)
    check = check_simplified(reference, simple, record(reference, native, 40, 3))
    assert check.passed, check.detail


def test_mjx_is_there_to_be_asked_for(monkeypatch):
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    assert type(envs.make("humanoid_bench/h1-stand").unwrapped.physics).__name__ == "MujocoPhysics"
    assert envs.spec("humanoid_bench/h1-stand").choices() == (
        *("mujoco", "mjx", "warp"),
        "official",
    )
    with pytest.raises(envs.TaskError, match="choose from auto, mujoco, warp, official"):
        envs.make("humanoid_bench/h1-maze", "mjx")


@pytest.mark.slow
def test_mjx_equals_the_c_engine_with_the_simpler_shapes(monkeypatch):
    monkeypatch.setattr("tests.parity.mjx.STARTS", 6)
    for check in compare_simplified("humanoid_bench/h1-stand", 40, 3):
        assert check.passed, f"{check.name}: {check.detail}"


def test_the_maze_counts_checkpoints():
    """Two of the checkpoints are in the same place: the second is reached a step later."""
    task = envs.make("humanoid_bench/h1-maze").unwrapped.task
    _, _, progress = task.initialize(jax.random.key(0))
    pelvis = task.model.body("pelvis").id
    stages, advanced = [], []
    for place in ((0, 0), (0, 0), (3, 0.3), (3, 6), (6, 6.5), (6, 6.3), (6, 6)):
        xpos = jnp.zeros((task.model.nbody, 3)).at[pelvis, :2].set(jnp.array(place))
        progress = task.advance(type("Fields", (), {"xpos": xpos}), progress)
        stages.append(int(progress.stage))
        advanced.append(bool(progress.advanced))
    assert stages == [1, 1, 2, 3, 3, 4, 4]
    assert advanced == [True, False, True, True, False, True, False]


@pytest.mark.parametrize(
    ("name", "lowest"), [("walk", 0.2), ("sit_simple", 0.5), ("crawl", None), ("reach", None)]
)
def test_a_low_pelvis_ends_an_episode_unless_it_may_be_low(name, lowest):
    task = envs.make(f"humanoid_bench/h1-{name}").unwrapped.task
    heights = [-1.0, 0.19, 0.21, 0.49, 0.51]
    ends = [
        bool(task.terminated(SimpleNamespace(qpos=jnp.array([0, 0, height])), ()))
        for height in heights
    ]
    assert ends == [lowest is not None and height < lowest for height in heights]


def test_the_chair_is_found_in_any_direction():
    task = envs.make("humanoid_bench/h1-sit_hard").unwrapped.task
    draw = jax.jit(jax.vmap(task.initialize))
    qpos = np.asarray(draw(jax.random.split(jax.random.key(0), 500))[0])
    yaw = 2 * np.arctan2(qpos[:, 6], qpos[:, 3])
    ranges = ((0.2, 0.4), (-0.15, 0.15), (-1.8, 1.8))
    for values, (low, high) in zip((qpos[:, 0], qpos[:, 1], yaw), ranges, strict=True):
        assert low <= values.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < values.max() <= high
    np.testing.assert_array_equal(qpos[:, 4:6], 0.0)


def test_the_target_is_observed_and_drawn_anew():
    environment = envs.make("humanoid_bench/h1-reach")
    _, observation = jax.jit(jax.vmap(environment.reset))(jax.random.split(jax.random.key(0), 50))
    targets = np.asarray(observation[:, -3:])
    assert (targets.min(0) < (-1.5, -1.5, 0.5)).all() and (targets.max(0) > (1.5, 1.5, 1.7)).all()
    assert (np.abs(targets[:, :2]) <= 2).all() and (targets[:, 2] >= 0.2).all()

"""Task ids, defaults, errors, and the gymnax adapter."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import envs
from envs import TaskError
from envs.task import Task, TaskEnvironment

DMC = envs.tasks("dmc_easy_medium") + envs.tasks("dmc_hard")


def test_importing_envs_is_cheap():
    code = "import envs, sys; print([m for m in sys.modules if m in ('mujoco', 'gymnax')])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr


def test_defaults_of_the_suite():
    spec = envs.spec("dmc/cheetah-run")
    assert (spec.suite, spec.action_repeat, spec.episode_length) == ("dmc_easy_medium", 2, 1000)
    assert not spec.terminates
    assert spec.physics == ("mujoco", "mjx")


@pytest.mark.parametrize(
    "task_id",
    [  # the dog's model alone takes seconds to load
        pytest.param(task, marks=pytest.mark.slow)
        if task.startswith("dmc/dog-") and task != "dmc/dog-run"
        else task
        for task in DMC
    ],
)
def test_every_task_can_be_made_without_compiling(task_id, caplog):
    with jax.log_compiles():
        environment = envs.make(task_id)
    assert "Compiling" not in caplog.text
    assert environment.episode_length == 500
    state, observation = jax.eval_shape(environment.reset, jax.random.key(0))
    assert observation.shape == (environment.observation_size,)
    action = jnp.zeros(environment.action_size)
    following, timestep = jax.eval_shape(environment.step, state, action)
    assert timestep.observation.shape == observation.shape
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), state) == (
        jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), following)
    )
    dtypes = jax.tree.map(lambda leaf: str(leaf.dtype), timestep)
    assert (dtypes.observation, dtypes.reward) == ("float32", "float32")
    assert {dtypes.terminated, dtypes.truncated, dtypes.success} == {"bool"}


def test_suites_are_the_published_ones():
    suites = ("dmc_easy_medium", "dmc_hard", "mujoco", "myosuite", "humanoid_bench", "all")
    assert [len(envs.tasks(suite)) for suite in suites] == [21, 7, 5, 10, 14, 57]


def test_suites_hold_known_tasks():
    for name, members in envs.suites().items():
        assert set(members) <= set(envs.tasks())
        assert envs.tasks(name) == members


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ({"task_id": "dmc/cheetah-rum"}, "did you mean dmc/cheetah-run"),
        ({"task_id": "nonsense"}, "envs.tasks()"),
        ({"task_id": "gymnax/Pendulm-v1"}, "did you mean gymnax/Pendulum-v1"),
        ({"task_id": "gymnax/CartPole-v1"}, "Discrete actions"),
        ({"task_id": "dmc/cheetah-run", "physics": "bullet"}, "choose from auto, mujoco, mjx"),
        ({"task_id": "gymnasium/.broken:Broken-v0"}, "importing .broken raised"),
        ({"task_id": "gymnax/Pendulum-v1", "physics": "mjx"}, "brings its own physics"),
        ({"task_id": "dmc/cheetah-run", "action_repeat": 0}, "give 1 or more"),
        ({"task_id": "dmc/cheetah-run", "episode_length": 0}, "give 1 or more"),
    ],
)
def test_errors_are_one_line_of_advice(arguments, advice):
    with pytest.raises(TaskError) as error:
        envs.make(**arguments)
    assert advice in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnax", None)
    with pytest.raises(TaskError, match="pip install gymnax"):
        envs.make("gymnax/Pendulum-v1")


def test_users_can_register_tasks(monkeypatch):
    monkeypatch.setattr("envs.registry._specs", dict(envs.registry._specs))
    pendulum = envs.make("gymnax/Pendulum-v1")
    envs.register("mine/pendulum", lambda physics: pendulum, episode_length=50, action_repeat=5)
    assert envs.make("mine/pendulum").episode_length == 10
    assert "mine/pendulum" in envs.tasks("user")
    with pytest.raises(TaskError, match="already registered"):
        envs.register("mine/pendulum", lambda physics: pendulum)


def test_gymnax_truncates_by_its_own_limit_and_rescales_actions():
    environment = envs.make("gymnax/Pendulum-v1")
    assert (environment.observation_size, environment.action_size) == (3, 1)
    assert environment.episode_length == 200
    state, _ = environment.reset(jax.random.key(0))

    def step(state, _):
        state, timestep = environment.step(state, jnp.ones(1))
        return state, (timestep, state.environment.last_u)

    _, (timesteps, torques) = jax.jit(lambda s: jax.lax.scan(step, s, length=200))(state)
    assert timesteps.truncated.tolist() == [False] * 199 + [True]
    assert not timesteps.terminated.any()
    np.testing.assert_allclose(torques, 2.0)


def test_gymnax_termination_is_not_a_truncation():
    """Full throttle in the direction of travel takes the mountain car to its goal."""
    environment = envs.make("gymnax/MountainCarContinuous-v0")
    state, observation = environment.reset(jax.random.key(0))

    def step(carry, _):
        state, observation = carry
        state, timestep = environment.step(state, jnp.sign(observation[1:]))
        return (state, timestep.observation), timestep

    scan = jax.jit(lambda carry: jax.lax.scan(step, carry, length=300)[1])
    timesteps = scan((state, observation))
    end = int(jnp.argmax(timesteps.terminated))
    assert 0 < end < 299
    assert timesteps.observation[end, 0] >= 0.45, "the final observation, not a new start"
    assert not timesteps.truncated.any()


def test_actuators_without_a_range_are_refused():
    class Loose(Task):
        """Its motor may pull as much as it likes."""

        fields = ("qpos",)

        def __init__(self):
            self.model = mujoco.MjModel.from_xml_string(
                """<mujoco><worldbody><body><joint name="x" type="slide"/><geom size="1"/></body>
                </worldbody><actuator><motor name="pull" joint="x"/></actuator></mujoco>"""
            )

    with pytest.raises(TaskError, match="actuator pull has no range"):
        TaskEnvironment(Loose(), "mujoco")

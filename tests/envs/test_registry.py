"""Task ids, defaults, errors, and the gymnax adapter."""

import subprocess
import sys

import gymnax
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.classic_control.pendulum import EnvParams, Pendulum

import envs
from envs import TaskError, TimeLimit
from envs.task import Task, TaskEnvironment
from purejax_simba.config import Config, ConfigError
from purejax_simba.defaults import resolve
from tests.helpers import tiny

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
        ({"task_id": "dmc/cheetah-run", "episode_length": 2**31}, "at most 2147483647"),
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


def test_the_lower_of_two_limits_holds_and_a_higher_one_is_refused(monkeypatch):
    monkeypatch.setattr("envs.registry._specs", dict(envs.registry._specs))
    for limit in (50, 75, 100):
        envs.register(
            f"mine/{limit}",
            lambda physics: TimeLimit(envs.make("dmc/pendulum-swingup", action_repeat=1), 75),
            episode_length=limit,
            action_repeat=2,
        )
        environment = envs.make(f"mine/{limit}")
        assert envs.steps_per_episode(environment) == min(limit, 75)
        assert environment.episode_length == (25 if limit == 50 else 38)
        # What the task has by default is no request.
        assert envs.make(f"mine/{limit}", episode_length=limit).episode_length == (
            environment.episode_length
        )
        assert envs.steps_per_episode(envs.make(f"mine/{limit}", episode_length=31)) == 31
        with pytest.raises(TaskError, match=f"mine/{limit} ends its episodes after 75 steps"):
            envs.make(f"mine/{limit}", episode_length=101)


def test_a_limit_that_cannot_be_counted_is_refused(monkeypatch):
    monkeypatch.setattr("envs.registry._specs", dict(envs.registry._specs))
    environment = envs.make("gymnax/Pendulum-v1")
    environment.episode_length = 2**31
    envs.register("mine/pendulum", lambda physics: environment)
    with pytest.raises(TaskError, match="2147483648 steps, more than can be counted: give an epi"):
        envs.make("mine/pendulum")
    assert envs.make("mine/pendulum", episode_length=9).episode_length == 9


def _truncations(environment, steps: int, key: int = 0) -> list[int]:
    """The steps at which an environment truncates, without automatic reset."""
    state, _ = environment.reset(jax.random.key(key))

    def step(state, _):
        state, timestep = environment.step(state, jnp.zeros(environment.action_size))
        return state, timestep.truncated

    _, truncated = jax.jit(lambda s: jax.lax.scan(step, s, length=steps))(state)
    return np.flatnonzero(truncated).tolist()


@struct.dataclass
class NoLimit:
    """Parameters without a time limit."""

    max_torque: float = 2.0
    dt: float = 0.05
    g: float = 10.0
    m: float = 1.0
    l: float = 1.0  # noqa: E741
    max_speed: float = 8.0


class Limitless(Pendulum):
    """Has no limit."""

    default_params = NoLimit()


class Ages(Pendulum):
    """Has a limit that nobody reaches."""

    default_params = EnvParams(max_steps_in_episode=2**40)


class Falls(Pendulum):
    """Truncates by itself in every fifth step, and not by its limit of 7."""

    default_params = EnvParams(max_steps_in_episode=7)

    def is_truncated(self, state, params):
        return state.time % 5 == 0


class Late(Pendulum):
    """Begins at a random time of an episode of 9 steps."""

    default_params = EnvParams(max_steps_in_episode=9)

    def reset_env(self, key, params):
        observation, state = super().reset_env(key, params)
        return observation, state.replace(time=jax.random.randint(key, (), 0, 9))


class Switched(Pendulum):
    """Pays an integer between -1 and 3."""

    def action_space(self, params=None):
        return spaces.Box(-1, 3, (1,), jnp.int32)

    def step_env(self, key, state, action, params):
        assert action.dtype == jnp.int32
        observation, state, _, done, info = super().step_env(key, state, action, params)
        return observation, state, action[0], done, info


@pytest.fixture
def own(monkeypatch):
    """Registers an environment with gymnax, and returns its id."""
    monkeypatch.setattr(gymnax.registration, "_registry", dict(gymnax.registration._registry))
    names = list(gymnax.registered_envs)
    monkeypatch.setattr(gymnax.registration, "registered_envs", names)
    monkeypatch.setattr(gymnax, "registered_envs", names)

    def register(kind) -> str:
        gymnax.register(kind.__name__, kind)
        return f"gymnax/{kind.__name__}"

    return register


def test_gymnax_without_a_limit_of_its_own_needs_one(own):
    task = own(Limitless)
    assert envs.make(task).episode_length is None
    assert _truncations(envs.make(task), 300) == []
    with pytest.raises(ConfigError, match="no time limit of its own: give --episode-length"):
        resolve(Config(task))
    assert resolve(Config(task, episode_length=30)).episode_length == 30
    assert _truncations(envs.make(task, episode_length=30), 31) == [29, 30]


@pytest.mark.slow
def test_gymnax_without_a_limit_trains(own, tmp_path):
    rows = tiny.train(own(Limitless), tmp_path)
    assert {row["value"] for row in rows if row["metric"] == "avg_length"} == {"40.0"}


def test_gymnax_with_a_limit_beyond_int32_has_none(own):
    task = own(Ages)
    assert envs.make(task).episode_length is None
    assert _truncations(envs.make(task), 20) == []
    assert _truncations(envs.make(task, episode_length=5), 5) == [4]


def test_gymnax_is_given_a_longer_limit():
    environment = envs.make("gymnax/Pendulum-v1", episode_length=300)
    assert environment.episode_length == 300
    assert _truncations(environment, 300) == [299]
    assert resolve(Config("gymnax/Pendulum-v1", episode_length=300)).episode_length == 300


def test_gymnax_that_truncates_by_itself_keeps_to_its_limit_too(own):
    task = own(Falls)
    assert envs.make(task).episode_length == 7
    assert _truncations(envs.make(task), 8) == [4, 6, 7]
    with pytest.raises(TaskError, match="ends its episodes after 7 steps by itself"):
        envs.make(task, episode_length=8)


def test_gymnax_may_begin_in_the_midst_of_an_episode(own):
    environment = envs.make(own(Late))
    ends = []
    for key in range(5):
        begin = environment.reset(jax.random.key(key))[0].environment.time
        ends.append(8 - int(begin))
        assert _truncations(environment, 9, key)[0] == ends[-1]
    assert len(set(ends)) > 1


def test_gymnax_integers_have_equal_shares(own):
    environment = envs.make(own(Switched))
    state, _ = environment.reset(jax.random.key(0))
    actions = jnp.concatenate([(jnp.arange(20) + 0.5) / 10 - 1, jnp.array([-1.0, 1.0])])
    step = jax.vmap(lambda action: environment.step(state, action[None])[1].reward)
    expected = [*np.repeat(np.arange(-1, 4), 4), -1, 3]
    assert step(actions).tolist() == expected


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

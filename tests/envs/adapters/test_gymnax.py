"""The adapter for gymnax: limits, ends and actions."""

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import spaces
from gymnax.environments.classic_control.pendulum import EnvParams, Pendulum

import envs
from envs import TaskError
from purejax_simba.config import Config, ConfigError
from purejax_simba.defaults import resolve
from tests.helpers import tiny


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


class Stops(Pendulum):
    """Terminates in the step in which its limit cuts it."""

    default_params = EnvParams(max_steps_in_episode=5)

    def step_env(self, key, state, action, params):
        observation, state, reward, _, info = super().step_env(key, state, action, params)
        return observation, state, reward, state.time >= 5, info


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


def test_gymnax_that_terminates_at_its_limit_is_not_truncated(own):
    environment = envs.make(own(Stops))
    state, _ = environment.reset(jax.random.key(0))
    for step in range(1, 6):
        state, timestep = environment.step(state, jnp.zeros(1))
        assert (bool(timestep.terminated), bool(timestep.truncated)) == (step == 5, False)


def test_gymnax_may_begin_in_the_midst_of_an_episode(own):
    environment = envs.make(own(Late))
    ends = []
    for key in range(5):
        state, _ = environment.reset(jax.random.key(key))
        begin = environment.unwrapped_state(state).inner.time
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
        return state, (timestep, environment.unwrapped_state(state).inner.last_u)

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


def test_what_the_ends_of_an_action_stand_for_is_known():
    low, high = envs.make("gymnax/Pendulum-v1").action_range
    np.testing.assert_array_equal([low, high], [[-2.0], [2.0]])

"""The adapter for Brax and Playground, over an environment whose every quantity is known."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import pytest
from flax import struct

import envs
from envs.adapters import brax, playground
from envs.adapters.brax import BraxEnvironment
from tests.helpers import tiny


@struct.dataclass
class CounterState:
    obs: dict
    reward: jax.Array
    done: jax.Array
    info: dict


class Counter:
    """Ends after three steps: cut by a limit of its own, unless an action was above 0.5."""

    action_size = 1
    dt = 0.1

    def reset(self, key):
        zero = jnp.zeros(())
        obs = {"b": jnp.zeros((1, 2)), "a": zero}
        assert key.dtype == jnp.uint32
        return CounterState(obs=obs, reward=zero, done=zero, info={"truncation": 0.0})

    def step(self, state, action):
        steps = state.obs["a"] + 1
        ended = jnp.where(steps >= 3, 1.0, 0.0)
        obs = {"b": jnp.array([[10.0, 20.0]]), "a": steps}
        truncation = ended * (action[0] <= 0.5)
        return CounterState(obs=obs, reward=action[0], done=ended, info={"truncation": truncation})


@pytest.mark.parametrize(("action", "truncated"), [(1.0, False), (0.0, True)])
def test_ends_are_told_apart_and_observations_flattened_by_name(action, truncated):
    environment = BraxEnvironment(Counter())
    assert (environment.observation_size, environment.action_size) == (3, 1)
    state, _ = environment.reset(jax.random.key(0))
    ends = []
    for _ in range(3):
        types = jax.tree.map(lambda leaf: (leaf.dtype, leaf.weak_type), state)
        state, timestep = environment.step(state, jnp.full(1, action))
        assert jax.tree.map(lambda leaf: (leaf.dtype, leaf.weak_type), state) == types
        ends.append((bool(timestep.terminated), bool(timestep.truncated)))
    assert timestep.observation.tolist() == [3.0, 10.0, 20.0]
    assert timestep.reward == action
    assert ends == [(False, False), (False, False), (not truncated, truncated)]


class Privileged(Counter):
    """Has more to tell critics than actors."""

    def reset(self, key):
        state = super().reset(key)
        obs = {"privileged_state": jnp.array([7.0, 8.0]), "state": jnp.array([1.0, 2.0, 3.0])}
        return state.replace(obs=obs)


def test_what_is_for_critics_comes_last():
    environment = envs.AutoReset(BraxEnvironment(Privileged()))
    assert (environment.observation_size, environment.actor_observation_size) == (5, 3)
    _, observation = environment.reset(jax.random.key(0))
    assert observation.tolist() == [1.0, 2.0, 3.0, 7.0, 8.0]
    assert BraxEnvironment(Counter()).actor_observation_size is None


class Lingering(Counter):
    """Marks every second step as cut, and ends after three, which is none of these."""

    def step(self, state, action):
        state = super().step(state, action)
        truncation = (state.obs["a"] == 2) * 1.0
        return state.replace(info={"truncation": truncation})


def test_what_is_cut_without_being_done_goes_on():
    environment = BraxEnvironment(Lingering())
    state, _ = environment.reset(jax.random.key(0))
    ends = []
    for _ in range(3):
        state, timestep = environment.step(state, jnp.zeros(1))
        ends.append((bool(timestep.terminated), bool(timestep.truncated)))
    assert ends == [(False, False), (False, False), (True, False)]


@pytest.mark.parametrize("library", ["brax", "playground"])
def test_a_missing_library_is_named_before_anything_is_made(library, monkeypatch):
    package = {"brax": "brax", "playground": "mujoco_playground"}[library]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    task = envs.tasks(library)[0]
    with pytest.raises(envs.TaskError, match=f"pip install {library}"):
        envs.make(task)
    with pytest.raises(envs.TaskError, match=f"pip install {library}"):
        envs.make(f"{library}/unheard-of")


@pytest.mark.slow
def test_the_listed_environments_are_those_of_the_libraries():
    from brax.envs import _envs
    from mujoco_playground import dm_control_suite, locomotion

    assert set(brax.NAMES) == set(_envs) - {"fast"}, "which is for tests of speed"
    assert set(playground.OWN) == set(dm_control_suite.ALL_ENVS)
    robots = ("Apollo", "Berkeley", "G1", "H1", "Op3", "T1")
    assert {*playground.HUMANOIDS} == {n for n in locomotion.ALL_ENVS if n.startswith(robots)}
    assert {playground._lengths(name) for name in playground.NAMES} == {(1000, 1)}
    for name, expected in {"PandaPickCube": (150, 1), "PandaRobotiqPushCube": (3000, 4)}.items():
        spec = envs.spec(f"playground/{name}")
        assert (spec.episode_length, spec.action_repeat) == expected
    with pytest.raises(envs.TaskError, match="did you mean brax/ant"):
        envs.make("brax/antt")


@pytest.mark.slow
def test_robots_come_with_a_package_or_are_refused_without_a_download(monkeypatch):
    from mujoco_playground._src import mjx_env

    place = mjx_env.MENAGERIE_PATH
    environment = envs.make("playground/T1JoystickFlatTerrain")
    sizes = environment.observation_size, environment.actor_observation_size
    assert (*sizes, environment.action_size) == (180 + 85, 85, 23)
    drawn = envs.make("playground/T1JoystickFlatTerrain-randomized")
    state = jax.eval_shape(drawn.reset, jax.random.key(0))[0]
    assert len(state.inner.drawn) == 8, "the fields that Playground's randomiser says"
    for task, said in {
        "Go1Handstand": "put MuJoCo Menagerie into",
        "CheetahRun-randomized": "draws no models for it: take playground/CheetahRun",
    }.items():
        with pytest.raises(envs.TaskError, match=said):
            envs.make(f"playground/{task}")
    monkeypatch.setattr(playground, "_PACKAGE", "no_such_package")
    with pytest.raises(envs.TaskError, match="pip install no-such-package"):
        envs.make("playground/G1JoystickFlatTerrain")
    assert mjx_env.MENAGERIE_PATH is place and not place.exists()


class Heavy:
    """Observes the mass of its model, which Playground has as an attribute."""

    action_size = 1
    dt = 0.1

    def __init__(self):
        self._mjx_model = {"gravity": jnp.float32(-9.81), "mass": jnp.ones(2)}

    @property
    def mjx_model(self):
        return self._mjx_model

    def reset(self, key):
        zero = jnp.zeros(())
        return CounterState(obs=self._mjx_model["mass"], reward=zero, done=zero, info={"steps": 0})

    def step(self, state, action):
        steps = state.info["steps"] + 1
        reward, done = self._mjx_model["mass"].sum(), 1.0 * (steps == 2)
        return state.replace(reward=reward, done=done, info={"steps": steps})


def test_each_episode_has_a_model_of_its_own():
    def randomize(model, keys):
        draw = jax.vmap(lambda key: model["mass"] * jax.random.uniform(key, (2,)))
        axes = {"gravity": None, "mass": 0}
        return model | {"mass": draw(keys)}, axes

    inner = Heavy()
    environment = envs.AutoReset(playground.RandomizedEnvironment(inner, randomize))
    state, observation = jax.vmap(environment.reset)(jax.random.split(jax.random.key(0), 3))
    step, masses = jax.jit(jax.vmap(environment.step)), [observation]
    for _ in range(4):
        state, timestep = step(state, jnp.zeros((3, 1)))
        assert jnp.allclose(timestep.reward, masses[-1].sum(-1)), "the model that it began with"
        masses.append(state.observation)
    assert (masses[1] == masses[0]).all() and (masses[3] == masses[2]).all()
    seen = jnp.concatenate(masses[::2]).ravel().tolist()
    assert len({*seen}) == 3 * 3 * 2
    assert inner.mjx_model["mass"].tolist() == [1.0, 1.0]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["brax/inverted_pendulum", "playground/CartpoleBalance"])
def test_trains(task, tmp_path):
    rows = tiny.train(task, tmp_path)
    assert [row["metric"] for row in rows].count("avg_return") >= 4


def test_what_is_missing_is_found_without_importing():
    known = envs.spec("playground/CheetahRun")
    installed = importlib.util.find_spec("mujoco_playground") is not None
    assert known.missing() == (
        "" if installed else "mujoco_playground is not installed: pip install playground"
    )


def test_an_environment_that_its_library_cannot_make_is_refused_in_one_line(monkeypatch):
    def fail(*_):
        raise AttributeError("no attribute\n'find_body'")

    monkeypatch.setattr(brax, "BraxEnvironment", fail)
    with pytest.raises(envs.TaskError, match=r"brax/ant does not work .* 'find_body'\)") as error:
        envs.make("brax/ant")
    assert "\n" not in str(error.value)

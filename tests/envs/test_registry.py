"""Task ids, defaults and errors."""

import importlib
import subprocess
import sys
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import envs
from envs import TaskError, TimeLimit, Wrapper
from tests.helpers.counter import Counter

DMC = envs.tasks("dmc_easy_medium") + envs.tasks("dmc_hard")


def test_importing_envs_is_cheap():
    code = "import envs, sys; print([m for m in sys.modules if m in ('mujoco', 'gymnax')])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr


def test_defaults_of_the_suite():
    spec = envs.spec("dmc/cheetah-run")
    assert (spec.suite, spec.action_repeat, spec.episode_length) == ("dmc_easy_medium", 2, 1000)
    assert not spec.terminates
    assert spec.physics == ("mujoco", "mjx", "warp")


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


def test_all_tasks_are_those_of_the_published_suites_in_their_order():
    suites = ("dmc_easy_medium", "dmc_hard", "mujoco", "myosuite", "humanoid_bench")
    assert envs.tasks("all") == tuple(task for suite in suites for task in envs.tasks(suite))


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


def test_a_module_that_ends_the_program_does_not(tmp_path, monkeypatch):
    (tmp_path / "leaving.py").write_text("raise SystemExit(7)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TaskError, match="importing leaving raised SystemExit: 7"):
        envs.make("leaving:mine/task")


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


def test_what_is_no_environment_is_refused(monkeypatch):
    monkeypatch.setattr("envs.registry._specs", dict(envs.registry._specs))
    envs.register("mine/nothing", lambda physics: object())
    with pytest.raises(TaskError, match=r"mine/nothing is no environment: inherit from envs\.Env"):
        envs.make("mine/nothing")


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


def test_a_limit_that_an_environment_declares_is_kept_for_it(monkeypatch):
    """Whether it ends its episodes there by itself or not, as this one."""
    monkeypatch.setattr("envs.registry._specs", dict(envs.registry._specs))

    class Endless(Counter):
        episode_length = 4

    for name, limit in (("own", None), ("same", 4), ("lower", 3), ("higher", None)):
        inner = TimeLimit(Endless(), 9) if name == "higher" else Endless()
        envs.register(f"mine/{name}", lambda physics, made=inner: made, episode_length=limit)
        environment = envs.AutoReset(envs.make(f"mine/{name}"))
        state, _ = environment.reset(jax.random.key(0))
        step, ends = jax.jit(environment.step), []
        for _ in range(12):
            state, timestep = step(state, jnp.zeros(1))
            ends.append(bool(timestep.truncated))
        assert sum(ends) == 12 // (limit or 4), name


def test_what_wraps_a_task_says_how_often_actions_are_repeated(monkeypatch):
    monkeypatch.setattr("envs.registry._specs", dict(envs.registry._specs))
    wrapped = Wrapper(envs.make("dmc/pendulum-swingup", "mujoco"))
    envs.register("mine/pendulum", lambda physics: wrapped)
    with pytest.raises(TaskError, match="2 times: make what it wraps with action_repeat=1, and re"):
        envs.make("mine/pendulum")
    bare = Wrapper(envs.make("dmc/pendulum-swingup", "mujoco", action_repeat=1))
    envs.register("mine/bare", lambda physics: bare, action_repeat=2)
    environment = envs.make("mine/bare")
    assert (environment.repeat, environment.episode_length) == (2, 500)
    assert environment.engine == "mujoco"


def test_worker_processes_are_told_where_their_episodes_end(monkeypatch):
    monkeypatch.setattr("envs.registry._specs", dict(envs.registry._specs))

    class Elsewhere(Counter):
        episode_length, elsewhere = 9, True

    envs.register("mine/same", lambda physics: Elsewhere(), episode_length=9)
    envs.register("mine/short", lambda physics: Elsewhere(), episode_length=5)
    assert envs.make("mine/same").episode_length == 9
    with pytest.raises(TaskError, match="make what it wraps with episode_length=5"):
        envs.make("mine/short")
    with pytest.raises(TaskError, match=r"give envs\.make an episode_length"):
        TimeLimit(Elsewhere(), 5)


def test_a_limit_that_cannot_be_counted_is_refused(monkeypatch):
    monkeypatch.setattr("envs.registry._specs", dict(envs.registry._specs))
    environment = envs.make("gymnax/Pendulum-v1")
    environment.episode_length = 2**31
    envs.register("mine/pendulum", lambda physics: environment)
    with pytest.raises(TaskError, match="2147483648 steps, more than can be counted: give an epi"):
        envs.make("mine/pendulum")
    assert envs.make("mine/pendulum", episode_length=9).episode_length == 9


@pytest.mark.parametrize(("found", "said"), [("1.0.0", "1.0.0"), (None, "none")])
def test_warp_needs_the_version_that_mjx_names(found, said, monkeypatch):
    version, find_spec = metadata.version, importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.metadata.version", lambda name: found if name == "warp-lang" else version(name)
    )
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: found if name == "warp" else find_spec(name)
    )
    with pytest.raises(TaskError, match=rf"needs warp-lang 1\.\d+\.\d+, and here is {said}: pip"):
        envs.make("dmc/pendulum-swingup", "warp")


class _Counting(envs.Environment):
    """Counts; what it returns can be changed."""

    observation_size, action_size, episode_length = 2, 1, 9

    def __init__(self, **returned: Any):
        self._returned = returned

    def reset(self, key):
        start = {"count": jnp.int32(0)} | self._returned.get("start", {})
        return start, self._returned.get("first", jnp.zeros(2))

    def step(self, state, action):
        timestep = {
            "observation": jnp.zeros(2),
            "reward": action[0],
            "terminated": action[0] > 2,
            "truncated": jnp.zeros((), bool),
            "success": jnp.zeros((), bool),
        }
        state = {name: value + 1 for name, value in state.items()}
        return state, envs.TimeStep(**timestep | self._returned.get("step", {}))


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ({"step": {"terminated": False}}, "terminated of step is False, which is no array: give"),
        ({"step": {"reward": jnp.zeros(1)}}, r"reward of step is float32\(1,\), and float32\(\)"),
        ({"first": jnp.zeros(2, int)}, r"of reset is int32\(2,\), and float32\(2,\) is needed"),
        ({"step": {"observation": jnp.zeros(2, int)}}, r"observation of step is int32\(2,\), and"),
        ({"step": {"success": jnp.float32(1)}}, r"success of step is float32\(\), and bool\(\)"),
        ({"step": {"observation": jnp.zeros(3)}}, r"float32\(3,\), and float32\(2,\) is needed"),
        ({"first": jnp.zeros(3)}, r"the observation of reset is float32\(3,\)"),
        (
            {"start": {"time": jnp.zeros(2, bool)}},
            r"\['state'\]\['time'\] is bool\(2,\) after reset",
        ),
    ],
)
def test_what_loops_cannot_carry_is_refused(returned, said, monkeypatch):
    monkeypatch.setattr("envs.registry._specs", dict(envs.registry._specs))
    envs.register("mine/wrong", lambda physics: _Counting(**returned))
    with pytest.raises(TaskError, match=rf"mine/wrong: .*{said}"):
        envs.make("mine/wrong")
    envs.register("mine/right", lambda physics: _Counting())
    assert envs.make("mine/right").episode_length == 9

"""Environments in the processes of another Python interpreter, with packages of its own."""

import os
import signal
import subprocess
import sys
import threading
import time

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import HostEnvironmentError, HostOptions, TaskError
from tests.helpers import tiny
from tests.helpers.host_play import KEYS, SHAPE, play
from tests.helpers.host_processes import (
    check_nothing_is_left,
    play_on_host,
    wait_until_gone,
    worker_pids,
)

OLD = ("gymnasium==0.29.1", "numpy==1.26.4")
MODULE = """
import gymnasium, numpy

class Versions(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 99, (3,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        versions = gymnasium.__version__, numpy.__version__
        numbers = [float(version.split(".")[0]) for version in versions]
        self.observation = numpy.array([*numbers, seed % 10], numpy.float32)
        return self.observation, {}

    def step(self, action):
        return self.observation, 1.0, False, False, {}

gymnasium.register("Versions-v0", entry_point="versions:Versions", max_episode_steps=5)
"""


@pytest.fixture(scope="module")
def old_python(tmp_path_factory) -> str:
    """An interpreter with packages that cannot be installed beside ours."""
    directory = tmp_path_factory.mktemp("old")
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    python = str(directory / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", *OLD], check=True)
    return python


@pytest.mark.slow
def test_old_packages_play_the_same_pendulum(old_python):
    steps = 205
    actions = jax.random.uniform(jax.random.key(1), (steps, *SHAPE, 1), minval=-1.0)
    there = play(envs.make("gymnasium/Pendulum-v1", host=HostOptions(python=old_python)), actions)
    here = play(envs.make("gymnasium/Pendulum-v1"), actions)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), there, here)


@pytest.mark.slow
def test_a_module_in_the_working_directory_is_run_by_the_old_packages(
    old_python, tmp_path, monkeypatch
):
    (tmp_path / "versions.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    environment = envs.make("gymnasium/versions:Versions-v0", host=HostOptions(python=old_python))
    assert environment.episode_length == 5
    played = play(environment, jnp.zeros((7, *SHAPE, 1)))
    assert (played.first[..., 0] == 0).all() and (played.first[..., 1] == 1).all()
    np.testing.assert_array_equal(played.first[..., 2], played.seeds[0] % 10)
    assert played.timesteps.truncated.all((1, 2)).tolist() == [False] * 4 + [True] + [False] * 2
    # The same module here: it is not that the old packages came from this process.
    monkeypatch.syspath_prepend(tmp_path)
    _, first = jax.vmap(jax.vmap(envs.make("gymnasium/versions:Versions-v0").reset))(KEYS)
    assert (first[..., 0] == float(gymnasium.__version__.split(".")[0])).all()


@pytest.mark.slow
def test_trains_with_old_packages(old_python, tmp_path):
    rows = tiny.train("gymnasium/Pendulum-v1", tmp_path, host_python=old_python)
    assert [row["metric"] for row in rows].count("avg_return") >= 4


def test_the_same_interpreter_counts_as_another():
    """Nothing is taken from this process but the id, not even where modules are."""
    environment = envs.make(
        "gymnasium/tests.helpers.host_environments:test/Counting-v0",
        host=HostOptions(python=sys.executable),
    )
    results = play_on_host(environment, 3)
    assert (results[:, :, 5] == np.arange(1, 4)[:, None]).all()
    pids = worker_pids(environment)
    assert os.getpid() not in pids
    environment.close()
    wait_until_gone(pids)


def test_a_stopped_worker_is_an_error_within_the_time_limit():
    environment = envs.make(
        "gymnasium/tests.helpers.host_environments:test/Slow-v0",
        host=HostOptions(time_limit=2.0, python=sys.executable),
    )
    pids = worker_pids(environment)
    threading.Timer(0.7, lambda: [os.kill(pid, signal.SIGSTOP) for pid in pids]).start()
    begin = time.monotonic()
    with pytest.raises(HostEnvironmentError, match=r"Slow-v0: .* did not answer within 2.0 s"):
        play_on_host(environment, 100)
    assert time.monotonic() - begin < 10.0
    wait_until_gone(pids)


def test_nothing_is_left_by_a_parent_that_is_killed():
    check_nothing_is_left("Hangs", signal.SIGKILL, sys.executable)


@pytest.mark.slow
def test_nothing_is_left_with_old_packages(old_python):
    check_nothing_is_left("Hangs", signal.SIGKILL, old_python)


def test_an_interpreter_that_cannot_do_it_is_refused_in_one_line(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    without = str(tmp_path / "bare" / "bin" / "python")
    for python, advice in {
        "/nowhere/python": "give the path of a Python interpreter",
        "false": "is no Python interpreter: give the path of one",
        without: f"No module named 'numpy'): {without} -m pip install numpy gymnasium",
    }.items():
        with pytest.raises(TaskError) as error:
            envs.make("gymnasium/Pendulum-v1", host=HostOptions(python=python))
        assert advice in str(error.value) and python in str(error.value)
        assert "\n" not in str(error.value)


def test_what_it_does_not_have_is_refused_in_one_line():
    for task_id, advice in {
        "gymnasium/Pendulm-v1": "NameNotFound",
        "gymnasium/nowhere:Pendulum-v1": "No module named 'nowhere'",
    }.items():
        with pytest.raises(TaskError) as error:
            envs.make(task_id, host=HostOptions(python=sys.executable))
        assert task_id in str(error.value) and advice in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("task_id", ["dmc/pendulum-swingup", "gymnax/Pendulum-v1"])
def test_tasks_without_processes_have_no_use_for_it(task_id):
    with pytest.raises(TaskError, match="has no processes"):
        envs.make(task_id, host=HostOptions(python=sys.executable))


def test_the_official_environment_of_a_task_is_a_physics(tmp_path, monkeypatch):
    monkeypatch.setattr("envs.registry._specs", dict(envs.registry._specs))
    pendulum = envs.make("gymnax/Pendulum-v1")
    envs.register(
        "mine/counting",
        lambda physics: pendulum,
        physics=("mujoco",),
        action_repeat=2,
        episode_length=6,
        official="gymnasium/tests.helpers.host_environments:test/Counting-v0",
    )
    environment = envs.make(
        "mine/counting", physics="official", host=HostOptions(python=sys.executable)
    )
    assert environment.observation_size == 4 and environment.episode_length == 3
    assert environment.repeat == 2
    assert envs.make("mine/counting").observation_size == 3
    with pytest.raises(TaskError, match="choose from auto, mujoco, official"):
        envs.make("mine/counting", physics="mjx")
    with pytest.raises(TaskError, match=r"choose from auto, mujoco, mjx, warp$"):
        envs.make("dmc/cheetah-run", physics="official")

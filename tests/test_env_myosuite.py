"""The tasks of MyoSuite through the host adapter.

With the package, if it is installed; and with a stand-in, which shows how they are asked for.
"""

import importlib.util
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import HostOptions, TaskError
from tests import tiny
from tests.host_play import SHAPE, play

TASKS = envs.tasks("myosuite")
STAND_IN = """
import gymnasium, numpy

class Hand(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9, 9, (2,))
    action_space = gymnasium.spaces.Box(0, 1, (3,))

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return numpy.zeros(2, numpy.float32), {}

    def step(self, action):
        self.steps += 1
        observation = numpy.array([self.steps, action[0]], numpy.float32)
        return observation, 1.0, False, False, {"solved": self.steps == 3}

gymnasium.register("myoHandKeyTurnRandom-v0", entry_point="myosuite:Hand")
"""


def test_they_are_the_ten_of_the_published_results():
    assert len(TASKS) == 10 and set(TASKS) < set(envs.tasks("all"))
    assert {"myosuite/myo-reach", "myosuite/myo-obj-hold-hard"} < set(TASKS)


def test_the_package_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TaskError, match=r"pip install 'myosuite>=3,<4', or .*--host-python"):
        envs.make("myosuite/myo-reach")


def test_lengths_repeats_and_successes(tmp_path, monkeypatch):
    (tmp_path / "myosuite.py").write_text(STAND_IN)
    monkeypatch.chdir(tmp_path)
    options = HostOptions(python=sys.executable)
    environment = envs.make("myosuite/myo-key-turn-hard", host=options)
    assert (environment.observation_size, environment.action_size) == (2, 3)
    assert environment.episode_length == 50, "100 steps, two per action"
    played = play(environment, -jnp.ones((51, *SHAPE, 3)))
    timesteps = played.timesteps
    assert (timesteps.reward == 2).all()
    np.testing.assert_array_equal(timesteps.success[:, 0, 0], np.arange(51) % 50 == 1)
    np.testing.assert_array_equal(timesteps.truncated[:, 0, 0], np.arange(51) == 49)
    assert (timesteps.observation[..., 1] == 0).all(), "-1 is the lowest action"


@pytest.mark.slow
@pytest.mark.parametrize("task_id", TASKS)
def test_trains(task_id, tmp_path):
    pytest.importorskip("myosuite")
    rows = tiny.train(task_id, tmp_path)
    assert [row["metric"] for row in rows].count("avg_success") >= 4

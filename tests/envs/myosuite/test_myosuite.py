"""MyoSuite's own tasks, in worker processes: the physics `official`.

With a stand-in for the package, in an interpreter of its own, whether it is installed here or not.
"""

import importlib.util
import sys
import venv

import jax.numpy as jnp
import numpy as np
import pytest

import envs
from benchmarks import envs as benchmark
from benchmarks.originals import available
from envs import HostOptions, TaskError
from purejax_simba.config import Config
from purejax_simba.defaults import make_environment, resolve
from tests.helpers import tiny
from tests.helpers.host_play import SHAPE, play
from tests.parity.command import compare

TASKS = envs.tasks("myosuite")
STAND_IN = """
import gymnasium, numpy, sys

BIAS = 0 if "gymnasium_loop" in sys.argv[0] else {bias}

class Hand(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9, 9, (2,))
    action_space = gymnasium.spaces.Box(0, 1, (3,))

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return numpy.full(2, seed % 7, numpy.float32), {{}}

    def step(self, action):
        self.steps += 1
        observation = numpy.array([self.steps, action[0]], numpy.float32)
        return observation, 1.0 + BIAS, False, False, {{"solved": self.steps in (3, 6)}}

gymnasium.register("myoHandKeyTurnRandom-v0", entry_point="myosuite:Hand")
gymnasium.register("myoHandObjHoldFixed-v0", entry_point="myosuite:Hand", max_episode_steps=75)
"""


class StandIn:
    """An interpreter that finds a package of this name before any that is installed."""

    def __init__(self, directory):
        venv.create(directory, symlinks=True)
        self.python = str(directory / "bin" / "python")
        (self._packages,) = directory.glob("lib/python*/site-packages")
        ours = [path for path in sys.path if path.endswith("site-packages")]
        (self._packages / "ours.pth").write_text("\n".join(ours))
        metadata = self._packages / "myosuite-3.0.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text("Metadata-Version: 2.1\nName: myosuite\nVersion: 3.0\n")
        self.write()

    def write(self, bias: float = 0.0) -> None:
        (self._packages / "myosuite.py").write_text(STAND_IN.format(bias=bias))


@pytest.fixture
def stand_in(tmp_path):
    return StandIn(tmp_path / "own")


def test_they_are_the_ten_of_the_published_results():
    assert len(TASKS) == 10 and set(TASKS) < set(envs.tasks("all"))
    assert {"myosuite/myo-reach", "myosuite/myo-obj-hold-hard"} < set(TASKS)


def test_the_package_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TaskError, match=r"--no-deps 'myosuite>=3,<4', or .*--host-python"):
        envs.make("myosuite/myo-reach")


def test_another_interpreter_may_have_what_is_left_out_here(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not available("")
    assert "left out: myosuite/myo-reach: myosuite is not installed" in capsys.readouterr().err
    assert available("/another/python") == TASKS


def test_lengths_repeats_and_successes(stand_in):
    options = HostOptions(python=stand_in.python)
    environment = envs.make("myosuite/myo-key-turn-hard", "official", host=options)
    assert (environment.observation_size, environment.action_size) == (2, 3)
    assert environment.episode_length == 50, "100 steps, two per action"
    played = play(environment, -jnp.ones((51, *SHAPE, 3)))
    timesteps = played.timesteps
    assert (timesteps.reward == 2).all()
    # Solved at steps 3 and 6: only the second is the last of an action's two.
    np.testing.assert_array_equal(timesteps.success[:, 0, 0], np.arange(51) % 50 == 2)
    np.testing.assert_array_equal(timesteps.truncated[:, 0, 0], np.arange(51) == 49)
    assert (timesteps.observation[..., 1] == 0).all(), "-1 is the lowest action"


@pytest.mark.parametrize(
    ("asked", "holds"), [(None, 75), (100, 75), (50, 50), (75, 75), (120, 120)]
)
def test_the_configuration_says_which_limit_holds(stand_in, asked, holds):
    """The suite's 100 is no request, be it left out or read from the results of a run."""
    config = Config(
        "myosuite/myo-obj-hold",
        physics="official",
        episode_length=asked,
        host_python=stand_in.python,
    )
    environment = make_environment(config)
    assert resolve(config, environment).episode_length == holds
    assert environment.episode_length == -(-holds // 2)
    played = play(environment, jnp.zeros((61, *SHAPE, 3))).timesteps
    assert np.flatnonzero(played.truncated[:, 0, 0])[0] == -(-holds // 2) - 1
    assert played.reward[:, 0, 0][: -(-holds // 2)].sum() == holds


def test_the_adapter_is_compared_with_a_plain_loop(stand_in):
    task = "myosuite/myo-key-turn-hard"
    versions, adapter, ends = compare(task, 110, 3, "official", host_python=stand_in.python)
    assert versions.detail.startswith("myosuite 3.0, mujoco ")
    assert adapter.passed and adapter.detail.endswith("in 4 times 110 steps")
    assert ends.passed and "0 terminated, 4 truncated, 16 solved" in ends.detail
    stand_in.write(bias=1e-3)
    _, adapter, ends = compare(task, 10, 3, "official", host_python=stand_in.python)
    assert not adapter.passed and "of rewards 5.0e-04" in adapter.detail


def test_where_it_is_missing_the_speed_of_adapter_and_loop_is_measured(stand_in, monkeypatch):
    monkeypatch.setattr(envs.TaskSpec, "missing", lambda known, python="": "not here")
    arguments = benchmark.Arguments(host_python=stand_in.python, seconds=0.1)
    rates = benchmark.measure_task("myosuite/myo-key-turn-hard", 2, arguments)
    assert list(rates) == [benchmark.ADAPTER, benchmark.LOOP]
    assert benchmark.cells(rates).keys() == {"adapter", "loop", "adapter / loop"}


@pytest.mark.exhaustive
@pytest.mark.parametrize("task_id", TASKS)
def test_trains(task_id, tmp_path):
    pytest.importorskip("myosuite")
    rows = tiny.train(task_id, tmp_path)
    assert [row["metric"] for row in rows].count("avg_success") >= 4

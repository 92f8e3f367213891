"""Runs whose hyperparameters change as a file says."""

import dataclasses
import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from purejax_simba import Population, make_train
from purejax_simba.agents.registry import agent_settings
from purejax_simba.commands import train
from purejax_simba.config import ConfigError
from purejax_simba.defaults import resolve
from purejax_simba.names import replace_values
from purejax_simba.runs import experiment
from purejax_simba.runs.checkpoint import STATE_DIRECTORY, read_newest
from purejax_simba.runs.jobs import Job
from purejax_simba.runs.policies import read_policies
from purejax_simba.runs.result_files import read_returns
from purejax_simba.runs.schedule import Schedule
from purejax_simba.training import make_program
from tests.helpers import linear
from tests.helpers.stopping import at_interactions, config

RATES = {0: 1e-2, 60: 1e-3, 180: 3e-2}


@pytest.fixture(autouse=True)
def small_programs():
    with linear.compiled_once():
        yield


def _write(directory: Path, *entries: dict) -> str:
    path = directory / "schedule.json"
    path.write_text(json.dumps(entries))
    return str(path)


def _rates(directory: Path) -> str:
    entries = [{"env_step": step, "agent.learning_rate": rate} for step, rate in RATES.items()]
    return _write(directory, *entries)


@pytest.mark.slow
def test_a_schedule_is_followed_and_gone_on_with(tmp_path):
    """As a population does that is told the same, whether or not it was stopped and moved."""
    changes = {"num_seeds": 2, "diagnostics": "none", "schedule": _rates(tmp_path)}
    straight = experiment.train(config(tmp_path / "straight", **changes))
    stop = at_interactions([100], lambda: signal.raise_signal(signal.SIGTERM))
    with stop, pytest.raises(SystemExit):
        experiment.train(config(tmp_path / "stopped", **changes))
    Path(changes["schedule"]).unlink()
    stopped = tmp_path / "stopped" / straight.relative_to(tmp_path / "straight")
    moved = experiment.resume(stopped, config(tmp_path / "moved", **changes))
    assert experiment.resume(stopped) == stopped
    for other in (moved, stopped):
        assert read_returns(other) == read_returns(straight)
        assert (other / "schedule.json").read_text() == (straight / "schedule.json").read_text()

    population = Population(config(tmp_path, **(changes | {"schedule": ""})))
    state, rate = population.reset(), 0.0
    returns = []
    for step in range(0, 240, 60):
        rate = RATES.get(step, rate)
        numbers = population.hyperparameters({"agent.learning_rate": rate})
        state, metrics = population.step(state, numbers)
        returns.append(metrics["avg_return"])
    for index, points in enumerate(read_returns(straight).values()):
        expected = [float(each[index]) for each in returns]
        np.testing.assert_allclose([value for _, value in points[1:]], expected, rtol=1e-3)
    arrays = read_newest(straight / STATE_DIRECTORY).arrays
    np.testing.assert_allclose(
        arrays["state.agent.actor"], state.members.agent.actor, rtol=1e-3, atol=1e-6
    )
    policy = read_policies(straight, make_program(config(tmp_path, **changes)))
    np.testing.assert_allclose(policy.hyperparameters.learning_rate, 3e-2)


@pytest.mark.parametrize("given", [{}, {"learning_rate_end": 2e-4}], ids=["open", "given"])
@pytest.mark.parametrize("name", ["sac", "simba_v2"])
def test_learning_rates_are_those_of_a_configuration_that_has_them(tmp_path, name, given):
    """What the last one is by default follows the first, as it does without a schedule."""
    own = config(tmp_path, agent=agent_settings(name, **given), schedule=_rates(tmp_path))
    schedule = Schedule.of([Job.of_all_seeds(resolve(own))])
    for step, rate in RATES.items():
        expected = resolve(replace_values(own, {"agent.learning_rate": rate}))
        assert schedule.configs(step) == [expected]
    last = given.get("learning_rate_end", {"sac": 3e-2, "simba_v2": 5e-5}[name])
    assert schedule.configs(180)[0].agent.learning_rate_end == last


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "it is empty"),
        ([{"agent.learning_rate": 1e-3}], "env_step is None, no whole number"),
        ([{"env_step": 0, "agent.num_bins": 3}], "agent.num_bins cannot change while simba_v2"),
        ([{"env_step": 0, "replay.priority_exponent": 0.5}], "priority_exponent cannot change"),
        ([{"env_step": 60, "temperature.initial": 0.5}], "temperature.initial cannot change later"),
        ([{"env_step": 0, "num_seeds": 3}], "num_seeds cannot change while simba_v2"),
        ([{"env_step": 0, "agent.learning_rate": -1}], "--agent.learning-rate is -1.0: give"),
        ([{"env_step": 0, "agent.tau": 0.1}, {"env_step": 0}], "env_step 0 stands after 0"),
        ([{"env_step": 0, "agent.tauu": 0.1}], "did you mean agent.tau"),
    ],
)
def test_what_is_no_schedule_is_refused(tmp_path, entries, message):
    path = _write(tmp_path, *entries)
    with pytest.raises(ConfigError, match=re.escape(message)) as refused:
        experiment.train(config(tmp_path, schedule=path))
    assert str(refused.value).startswith(f"{path} cannot be read (")


def test_what_everything_begins_with_can_be_given_at_the_start(tmp_path):
    """And stay, as in the schedule of a population, which has all that is traced."""
    values = {"temperature.initial": 0.5, "agent.shift": 2.0, "agent.tau": 0.1}
    path = _write(tmp_path, *({"env_step": step} | values for step in (0, 60)))
    job = Job.of_all_seeds(resolve(config(tmp_path, schedule=path)))
    (changed,) = Schedule.of([job]).first
    assert (changed.temperature.initial, changed.agent.shift) == (0.5, 2.0)


def test_what_is_given_beside_a_schedule_that_has_it_otherwise_is_refused(tmp_path):
    path = _rates(tmp_path)
    words = ["--schedule", path, "--agent.tau", "0.1", "--agent.learning-rate"]
    assert train.parse([*words, "0.01"]).config.agent.tau == 0.1
    with pytest.raises(ConfigError, match=r"learning-rate 0\.1: .* has 0\.01 from"):
        train.parse([*words, "0.1"])


def test_what_follows_none_says_so(tmp_path):
    one = config(tmp_path, schedule="some.json")
    with pytest.raises(ConfigError, match=r"some\.json cannot be read \(No such file"):
        experiment.train(one)
    for make in (make_train, Population):
        with pytest.raises(ConfigError, match="schedule"):
            make(dataclasses.replace(one))

"""Seeds that diverge are trained anew as others."""

import contextlib
import csv
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba import experiment, runs, session
from purejax_simba.config import CheckpointConfig, Config, ConfigError, ReplayConfig
from purejax_simba.logging import read_diverged, read_replaced, read_returns, run_directory
from purejax_simba.policies import evaluate_run, load_policy
from purejax_simba.session import AllDivergedError
from purejax_simba.sweep import commands
from purejax_simba.sweep.axes import Axis
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.halving import Halving
from purejax_simba.sweep.results import read_results
from purejax_simba.training import make_program
from tests import tiny
from tests.examples import mark_others
from tests.test_training import _linear_agents

TASK = "gymnax/Pendulum-v1"
CONFIG = Config(
    task=TASK,
    num_seeds=3,
    total_env_steps=120,
    evaluation_interval=40,
    num_evaluation_episodes=2,
    episode_length=20,
    learning_starts=30,
    restart_diverged=2,
    experiment="restarts",
    diagnostics="none",
    agent=dataclasses.replace(tiny.AGENT, num_critics=1),
    replay=ReplayConfig(batch_size=16),
    checkpoint=CheckpointConfig(interval=20),
)
# Equal programs for equally many runs are compiled once.
_compiled: dict[int, runs.CompiledProgram] = {}


@contextlib.contextmanager
def _bad_seeds(*bad: int) -> Iterator[None]:
    """Inside, agents are small and these seeds diverge."""
    compile_program, make_inputs = runs.compile_program, runs.make_inputs

    def compile_or_find(program, mesh, keys, *arguments):
        if len(keys) not in _compiled:
            _compiled[len(keys)] = compile_program(program, mesh, keys, *arguments)
        return _compiled[len(keys)]

    def make_bad_inputs(configs, action_size):
        inputs = make_inputs(configs, action_size)
        is_bad = np.array([seed in bad for config in configs for seed in config.seeds])
        numbers = inputs.hyperparameters
        rate = jnp.where(is_bad, jnp.float32(1e30), numbers.learning_rate)
        return inputs._replace(hyperparameters=numbers.replace(learning_rate=rate))

    with (
        _linear_agents(),
        mock.patch.object(runs, "compile_program", compile_or_find),
        mock.patch.object(runs, "make_inputs", make_bad_inputs),
    ):
        yield


def _config(output: Path, **changes) -> Config:
    return dataclasses.replace(CONFIG, output=str(output), **changes)


def _files(directory: Path) -> dict[str, str]:
    names = ("metrics.csv", "diverged.json", "replaced.json")
    return {name: (directory / name).read_text() for name in names}


@pytest.fixture(scope="module")
def restarted(tmp_path_factory) -> Path:
    """A run in which seed 1 diverges, and seed 3, which is trained in its place."""
    with _bad_seeds(1, 3):
        return experiment.run(_config(tmp_path_factory.mktemp("restarted")))


def test_the_files_say_which_seed_replaced_which(restarted):
    assert read_replaced(restarted) == [{1: 3}, {3: 4}]
    assert json.loads((restarted / "replaced.json").read_text()) == [{"1": 3}, {"3": 4}]
    assert sorted(read_diverged(restarted)) == [1, 3]
    returns = read_returns(restarted)
    assert sorted(returns) == [0, 2, 4]
    for points in returns.values():
        assert [step for step, _ in points] == [0, 40, 80, 120]
    with (restarted / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "avg_return"]
    assert len({(row["seed"], row["env_step"]) for row in rows}) == len(rows)
    assert {row["seed"] for row in rows} == {"0", "1", "2", "3", "4"}


def test_a_seed_in_place_of_another_is_the_seed_alone(restarted, tmp_path):
    with _bad_seeds(1, 3):
        alone = experiment.run(_config(tmp_path, seed=4, num_seeds=1))
        policies = [
            load_policy(directory, make_program(_config(tmp_path, num_seeds=count)))
            for directory, count in ((restarted, 3), (alone, 1))
        ]
        assert read_returns(alone)[4] == read_returns(restarted)[4]
        assert list(evaluate_run(restarted)) == [0, 4, 2]
    for ours, theirs in zip(*map(jax.tree.leaves, policies), strict=True):
        np.testing.assert_array_equal(ours[1], theirs[0])
    weights = jax.tree.leaves(policies[0].actor)
    assert any((leaf[0] != leaf[1]).any() for leaf in weights)


class Killed(BaseException):
    """What nothing catches."""


@pytest.mark.parametrize("evaluation", mark_others(pytest.mark.slow, (5, 10), range(1, 13)))
def test_a_killed_run_goes_on(restarted, tmp_path, monkeypatch, evaluation):
    """At every evaluation of the three rounds there are."""
    evaluate, calls = session.Session._evaluate, []

    def evaluate_or_die(self) -> None:
        evaluate(self)
        calls.append(self.interactions)
        if len(calls) == evaluation:
            raise Killed

    config = _config(tmp_path)
    with _bad_seeds(1, 3):
        with monkeypatch.context() as patch:
            patch.setattr(session.Session, "_evaluate", evaluate_or_die)
            with contextlib.suppress(Killed, AllDivergedError):
                experiment.run(config)
        directory = run_directory(config)
        if evaluation == 1:  # there is no checkpoint yet
            with pytest.raises(ConfigError, match="nothing to go on from"):
                experiment.resume(directory)
            return
        experiment.resume(directory)
    assert _files(directory) == _files(restarted)


def test_what_diverged_before_can_be_trained_anew_later(restarted, tmp_path):
    with _bad_seeds(1, 3):
        directory = experiment.run(_config(tmp_path, restart_diverged=0))
        assert read_replaced(directory) == []
        assert sorted(read_returns(directory)) == [0, 1, 2]
        experiment.resume(directory, _config(tmp_path))
        assert _files(directory) == _files(restarted)
        for change in ({"total_env_steps": 160}, {"output": str(tmp_path / "other")}):
            with pytest.raises(ConfigError, match="some seeds were trained anew"):
                experiment.resume(directory, dataclasses.replace(_config(tmp_path), **change))


def test_all_seeds_may_diverge_but_not_for_good(tmp_path):
    with _bad_seeds(0, 1, 2):
        directory = experiment.run(_config(tmp_path / "once"))
        assert read_replaced(directory) == [{0: 3, 1: 4, 2: 5}]
        assert list(evaluate_run(directory)) == [3, 4, 5]
    with _bad_seeds(*range(9)), pytest.raises(AllDivergedError):
        experiment.run(_config(tmp_path / "ever"))


@pytest.mark.slow
def test_a_configuration_that_always_diverges_is_the_last_of_a_sweep(tmp_path):
    rates = Axis("agent.learning_rate", "grid", (1e30, 1e-3, 1e-2))
    sweep = Sweep(_config(tmp_path, num_seeds=1, restart_diverged=1), (TASK,), (rates,))
    with _bad_seeds():
        commands.train(sweep)
    rows = read_results([sweep.directory]).rows
    assert rows[-1].values["agent.learning_rate"] == 1e30
    assert rows[-1].score.replaced == ((0, 1),)
    assert [row.score.diverged for row in rows] == [0, 0, 1]
    with (sweep.directory / "sweep.csv").open(newline="") as file:
        assert [row["replaced_seeds"] for row in csv.DictReader(file)] == ["", "", "0:1"]
    with pytest.raises(ConfigError, match="--halving stops what diverges"):
        dataclasses.replace(sweep, halving=Halving(2))

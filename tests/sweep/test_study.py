"""Sweeps whose samples Optuna chooses; what training would give is a formula here."""

import dataclasses
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from purejax_simba.config import Config, ConfigError, OfflineConfig, ReplayConfig
from purejax_simba.datasets import d4rl
from purejax_simba.datasets.dataset import Dataset, Origin
from purejax_simba.runs.result_files import MetricsFile, create_run_directory, write_diverged
from purejax_simba.sweep import commands, running, study
from purejax_simba.sweep.axes import Axis
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.halving import Halving
from purejax_simba.sweep.results import read_results
from purejax_simba.sweep.running import Assignment
from tests.helpers import tiny

TASK = "gymnax/Pendulum-v1"
CONFIG = Config(
    task=TASK,
    num_seeds=2,
    total_env_steps=400,
    evaluation_interval=100,
    episode_length=40,
    learning_starts=60,
    diagnostics="none",
    agent=tiny.AGENT,
    experiment="sweep",
)
RATES = Axis("agent.learning_rate", "log_uniform", (1e-6, 1.0))
TAUS = Axis("agent.tau", "grid", (0.01, 0.1, 0.5))
BINS = Axis("agent.num_bins", "grid", (11, 13))
RUNNING, COMPLETE, PRUNED = (
    getattr(optuna.trial.TrialState, name) for name in ("RUNNING", "COMPLETE", "PRUNED")
)


def _return(config: Config) -> float:
    """Best at a learning rate of 1e-3 and a tau of 0.1."""
    return -((math.log10(config.agent.learning_rate) + 3.0) ** 2) - abs(config.agent.tau - 0.1)


class Killed(BaseException):
    """What nothing catches."""


def _kill(*_: object) -> None:
    raise Killed


@pytest.fixture(autouse=True)
def trained(monkeypatch) -> list[list[str]]:
    """Trains by formula; gives the names of the configurations that were trained together.

    Configurations with a learning rate above 0.1 diverge.
    """
    trained: list[list[str]] = []

    def train(compiler, jobs, directory, until, survivors, plan) -> None:
        configs = [job.config for job in jobs]
        trained.append([config.experiment.rpartition("/")[2] for config in configs])
        directory.mkdir(parents=True, exist_ok=True)
        for config in configs:
            size = None
            if survivors is None:
                place = create_run_directory(config, again=True)
            else:
                place = Path(config.output) / config.experiment / config.task
                size = (place / "metrics.csv").stat().st_size
            returns = {seed: {"avg_return": _return(config)} for seed in config.seeds}
            MetricsFile(place, config, size).write(until or config.steps, returns)
            if config.agent.learning_rate > 0.1:
                write_diverged(place, {config.seed: 70})

    monkeypatch.setattr(running, "run_together", train)
    # The memory of every program would be found by tracing it.
    monkeypatch.setattr("purejax_simba.runs.memory._available_bytes", lambda: None)
    return trained


def _sweep(output: Path, *axes: Axis, samples: int = 12, **options: Any) -> Sweep:
    config = dataclasses.replace(CONFIG, output=str(output))
    options = {"trials_per_batch": 4} | options
    return Sweep(config, (TASK,), axes, samples=samples, sampler="tpe", **options)


def _trials(sweep: Sweep, name: str = "sweep") -> list[optuna.trial.FrozenTrial]:
    url = sweep.storage or f"sqlite:///{sweep.directory}/study.db"
    return optuna.load_study(study_name=name, storage=url).trials


def test_every_result_is_told(tmp_path, trained):
    sweep = _sweep(tmp_path, RATES, TAUS)
    commands.train(sweep)
    assert trained == [[f"{n:03d}" for n in range(first, first + 4)] for first in (0, 4, 8)]
    rows = {row.name: row for row in read_results(sweep.directory).rows}
    trials = _trials(sweep)
    assert len(rows) == len(trials) == 12
    for trial in trials:
        row = rows[f"{trial.number:03d}"]
        assert trial.params == row.values
        assert trial.state == COMPLETE
        diverged = row.values["agent.learning_rate"] > 0.1
        assert trial.value == (-math.inf if diverged else row.score.mean)
    assert "study.db" in {path.name for path in sweep.directory.iterdir()}


def test_a_return_that_is_no_number_is_as_bad_as_can_be(tmp_path, trained, monkeypatch):
    monkeypatch.setattr(f"{__name__}._return", lambda config: math.nan)
    sweep = _sweep(tmp_path, RATES, samples=4)
    commands.train(sweep)
    assert [(trial.state, trial.value) for trial in _trials(sweep)] == [(COMPLETE, -math.inf)] * 4


def test_later_samples_are_better_than_random_ones(tmp_path):
    """Random ones are as often as not more than one and a half decades from the best."""
    sweep = _sweep(tmp_path, RATES, samples=48, trials_per_batch=8)
    running.run_sweep(sweep)
    distances = [abs(math.log10(t.params["agent.learning_rate"]) + 3) for t in _trials(sweep)]
    assert np.median(distances[24:]) < 0.9


def test_more_samples_can_be_taken(tmp_path, trained):
    running.run_sweep(_sweep(tmp_path, RATES, samples=6))
    running.run_sweep(_sweep(tmp_path, RATES, samples=6))
    assert [len(batch) for batch in trained] == [4, 2]
    running.run_sweep(_sweep(tmp_path, RATES, samples=8))
    assert trained[2:] == [["006", "007"]]
    with pytest.raises(ConfigError, match=r"holds another sweep.*sampler-seed was 0 and is 1"):
        running.run_sweep(_sweep(tmp_path, RATES, samples=8, sampler_seed=1))


# What samples of an uninterrupted sweep were, once one was run.
_uninterrupted: list[Any] = []


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (optuna.study.Study, "ask", 4),  # in the middle of the second batch
        (optuna.trial.Trial, "suggest_float", 4),
        (study, "write_json", 2),  # what was asked for is noted nowhere
        (running, "run_together", 2),
        (optuna.study.Study, "tell", 4),  # trained, and not told
    ],
)
def test_a_killed_sweep_goes_on(tmp_path, trained, monkeypatch, owner, name, call):
    whole, sweep = (
        _sweep(tmp_path / name, RATES, samples=4, trials_per_batch=2)
        for name in ("whole", "killed")
    )
    if not _uninterrupted:
        running.run_sweep(whole)
        _uninterrupted.extend((t.number, t.params, t.value) for t in _trials(whole))
        trained.clear()
    function, calls = getattr(owner, name), []

    def kill(*arguments, **options):
        calls.append(name)
        if len(calls) == call:
            raise Killed
        return function(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, kill)
        with pytest.raises(Killed):
            running.run_sweep(sweep)
    running.run_sweep(sweep)
    assert trained == [["000", "001"], ["002", "003"]]
    assert [(t.number, t.params, t.value) for t in _trials(sweep)] == _uninterrupted


def _elsewhere(assignments: Iterable[Assignment]) -> Iterator[tuple[Assignment, str]]:
    """A launcher of which the first process does not begin before the others have ended."""
    for each in reversed([*assignments]):
        yield each, each.train()


def test_processes_share_a_study(tmp_path, trained, monkeypatch):
    """Three at a time, of which two find that there is nothing left to sample."""
    sweep = _sweep(tmp_path, RATES, storage=f"sqlite:///{tmp_path}/shared.db")
    with monkeypatch.context() as patch:
        patch.setattr(running, "run_together", _kill)
        with pytest.raises(Killed):
            running.run_sweep(sweep, _elsewhere, batches_at_a_time=3)
    assert [t.number for t in _trials(sweep) if t.state == RUNNING] == [0, 1, 2, 3]
    # Whoever goes on, all that was begun is finished: here one process, on another machine.
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    running.run_sweep(sweep)
    assert sorted(trained) == [[f"{n:03d}" for n in range(i, i + 4)] for i in (0, 4, 8)]
    assert [t.state for t in _trials(sweep)] == [COMPLETE] * 12
    assert len(read_results(sweep.directory).rows) == 12
    other = _sweep(tmp_path / "c", RATES, storage=sweep.storage, halving=Halving(2))
    with pytest.raises(running.SweepError, match=r"shared\.db holds another sweep.*halving was"):
        running.run_sweep(other)
    moved = _sweep(tmp_path, RATES, storage=f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(running.SweepError, match=r"trained for another study.*same --storage"):
        running.run_sweep(moved)


@pytest.mark.parametrize(("axes", "at_a_time"), [((RATES, BINS), 1), ((RATES,), 2)])
def test_processes_that_share_studies_need_a_storage(tmp_path, axes, at_a_time):
    sweep = _sweep(tmp_path, *axes)
    with pytest.raises(ConfigError, match=r"2 processes that sample: .* --storage postgresql://"):
        running.run_sweep(sweep, _elsewhere, at_a_time)
    assert not list(tmp_path.iterdir())


def test_directories_of_one_study_do_not_mix(tmp_path, trained):
    """Each trains what it has asked for; their paths may be the same on two machines."""
    storage = f"sqlite:///{tmp_path}/shared.db"
    first, second = (_sweep(tmp_path / name, RATES, storage=storage) for name in ("a", "b"))
    running.run_sweep(dataclasses.replace(first, samples=4))
    running.run_sweep(second)
    assert trained == [[f"{n:03d}" for n in range(i, i + 4)] for i in (0, 4, 8)]
    assert len(read_results(first.directory).rows) == 4
    assert len(read_results(second.directory).rows) == 8


def test_a_sample_too_many_is_not_trained(tmp_path, trained, monkeypatch):
    """Two processes see one sample left, and both ask."""
    sweep = _sweep(tmp_path, RATES, samples=4, storage=f"sqlite:///{tmp_path}/shared.db")
    ask = optuna.study.Study.ask

    def ask_late(self):
        if len(self.get_trials()) == 3:
            ask(self)
        return ask(self)

    monkeypatch.setattr(optuna.study.Study, "ask", ask_late)
    running.run_sweep(sweep)
    assert trained == [["000", "001", "002"]]


def test_static_axes_have_a_study_each(tmp_path, trained):
    sweep = _sweep(tmp_path, RATES, BINS, samples=4)
    commands.train(sweep)
    assert trained == [[f"{group}-{n:03d}" for n in range(4)] for group in (0, 1)]
    rows = read_results(sweep.directory).rows
    assert sorted(row.values["agent.num_bins"] for row in rows) == [11] * 4 + [13] * 4
    for bins in (11, 13):
        assert len(_trials(sweep, f"sweep, agent.num_bins={bins}")) == 4
    assert (sweep.directory / "plots" / "agent.num_bins.png").exists()


def test_what_halving_stops_is_pruned(tmp_path):
    rates = Axis("agent.learning_rate", "log_uniform", (1e-6, 1e-1))
    sweep = _sweep(tmp_path, rates, halving=Halving(2, (100,)))
    running.run_sweep(sweep)
    trials = _trials(sweep)
    assert [t.state for t in trials].count(PRUNED) == 6
    for trial in trials:
        if trial.state == PRUNED:
            assert trial.intermediate_values == {100: trial.value}


def test_whole_runs_on_a_dataset_are_complete(tmp_path, trained):
    """Their steps are updates, however many environment steps there would be."""
    numbers = np.random.default_rng(0).uniform(-1, 1, (64, 3)).astype(np.float32)
    never = np.zeros(64, bool)
    made = Dataset(
        "made", numbers, numbers[:, :1], numbers[:, 0], never, never, numbers, Origin(TASK, 1, 40)
    )
    d4rl.write(tmp_path / "made.hdf5", made)
    config = Config(
        num_seeds=2,
        diagnostics="none",
        agent=tiny.AGENT,
        experiment="sweep",
        output=str(tmp_path),
        offline=OfflineConfig(str(tmp_path / "made.hdf5"), epochs=2),
        replay=ReplayConfig(batch_size=16),
    )
    sweep = Sweep(config, (TASK,), (RATES,), samples=4, sampler="tpe", trials_per_batch=4)
    running.run_sweep(sweep)
    assert len(trained) == 1
    assert [trial.state for trial in _trials(sweep)] == [COMPLETE] * 4


def test_a_storage_that_fails_later_is_one_line(tmp_path, trained, monkeypatch):
    sweep = _sweep(tmp_path, RATES)

    def fail(*_: object, **__: object) -> None:
        raise optuna.exceptions.StorageInternalError("gone\nfor good")

    with monkeypatch.context() as patch:
        patch.setattr(optuna.study.Study, "tell", fail)
        with pytest.raises(running.SweepError, match=r"study\.db does not answer: gone\)"):
            running.run_sweep(sweep)
    assert len(trained) == 1
    running.run_sweep(sweep)
    assert len(trained) == 3


def test_without_optuna_the_command_is_given(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"optuna is not installed: pip .*simba\[optuna\]"):
        study.Storage("sqlite://", is_shared=False)

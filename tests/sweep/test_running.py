"""Sweeps under way: one program per group, interruptions, launchers, halving, tables."""

import contextlib
import csv
import dataclasses
import json
import pickle
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest
from jax import monitoring

from purejax_simba.commands import train
from purejax_simba.config import Config, ConfigError, ReplayConfig
from purejax_simba.data.normalisation import Pair
from purejax_simba.runs import compiling, experiment, session
from purejax_simba.runs.checkpoint import STATE_DIRECTORY
from purejax_simba.runs.policies import Policy, read_policies
from purejax_simba.runs.result_files import read_config, read_returns, run_directory
from purejax_simba.sweep import commands, running
from purejax_simba.sweep.axes import Axis
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.halving import Halving
from purejax_simba.sweep.results import read_results
from purejax_simba.sweep.running import Assignment
from purejax_simba.training import make_program
from tests.helpers import linear, tiny

TASK = "gymnax/Pendulum-v1"
STEPS, INTERVAL = 120, 40
CONFIG = Config(
    task=TASK,
    num_seeds=3,
    total_env_steps=STEPS,
    evaluation_interval=INTERVAL,
    num_evaluation_episodes=2,
    episode_length=20,
    learning_starts=30,
    diagnostics="none",
    agent=dataclasses.replace(tiny.AGENT, num_critics=1),
    replay=ReplayConfig(batch_size=16),
    experiment="sweep",
)
RATES = Axis("agent.learning_rate", "grid", (1e-3, 1e-2, 1e-1))
TAUS = Axis("agent.tau", "grid", (0.01, 0.1, 0.5, 1.0))
BINS = Axis("agent.num_bins", "grid", (11, 13))


# Agents of two matrices do not see the static axis of these tests, so that programs for equally
# many runs are the same; compiling them is what takes time here.
_compiled: dict[tuple, compiling.CompiledProgram] = {}


@contextlib.contextmanager
def _small_programs() -> Iterator[list[tuple[int, int]]]:
    """Programs made inside have small agents. Gives bins and number of runs of each of them."""
    programs: list[tuple[int, int]] = []
    compile_program = compiling.compile_program

    def compile_or_find(program, mesh, num_runs):
        programs.append((program.config.agent.num_bins, num_runs))
        key = (program.config.task, num_runs)
        if key not in _compiled:
            _compiled[key] = compile_program(program, mesh, num_runs)
        return _compiled[key]

    with linear.agents(), mock.patch.object(compiling, "compile_program", compile_or_find):
        yield programs


@pytest.fixture(autouse=True)
def programs() -> Iterator[list[tuple[int, int]]]:
    with _small_programs() as programs:
        yield programs


_CONFIGURED = ("num_seeds", "agent")


def _sweep(output: Path, *axes: Axis, **options: Any) -> Sweep:
    changes = {name: options.pop(name) for name in _CONFIGURED if name in options}
    config = dataclasses.replace(CONFIG, output=str(output), **changes)
    return Sweep(config, options.pop("tasks", (TASK,)), axes, **options)


def _files(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): path.read_text()
        for path in sorted(directory.rglob("metrics.csv"))
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Sweep:
    """A sweep over two groups of three configurations."""
    sweep = _sweep(tmp_path_factory.mktemp("finished"), RATES, BINS)
    with _small_programs():
        commands.train(sweep)
    return sweep


@pytest.mark.slow
def test_configurations_train_as_when_alone():
    """In a process of its own, whose code is less optimised and compiled in half the time."""
    tiny.run_module("tests.sweep.test_running")


def compare_with_single_runs() -> None:
    """Trains twelve configurations of three seeds together, and each of them alone."""
    compiled: list[str] = []

    def listen(event: str, _: float, fun_name: str = "", **__: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(fun_name)

    monitoring.register_event_duration_secs_listener(listen)
    output = Path(tempfile.mkdtemp())
    # At the largest of RATES rounding grows until the end.
    rates = Axis("agent.learning_rate", "grid", (1e-4, 1e-3, 1e-2))
    sweep = _sweep(output, rates, TAUS)
    running.run_sweep(sweep)
    steps = [name for name in compiled if "advance" in name]
    assert len(steps) == 1, compiled
    assert len(_files(sweep.directory)) == 12

    alone: dict[int, Any] = {}
    compile_program = compiling.compile_program

    def compile_once(program, mesh, num_runs):
        if num_runs not in alone:
            alone[num_runs] = compile_program(program, mesh, num_runs)
        return alone[num_runs]

    distinct = set()
    with mock.patch.object(compiling, "compile_program", compile_once):
        for trial in sweep.trials():
            config = dataclasses.replace(trial.config, output=str(output / "alone"))
            returns, expected = (
                read_returns(directory)
                for directory in (run_directory(trial.config), experiment.train(config))
            )
            assert returns.keys() == expected.keys() == {0, 1, 2}
            for seed, points in returns.items():
                # Only rounding differs.
                np.testing.assert_allclose(points, expected[seed], rtol=1e-3, err_msg=str(trial))
                distinct.add(points[-1])
    assert len(distinct) == 36


@pytest.mark.slow
def test_batches_of_a_study_are_one_program(programs, tmp_path):
    rates = Axis("agent.learning_rate", "log_uniform", (1e-3, 1e-1))
    sweep = _sweep(tmp_path, rates, samples=6, sampler="tpe", trials_per_batch=3)
    commands.train(sweep)
    assert len(programs) == 1
    rows = read_results(sweep.directory).rows
    assert sorted(row.name for row in rows) == [f"{number:03d}" for number in range(6)]
    assert len({row.values["agent.learning_rate"] for row in rows}) == 6
    assert {row.score.env_step for row in rows} == {STEPS}


@pytest.mark.slow
def test_a_group_is_one_program(programs, tmp_path):
    running.run_sweep(_sweep(tmp_path, RATES, BINS))
    assert [bins for bins, _ in programs] == [11, 13]
    assert {count for _, count in programs} <= {9, 10}  # ten where there are two devices


def test_trials_are_runs_like_any_other(finished):
    for trial in finished.trials():
        directory = run_directory(trial.config)
        config = read_config(directory)
        assert config.agent.learning_rate == trial.values["agent.learning_rate"]
        assert config.agent.num_bins == trial.values["agent.num_bins"]
        assert (directory / "curve.png").read_bytes().startswith(b"\x89PNG")
        returns = read_returns(directory)
        assert list(returns) == [0, 1, 2]
        for points in returns.values():
            assert [step for step, _ in points] == [0, 40, 80, 120]
        policy = read_policies(directory, make_program(config))
        np.testing.assert_allclose(
            policy.hyperparameters.learning_rate, [config.agent.learning_rate] * 3, rtol=1e-6
        )
    assert not list(finished.directory.rglob(str(STATE_DIRECTORY)))


def test_the_tables(finished, capsys):
    with (finished.directory / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["rank"]) for row in rows] == [1.5, 1.5, 3.5, 3.5, 5.5, 5.5]
    scores = [float(row["interquartile_mean"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 3
    for row in rows:
        returns = [float(row[f"return_seed_{seed}"]) for seed in range(3)]
        assert float(row["interquartile_mean"]) == pytest.approx(np.mean(returns))
        assert float(row["interval_low"]) <= np.mean(returns) <= float(row["interval_high"])
        last = read_returns(Path(row["directory"]))
        assert returns == [last[seed][-1][1] for seed in range(3)]
        assert (row["env_step"], row["diverged_seeds"]) == ("120", "0")
    for name in ("agent.learning_rate", "agent.num_bins"):
        plot = finished.directory / "plots" / f"{name}.png"
        assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_best_configuration_can_be_trained(finished):
    best = train.parse(["--config", str(finished.directory / "best.json"), "--num-seeds", "5"])
    row = read_results(finished.directory).best
    assert best.config.agent.learning_rate == row.values["agent.learning_rate"]
    assert best.config.agent.num_bins == row.values["agent.num_bins"]
    assert best.config == dataclasses.replace(
        finished.config, agent=best.config.agent, num_seeds=5, experiment="sweep-best"
    )
    with pytest.raises(ConfigError, match=r"missing\.json"):
        train.parse(["--config", "missing.json"])


def test_finished_groups_are_not_run_again(finished, monkeypatch, capsys):
    monkeypatch.setattr(running, "run_together", lambda *_: pytest.fail("ran it again"))
    before = _files(finished.directory)
    commands.train(finished)
    assert _files(finished.directory) == before
    assert capsys.readouterr().err.count("was finished before") == 2


def test_another_sweep_in_the_same_place_is_refused(finished, programs):
    output = Path(finished.config.output)
    for other, difference in (
        (_sweep(output, RATES), "--grid agent.num-bins=11,13 and is"),
        (_sweep(output, RATES, BINS, num_seeds=2), "num-seeds was 3 and is 2"),
        (_sweep(output, RATES, BINS, halving=Halving(2)), "halving was None"),
    ):
        with pytest.raises(ConfigError, match=difference):
            running.run_sweep(other)
    assert not programs


def test_a_directory_with_other_runs_is_refused(tmp_path, programs):
    (tmp_path / "sweep" / TASK).mkdir(parents=True)
    (tmp_path / "sweep" / TASK / "config.json").write_text("precious")
    with pytest.raises(ConfigError, match="already holds a run"):
        running.run_sweep(_sweep(tmp_path))
    assert not programs


def _after_evaluation(monkeypatch, number: int, stop: Callable[[], None]) -> None:
    """Calls `stop` after the given evaluation, counted over all groups."""
    evaluate = session.Session._evaluate
    done = []

    def evaluate_and_stop(self) -> None:
        evaluate(self)
        done.append(self.interactions)
        if len(done) == number:
            stop()

    monkeypatch.setattr(session.Session, "_evaluate", evaluate_and_stop)


class Killed(BaseException):
    """What nothing catches."""


def _kill() -> None:
    raise Killed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("evaluation", "stop", "left"),
    [
        (2, lambda: signal.raise_signal(signal.SIGTERM), [11, 13]),
        (1, _kill, [11, 13]),  # before the first checkpoint
        (7, _kill, [13]),
    ],
)
def test_an_interrupted_sweep_goes_on(
    finished, programs, tmp_path, monkeypatch, evaluation, stop, left
):
    sweep = _sweep(tmp_path, RATES, BINS)
    with monkeypatch.context() as patch:
        _after_evaluation(patch, evaluation, stop)
        with pytest.raises((SystemExit, Killed)):
            commands.train(sweep)
    programs.clear()
    commands.train(sweep)
    assert [bins for bins, _ in programs] == left
    assert _files(sweep.directory) == _files(finished.directory)


def _without_pairs(policies: Policy) -> Policy:
    """With sums in place of pairs, whose low halves are what rounding left over."""

    def total(x: Pair | jax.Array) -> jax.Array | np.ndarray:
        return np.float64(x.high) + x.low if isinstance(x, Pair) else x

    return jax.tree.map(total, policies, is_leaf=lambda x: isinstance(x, Pair))


@pytest.mark.slow
@pytest.mark.parametrize("interrupted", [5, 6])
def test_seeds_of_a_configuration_take_turns(finished, tmp_path, monkeypatch, interrupted):
    """Where only one of three fits at a time; four evaluations each."""
    monkeypatch.setattr("purejax_simba.sweep.grouping.runs_that_fit", lambda *_: 1)
    sweep = _sweep(tmp_path, Axis("agent.learning_rate", "grid", RATES.values[:1]))
    with monkeypatch.context() as patch:
        _after_evaluation(patch, interrupted, _kill)
        with pytest.raises(Killed):
            commands.train(sweep)
    commands.train(sweep)
    directory, whole = (each.directory / "000" / TASK for each in (sweep, finished))
    assert read_config(directory).num_seeds == 3
    returns, expected = read_returns(directory), read_returns(whole)
    assert list(returns) == [0, 1, 2]
    for seed, points in returns.items():
        np.testing.assert_allclose(points, expected[seed], rtol=1e-4)
    program = make_program(read_config(directory))
    policies = [_without_pairs(read_policies(each, program)) for each in (directory, whole)]
    for ours, theirs in zip(*map(jax.tree.leaves, policies), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    (row,) = read_results(sweep.directory).rows
    assert list(row.score.returns) == [0, 1, 2]


def test_a_schedule_of_what_is_on_an_axis_is_refused(tmp_path):
    """Whether a group has several configurations or, as here, one."""
    path = tmp_path / "schedule.json"
    path.write_text(json.dumps([{"env_step": 40, "agent.learning_rate": 1e-3}]))
    own = ({"agent.num_bins": 11, "agent.learning_rate": 1e-4}, {"agent.num_bins": 13})
    sweep = _sweep(tmp_path / "output", configurations=own)
    sweep = dataclasses.replace(sweep, config=dataclasses.replace(sweep.config, schedule=str(path)))
    with pytest.raises(ConfigError, match=r"agent\.learning_rate is on an axis of the sweep"):
        running.run_sweep(sweep)
    assert not sweep.directory.exists()


def test_halving_is_refused_without_room_for_all_seeds(tmp_path, monkeypatch, programs):
    monkeypatch.setattr("purejax_simba.sweep.grouping.runs_that_fit", lambda *_: 2)
    with pytest.raises(running.SweepError, match="--halving needs all 3 seeds"):
        running.run_sweep(_sweep(tmp_path, RATES, halving=Halving(2)))
    assert not programs


def _elsewhere(assignments: Iterable[Assignment]) -> Iterator[tuple[Assignment, str]]:
    """A launcher that begins with the last."""
    for each in reversed([*assignments]):
        yield each, pickle.loads(pickle.dumps(each)).train()


@pytest.mark.slow
def test_a_launcher_trains_the_same(finished, tmp_path, programs, capsys):
    sweep = _sweep(tmp_path, RATES, BINS)
    running.run_sweep(sweep, _elsewhere)
    assert [bins for bins, _ in programs] == [13, 11]
    assert _files(sweep.directory) == _files(finished.directory)
    # Groups that were finished are not given to it.
    running.run_sweep(sweep, lambda assignments: iter([(each, "again") for each in assignments]))


def test_what_fails_elsewhere_is_said(tmp_path, capsys):
    def fail(assignments: Iterable[Assignment]) -> Iterator[tuple[Assignment, str]]:
        for each in assignments:
            yield each, "its node is gone" if each.group.number else ""

    with pytest.raises(running.SweepError, match=r"^group 1 of 2 \(its node is gone\): the same"):
        running.run_sweep(_sweep(tmp_path, RATES, BINS), fail)
    assert "group 1 of 2 failed: its node is gone" in capsys.readouterr().err


@pytest.mark.slow
def test_a_group_that_fails_does_not_end_the_others(tmp_path, monkeypatch, capsys):
    run_together = running.run_together

    def fail_once(compiler, jobs, *arguments):
        if jobs[0].config.agent.num_bins == 11:
            raise ConfigError("no luck")
        run_together(compiler, jobs, *arguments)

    monkeypatch.setattr(running, "run_together", fail_once)
    with pytest.raises(running.SweepError, match=r"group 0 of 2 \(no luck\)"):
        commands.train(_sweep(tmp_path, RATES, BINS))
    assert len(read_results(tmp_path / "sweep").rows) == 3
    assert "agent.learning_rate" in capsys.readouterr().out


def test_a_configuration_that_diverges_comes_last(tmp_path, capsys):
    """A learning rate of infinity is refused by none, and survived by none."""
    rates = Axis("agent.learning_rate", "grid", (1e30, 1e-3, 1e-2))
    commands.train(_sweep(tmp_path, rates))
    rows = read_results(tmp_path / "sweep").rows
    assert rows[-1].values["agent.learning_rate"] == 1e30
    assert [row.score.env_step for row in rows] == [STEPS, STEPS, 0]
    assert [row.score.diverged for row in rows] == [0, 0, 3]
    assert "sweep/000, seed 2 diverged at env step" in capsys.readouterr().err


def test_a_group_without_survivors_is_finished(tmp_path, programs):
    rates = Axis("agent.learning_rate", "grid", (1e30, 1e29, 1e28))
    sweep = _sweep(tmp_path, rates)
    commands.train(sweep)
    assert len(programs) == 1
    # Else seeds that train after these would be written in their places.
    for name in ("000", "001", "002"):
        run = sweep.directory / name / TASK
        policies = read_policies(run, make_program(read_config(run)))
        assert len(policies.hyperparameters.learning_rate) == CONFIG.num_seeds
    commands.train(sweep)
    assert len(programs) == 1


@pytest.mark.slow
def test_tasks_are_ranked_each_and_together(tmp_path, capsys):
    tasks = (TASK, "gymnax/MountainCarContinuous-v0")
    commands.train(_sweep(tmp_path, RATES, tasks=tasks))
    results = read_results(tmp_path / "sweep")
    assert len(results.rows) == 6
    for task in tasks:
        ranks = sorted(row.rank for row in results.rows if row.task == task)
        assert sum(ranks) == 6
    for name in ("000", "001", "002"):
        own = [row for row in results.rows if row.name == name]
        assert {row.mean_rank for row in own} == {np.mean([row.rank for row in own])}
    assert results.best_config().task == TASK
    assert "mean rank" in capsys.readouterr().out


@pytest.mark.slow
def test_tasks_without_axes_are_single_runs(tmp_path, capsys):
    """The benchmark's directories are those of `train.py`."""
    tasks = (TASK, "gymnax/MountainCarContinuous-v0")
    commands.train(_sweep(tmp_path, tasks=tasks, num_seeds=9))
    assert [*_files(tmp_path)] == [f"sweep/{task}/metrics.csv" for task in sorted(tasks)]
    assert len(read_results(tmp_path / "sweep").rows) == 2


@pytest.mark.slow
@pytest.mark.parametrize("interrupted", [None, 5])
def test_halving_keeps_the_best(finished, programs, tmp_path, monkeypatch, capsys, interrupted):
    """What goes on does so as if it had never been with others."""
    sweep = _sweep(tmp_path, RATES, BINS, halving=Halving(1.5, (40, 80)))
    if interrupted is not None:
        with monkeypatch.context() as patch:
            _after_evaluation(patch, interrupted, _kill)
            with pytest.raises(Killed):
                commands.train(sweep)
        programs.clear()
    commands.train(sweep)
    if interrupted is None:
        assert [bins for bins, _ in programs] == [11] * 3 + [13] * 3
        assert [count // 3 for _, count in programs] == [3, 2, 1] * 2
    whole = finished.directory
    for bins in (11, 13):
        trials = [t for t in sweep.trials() if t.values["agent.num_bins"] == bins]

        def score(trial, step: int) -> float:
            returns = read_returns(whole / trial.name / TASK)
            return float(np.mean([dict(points)[step] for points in returns.values()]))

        after_first = sorted(trials, key=lambda t: -score(t, 40))[:2]
        best = max(after_first, key=lambda t: score(t, 80))
        for trial in trials:
            end = 120 if trial is best else 80 if trial in after_first else 40
            returns = read_returns(run_directory(trial.config))
            expected = read_returns(whole / trial.name / TASK)
            for seed, points in returns.items():
                assert points[-1][0] == end
                np.testing.assert_allclose(points, expected[seed][: len(points)], rtol=1e-4)
    rows = read_results(sweep.directory).rows
    assert [row.score.env_step for row in rows] == [120, 120, 80, 80, 40, 40]


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 2)
    compare_with_single_runs()


def test_the_engine_is_chosen_for_the_environments_of_all_runs_together(tmp_path, monkeypatch):
    """Each configuration alone has too few for MJX."""

    def stop(program):
        raise ConfigError(program.environment.engine)

    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    monkeypatch.setattr(running, "Compiler", stop)
    config = Config("dmc/pendulum-swingup", num_seeds=200, output=str(tmp_path))
    for rates, engine in {RATES.values[:1]: "mujoco", RATES.values: "mjx"}.items():
        axis = dataclasses.replace(RATES, values=rates)
        sweep = Sweep(config, (config.task,), (axis,))
        (group,) = running.make_groups(sweep)
        assert Assignment(sweep, group, 1).train() == engine

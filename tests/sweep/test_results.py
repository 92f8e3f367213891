"""What is read from the runs of a sweep: which configuration is best, and with what values."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes

from purejax_simba.config import CheckpointConfig, Config, OfflineConfig
from purejax_simba.defaults import resolve
from purejax_simba.report.page import write_page
from purejax_simba.report.sweeps import importances, scores_of
from purejax_simba.runs.result_files import MetricsFile, create_run_directory
from purejax_simba.sweep.axes import parse_axis
from purejax_simba.sweep.definition import Sweep, Trial
from purejax_simba.sweep.grouping import make_groups
from purejax_simba.sweep.plots import draw_plots
from purejax_simba.sweep.results import Results, ranking, read_results, write_results
from purejax_simba.sweep.running import begin_sweep

PENDULUM, REACHER = "gymnax/Pendulum-v1", "gymnax/Reacher-misc"


def results(
    output: Path,
    axis: str,
    level: Callable[[Trial], float | None],
    tasks: tuple[str, ...] = (PENDULUM,),
    until: Callable[[Trial], int] = lambda trial: trial.config.steps,
) -> Results:
    """Of a sweep over a grid whose configurations were evaluated at the start and once more.

    Those without a level were not.
    """
    config = Config(num_seeds=3, output=str(output), experiment="s")
    sweep = Sweep(config, tasks, (parse_axis("grid", axis),))
    groups = make_groups(sweep)
    begin_sweep(sweep, groups)
    for trial in (trial for group in groups for trial in group.trials):
        file = MetricsFile(create_run_directory(trial.config), trial.config)
        if (score := level(trial)) is None:
            continue
        for step in (0, until(trial)):
            rows = {seed: {"avg_return": score + seed} for seed in trial.config.seeds}
            file.write(step, rows)
    return read_results(sweep.directory)


def by_environments(trial: Trial) -> float:
    return -150.0 if trial.config.num_environments == 64 else -1400.0


def test_a_run_that_is_whole_is_no_worse_for_having_fewer_steps(tmp_path):
    """As many environments as do not divide the usual length: 999,680 steps, not 1,000,000."""
    found = results(tmp_path, "num-environments=1,64", by_environments)
    assert [row.score.env_step for row in found.rows] == [999_680, 1_000_000]
    assert found.best.values == {"num_environments": 64}
    scores, name = scores_of(found, found.rows)
    np.testing.assert_array_equal(scores, [-149.0, -1399.0])
    assert name == "return at the end"
    assert ranking(found).splitlines()[1].startswith("001")


def test_what_was_stopped_is_worse_than_what_is_whole(tmp_path):
    """Whatever it returned, and also where the whole run is shorter."""

    def until(trial: Trial) -> int:
        return trial.config.steps if trial.config.num_environments == 64 else 999_900

    found = results(tmp_path, "num-environments=64,1", lambda t: -by_environments(t), until=until)
    assert found.best.values == {"num_environments": 64}
    scores, name = scores_of(found, found.rows)
    np.testing.assert_array_equal(scores, [151.0, np.nan])
    assert name == "return at 999,680 env steps"


def test_what_is_not_on_all_tasks_is_behind_what_is(tmp_path):
    """A rank of one task among two says nothing of the other."""
    levels = {(PENDULUM, 1): 90.0, (PENDULUM, 2): 100.0, (REACHER, 1): 5.0, (REACHER, 4): 6.0}

    def level(trial: Trial) -> float | None:
        return levels.get((trial.config.task, trial.values["num_environments"]))

    found = results(tmp_path, "num-environments=1,2,4", level, (PENDULUM, REACHER))
    assert [row.name for row in found.rows] == ["000", "000", "001", "002"]
    assert [row.mean_rank for row in found.rows] == [1.0, 1.0, 2.0, 2.0]
    assert ranking(found).splitlines()[-1] == "Not on all tasks, so last: 001, 002"


@pytest.mark.parametrize("score", [1.5, None])
def test_what_is_not_on_all_tasks_changes_nothing_between_those_that_are(tmp_path, score):
    """Two are equally good, whether or not a third lies between them on one task."""
    levels = {(PENDULUM, 1): 1.0, (PENDULUM, 2): 2.0, (REACHER, 1): 2.0, (REACHER, 2): 1.0}

    def level(trial: Trial) -> float | None:
        return (levels | {(PENDULUM, 4): score}).get(
            (trial.config.task, trial.values["num_environments"])
        )

    found = results(tmp_path, "num-environments=1,2,4", level, (PENDULUM, REACHER))
    ranks = {row.name: row.mean_rank for row in found.rows}
    assert ranks == {"000": 1.5, "001": 1.5} | ({"002": 3.0} if score else {})
    assert found.best.name == "000"


def test_what_is_not_on_all_tasks_is_in_no_plot_and_has_no_score(tmp_path, monkeypatch):
    """It is better than all others on the one task that it has.

    Importances are of what is left, which is too little.
    """
    levels = {(task, n): float(n) for task in (PENDULUM, REACHER) for n in (1, 2, 4)}
    levels[REACHER, 8] = 100.0

    def level(trial: Trial) -> float | None:
        return levels.get((trial.config.task, trial.values["num_environments"]))

    found = results(tmp_path, "num-environments=1,2,4,8", level, (PENDULUM, REACHER))
    assert {row.name: row.mean_rank for row in found.rows} == {
        "000": 3.0,
        "001": 2.0,
        "002": 1.0,
        "003": 4.0,
    }
    rows = list({row.name: row for row in found.rows}.values())
    scores, name = scores_of(found, rows)
    assert name == "minus mean rank"
    assert [row.name for row in rows] == ["002", "001", "000", "003"]
    np.testing.assert_array_equal(scores, [-1.0, -2.0, -3.0, np.nan])
    assert importances(found, rows, scores) == {}
    drawn: list[np.ndarray] = []

    def scatter(axes: Axes, x: list, y: np.ndarray) -> None:
        drawn.append(np.transpose([x, y]))

    monkeypatch.setattr(Axes, "scatter", scatter)
    draw_plots(found, tmp_path)
    np.testing.assert_array_equal(drawn, [[[4, 1.0], [2, 2.0], [1, 3.0], [8, np.nan]]])


def test_a_sweep_with_a_dataset_counts_updates(tmp_path):
    offline = OfflineConfig("x.hdf5", transitions=900)
    config = Config(PENDULUM, num_seeds=3, output=str(tmp_path), experiment="s", offline=offline)
    config = resolve(config)
    sweep = Sweep(config, (PENDULUM,))
    begin_sweep(sweep, [])
    file = MetricsFile(create_run_directory(config), config)
    file.write(30, {seed: {"avg_return": 1.0} for seed in config.seeds})
    found = read_results(sweep.directory)
    assert scores_of(found, found.rows)[1] == "return at 30 updates"
    assert "updates" in ranking(found).splitlines()[0]


def test_where_nothing_is_on_all_tasks_there_is_nothing_to_plot(tmp_path):
    """As while the second task of a sweep has not begun."""

    def level(trial: Trial) -> float | None:
        return 1.0 if trial.config.task == PENDULUM else None

    found = results(tmp_path, "num-environments=1,2", level, (PENDULUM, REACHER))
    assert np.isnan(scores_of(found, found.rows)[0]).all()
    assert "Not on all tasks" not in ranking(found)
    assert all(path.exists() for path in draw_plots(found, tmp_path / "s"))
    write_page([tmp_path], tmp_path / "report.html")


def test_what_an_axis_leaves_to_the_task_is_that_of_the_task_of_the_file(tmp_path):
    """The best leaves the discount open, which is 0.95 on the first task and 0.975 on the other."""
    found = results(
        tmp_path,
        "discount=none,0.9",
        lambda trial: 1.0 if trial.values["discount"] else 5.0,
        (REACHER, PENDULUM),
    )
    write_results(found, tmp_path / "s")
    best = json.loads((tmp_path / "s" / "best.json").read_text())
    assert (best["task"], best["discount"]) == (REACHER, 0.95)


def test_the_best_configuration_keeps_books_as_the_sweep_does(tmp_path):
    """As it was asked for last, and whoever writes the file."""
    found = results(tmp_path / "first", "discount=0.8,0.9", lambda trial: trial.values["discount"])
    assert found.best_config().output == str(tmp_path / "first")
    shutil.move(tmp_path / "first", tmp_path / "second")
    config = Config(
        num_seeds=3,
        output=str(tmp_path / "second"),
        experiment="s",
        loggers=("tensorboard",),
        diagnostics="module",
        checkpoint=CheckpointConfig(keep=5),
        host_time_limit=9.0,
    )
    begin_sweep(Sweep(config, (PENDULUM,), (parse_axis("grid", "discount=0.8,0.9"),)), [])
    best = read_results(tmp_path / "second" / "s").best_config()
    own = {"task": PENDULUM, "experiment": "s-best", "discount": 0.9}
    assert best == dataclasses.replace(config, **own)

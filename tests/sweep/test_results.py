"""What is read from the runs of a sweep: which configuration is best, and with what values."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from purejax_simba.config import Config
from purejax_simba.report.sweeps import scores_of
from purejax_simba.runs.result_files import MetricsFile, create_run_directory
from purejax_simba.sweep.axes import parse_axis
from purejax_simba.sweep.definition import Sweep, Trial
from purejax_simba.sweep.grouping import make_groups
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
    assert name == "return at env step 999,680"


def test_what_is_not_on_all_tasks_is_behind_what_is(tmp_path):
    """A rank of one task among two says nothing of the other."""
    levels = {(PENDULUM, 1): 90.0, (PENDULUM, 2): 100.0, (REACHER, 1): 5.0, (REACHER, 4): 6.0}

    def level(trial: Trial) -> float | None:
        return levels.get((trial.config.task, trial.values["num_environments"]))

    found = results(tmp_path, "num-environments=1,2,4", level, (PENDULUM, REACHER))
    assert [row.name for row in found.rows] == ["000", "000", "001", "002"]
    assert found.best.mean_rank == 2.0 and found.rows[-1].mean_rank == 1.0
    assert ranking(found).splitlines()[-1] == "Not on all tasks, so last: 001, 002"


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

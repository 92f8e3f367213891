"""What is read from result files, and the numbers that are made of it."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

import envs
from benchmarks import update
from benchmarks.flops import flops_per_update
from purejax_simba.agents import registry
from purejax_simba.config import Config, ConfigError
from purejax_simba.defaults import resolve
from purejax_simba.names import flatten, replace_values
from purejax_simba.report import published, tables
from purejax_simba.report.charts import chart, draw
from purejax_simba.report.figures import (
    aggregate_curves,
    aggregate_scores,
    learning_curves,
    performance_profiles,
    probability_of_improvement,
    up_to,
    wall_time,
)
from purejax_simba.report.index import BEGIN, END, write_index
from purejax_simba.report.methods import (
    Experiment,
    Methods,
    common_counterparts,
    counterparts,
    published_algorithm,
)
from purejax_simba.report.page import write_page
from purejax_simba.report.reading import Run, read
from purejax_simba.report.scaling import PUBLISHED, compute_of, design_study, scaling
from purejax_simba.report.sessions import wall_seconds
from purejax_simba.report.style import AGENTS, looks
from purejax_simba.runs.session_record import RECORD_FILE
from tests.helpers.report_runs import SESSION, write_run

HEADLINE = {"simbaV2_utd1": 0.848, "simbaV2_utd2": 0.892, "simbaV2_utd4": 0.899}
HEADLINE |= {"simbaV2_utd8": 0.911, "simba_utd1": 0.765, "simba_utd2": 0.785}
HEADLINE |= {"simba_utd4": 0.803, "simba_utd8": 0.820, "bro_utd10": 0.811, "bro_utd2": 0.739}
LAST = 1_000_000


def published_scores(source: str, algorithm: str) -> pd.Series:
    """Task -> normalised mean at 1M env steps, without the code under test.

    SAC on the MuJoCo suite was evaluated every 16,666 env steps, the last time at 999,960.
    """
    rows = pd.read_csv(Path(published.__file__).parent / source)
    rows = rows[rows.algorithm == algorithm]
    bounds = pd.read_csv(Path(published.__file__).parent / "normalization_scores.csv")
    found = {}
    for task, low, high, _ in bounds.itertuples(index=False):
        own = rows[(rows.task == task) & rows.env_step.between(999_900, LAST)]
        metric = "avg_success" if task.startswith("myosuite") else "avg_return"
        value = own["mean"][own.metric == metric]
        if len(own):
            found[task] = ((value.item() if len(value) else 0.0) - low) / (high - low)
    return pd.Series(found)


@pytest.mark.parametrize(("algorithm", "score"), [*HEADLINE.items(), ("sac", 0.568)])
def test_published_headline(algorithm, score):
    """The mean normalised return over all 57 tasks at 1M env steps, as published."""
    own = published_scores("returns.csv.gz", algorithm)
    assert len(own) == 57
    assert round(own.mean(), 3) == score
    curve = published_algorithm(algorithm).aggregate(sorted(own.index))
    value = curve["mean"].iloc[abs(curve.index - LAST).argmin()]
    assert round(value, 3) == score


@pytest.mark.parametrize(
    ("algorithm", "score"), [("flashsac_cpu", 0.982), ("simbav2_cpu", 0.902), ("xqc_cpu", 0.891)]
)
def test_flashsacs_headline(algorithm, score):
    """Over the 39 tasks that FlashSAC's files have of FlashSAC."""
    tasks = sorted(published_scores("flashsac.csv.gz", "flashsac_cpu").index)
    assert len(tasks) == 39
    own = published_scores("flashsac.csv.gz", algorithm)
    assert round(own[tasks].mean(), 3) == score
    assert round(published_algorithm(algorithm).aggregate(tasks)["mean"][LAST], 3) == score


@pytest.mark.parametrize(
    ("again", "first"), [("simbav2_cpu", "simbaV2_utd2"), ("tdmpc2_cpu", "tdmpc2")]
)
def test_flashsacs_files_repeat_runs_that_were_published_before(again, first):
    """So they are no second measurement, and legends say whose files they are from."""
    keys = ["task", "metric", "env_step"]
    rows = published.published_returns().set_index("algorithm")
    both = rows.loc[again].merge(rows.loc[first], on=keys, suffixes=("", "_first"))
    assert len(both) == len(rows.loc[first])
    np.testing.assert_allclose(both["mean"], both.mean_first, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(both.seeds, both.seeds_first)
    labels = {look.label for look in looks(map(published_algorithm, (again, first))).values()}
    assert len(labels) == 2
    assert any(label.endswith(", published") for label in labels)
    assert any(label.endswith(", published with FlashSAC") for label in labels)


def test_published_figures_are_those_of_their_evaluations():
    """Not averaged over neighbouring ones; the standard deviation is that of a sample."""
    returns = published.published_returns()
    at_end = returns.query("task == 'humanoid_bench/h1-walk' and env_step == @LAST")
    assert at_end.set_index("algorithm")["mean"]["bro_utd10"] == pytest.approx(671.9, abs=0.05)
    # The five seeds in the file at 50,000 env steps.
    seeds = [4451.9026, 3968.0031, 4693.3338, 4306.1503, 4193.2758]
    rows = returns.query("task == 'mujoco/HalfCheetah-v4' and env_step == 50_000")
    row = rows.query("algorithm == 'simbaV2_utd1' and metric == 'avg_return'").iloc[0]
    assert row["mean"] == pytest.approx(np.mean(seeds), abs=1e-3)
    assert row["std"] == pytest.approx(np.std(seeds, ddof=1), abs=1e-3)
    assert row.seeds == 5
    with_resets = returns[returns.algorithm.str.endswith("_reset")]
    assert with_resets.groupby("algorithm").task.nunique().tolist() == [12] * 8


def test_normalisation_is_the_papers():
    assert published.normalize("dmc/dog-run", 250.0) == 0.25
    # Random play scores 2.377 in h1-walk, and 700 is success.
    assert published.normalize("humanoid_bench/h1-walk", 700.0) == 1.0
    assert published.normalize("humanoid_bench/h1-walk", 2.377) == 0.0
    assert published.normalized_metric("myosuite/myo-pose") == "avg_success"
    assert not published.is_normalized("gymnax/Pendulum-v1")


def test_suites_have_their_published_sizes():
    suites = published.suites_of(sorted(published.normalization_scores().index))
    sizes = {"mujoco": 5, "dmc_easy_medium": 21, "dmc_hard": 7, "myosuite": 10}
    assert {name: len(tasks) for name, tasks in suites.items()} == sizes | {
        "humanoid_bench": 14,
        "all": 57,
    }


def test_a_success_rate_that_is_not_listed_is_none():
    rows = [("x", "myosuite/myo-pose", "avg_return", 10, -3.0, 1.0, 5)]
    rows += [("x", "myosuite/myo-pose", "avg_return", 20, -2.0, 1.0, 5)]
    rows += [("x", "myosuite/myo-pose", "avg_success", 20, 0.5, 0.1, 5)]
    rows += [("x", "dmc/dog-run", "avg_return", 10, 3.0, 1.0, 5)]
    whole = published.add_unsolved(pd.DataFrame(rows, columns=list(published.COLUMNS)))
    rates = whole[whole.metric == "avg_success"].set_index("env_step")["mean"]
    assert rates.to_dict() == {10: 0.0, 20: 0.5}


def test_a_run_is_read_as_it_was_written(tmp_path):
    directory = write_run(
        tmp_path, "mine", "dmc/dog-run", [100, 200, 300], diverged={2: 100_000}, agent__tau=0.01
    )
    collection = read([tmp_path])
    (run,) = collection.runs
    assert (run.experiment, run.task, run.directory) == ("mine", "dmc/dog-run", directory)
    assert collection.left_out == ()
    assert run.config["agent.tau"] == 0.01
    assert run.diverged == {2: 100_000}
    assert run.sessions[0]["devices"] == "2 x cpu"
    returns = run.table("avg_return")
    np.testing.assert_array_equal(returns.index, [0, 50_000, 100_000])
    np.testing.assert_array_equal(returns.loc[50_000], [50, 100, 150])
    np.testing.assert_array_equal(returns.loc[100_000], [100, 200, np.nan])


def test_a_row_that_was_written_anew_counts_once(tmp_path):
    directory = write_run(tmp_path, "mine", "dmc/dog-run", [100, 200])
    with (directory / "metrics.csv").open("a") as file:
        file.write("mine,dog-run,0,avg_return,100000,555\n")
    collection = read([tmp_path])
    np.testing.assert_array_equal(collection.runs[0].table("avg_return").loc[100_000], [555, 200])
    assert collection.left_out == ()


def test_published_files_are_read_as_our_own(tmp_path):
    """Per seed, in one file with several experiments and names without suites; and as means."""
    header = "exp_name,env_name,seed,metric,env_step,value\n"
    rows = ["sac,cheetah-run,0,avg_return,0,1", "sac,h1-walk-v0,0,avg_return,0,2"]
    rows += ["td3,myo-pose,1,avg_return,0,-3", "td3,myo-pose,1,avg_success,0,0.5"]
    (tmp_path / "seeds.csv").write_text(header + "\n".join(rows))
    means = published.published_returns().query("algorithm == 'crossq'")
    means.to_csv(tmp_path / "means.csv", index=False)
    collection = read([tmp_path])
    assert [(run.experiment, run.task) for run in collection.runs] == [
        ("sac", "dmc/cheetah-run"),
        ("sac", "humanoid_bench/h1-walk"),
        ("td3", "myosuite/myo-pose"),
    ]
    assert len(collection.published) == len(means)
    (_, td3) = Methods(collection).ours
    np.testing.assert_array_equal(td3.scores(["myosuite/myo-pose"], 0), [[0.5]])


def test_equal_names_from_two_places_stay_apart(tmp_path):
    for place in ("first", "second"):
        write_run(tmp_path / place, "mine", "dmc/dog-run", [1, 2])
    names = [run.experiment for run in read([tmp_path]).runs]
    assert names == [str(tmp_path / place / "mine") for place in ("first", "second")]


def test_what_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        read([tmp_path / "nowhere"])


def test_results_beside_the_published_ones(tmp_path):
    """At the last env step that both have; the interval is scipy's of Welch's test."""
    scores = [100.0, 140.0, 180.0, 90.0]
    write_run(tmp_path, "mine", "dmc/dog-run", scores, steps=(0, 100_000, 150_000))
    experiments = Methods(read([tmp_path])).ours
    (row,) = tables.results(experiments).to_dict("records")
    assert row["env step"] == 150_000
    assert row["mean"] == pytest.approx(np.mean(scores))
    assert row["interquartile mean"] == pytest.approx(scipy.stats.trim_mean(scores, 0.25))
    known = published.published_returns().query(
        "algorithm == 'simbaV2_utd2' and task == 'dmc/dog-run' and env_step == 100_000 "
        "and metric == 'avg_return'"
    )
    (row,) = tables.comparisons(experiments).to_dict("records")
    assert row["algorithm"] == "simbaV2_utd2"
    assert row["env step"] == 100_000
    assert row["published"] == known["mean"].item()
    # Any sample with the published mean and standard deviation will do.
    sample = scipy.stats.zscore(np.arange(float(known.seeds.item())), ddof=1)
    sample = known["mean"].item() + known["std"].item() * sample
    ours = np.array(scores) * 100_000 / 150_000
    expected = scipy.stats.ttest_ind(ours, sample, equal_var=False).confidence_interval(0.95)
    assert row["difference"] == pytest.approx(ours.mean() - sample.mean())
    assert (row["difference low"], row["difference high"]) == pytest.approx(tuple(expected))


@pytest.mark.parametrize(
    ("values", "algorithms"),
    [
        ({}, ["simbaV2_utd2"]),
        ({"update_to_data_ratio": 1.0}, ["simbaV2_utd1"]),
        ({"update_to_data_ratio": 8.0}, ["simbaV2_utd8"]),
        ({"update_to_data_ratio": 3.0}, []),
        # Published with two env steps per interaction, and compared at equal env steps.
        ({"update_to_data_ratio": 1.0, "action_repeat": 1}, ["simbaV2_utd2"]),
        ({"update_to_data_ratio": 2.0, "action_repeat": 1}, ["simbaV2_utd4"]),
        ({"update_to_data_ratio": 2.0, "action_repeat": 4}, ["simbaV2_utd1"]),
        ({"update_to_data_ratio": 2.0, "action_repeat": 3}, []),
        ({"agent__reset_env_steps": (200_000,)}, ["simbaV2_utd2_reset"]),
        ({"agent__name": "simba", "update_to_data_ratio": 4.0}, ["simba_utd4"]),
        # The others repeat no action: two updates per two env steps are one per step.
        ({"agent__name": "sac"}, ["sac"]),
        ({"agent__name": "sac", "update_to_data_ratio": 1.0}, []),
        ({"agent__name": "bro", "update_to_data_ratio": 20.0}, ["bro_utd10"]),
        ({"agent__name": "bro", "update_to_data_ratio": 10.0}, []),
        (
            {"agent__name": "flash_sac", "update_to_data_ratio": 1.0, "action_repeat": 1},
            ["flashsac_cpu"],
        ),
        ({"agent__name": "crossq"}, []),  # nothing is published of this task
        ({"agent__name": "td3"}, []),
        # Half as long, returns are half as large; and with a dataset, steps are updates.
        ({"episode_length": 500}, []),
        ({"episode_length": 1000}, ["simbaV2_utd2"]),
        ({"offline__dataset": "x.hdf5"}, []),
    ],
)
def test_published_results_with_as_many_updates(tmp_path, values, algorithms):
    write_run(tmp_path, "mine", "dmc/dog-run", [1, 2], **values)
    (run,) = read([tmp_path]).runs
    assert [method.name for method in counterparts(run)] == algorithms


@pytest.mark.parametrize(
    ("ratio", "algorithms"),
    [
        (1.0, ["simbaV2_utd1", "simbaV2_utd2"]),
        (2.0, ["simbaV2_utd2", "simbaV2_utd4"]),
        (3.0, []),
        (8.0, ["simbaV2_utd8"]),
    ],
)
def test_what_published_names_count_on_mujoco_is_left_open(tmp_path, ratio, algorithms):
    task, ratios = "mujoco/Hopper-v4", {"action_repeat": 1, "update_to_data_ratio": ratio}
    write_run(tmp_path, "mine", task, [1, 2], **ratios)
    experiments = Methods(read([tmp_path])).ours
    assert [method.name for method in counterparts(experiments[0].runs[task])] == algorithms
    compared = tables.comparisons(experiments)
    assert (compared.algorithm.tolist() if len(compared) else []) == algorithms


def test_results_that_are_not_of_the_benchmark_are_found_too(tmp_path):
    """FlashSAC's with many environments, two updates for 1024 env steps."""
    task, ratios = "mujoco_playground/G1JoystickFlatTerrain", {"action_repeat": 1}
    ratios |= {"agent__name": "flash_sac", "update_to_data_ratio": 2 / 1024}
    write_run(tmp_path, "mine", task, [1, 2], **ratios)
    (run,) = read([tmp_path]).runs
    assert [method.name for method in counterparts(run)] == ["flashsac_gpu"]


def test_an_action_repeat_that_is_not_published_is_compared_per_env_step_on_mujoco(tmp_path):
    write_run(tmp_path, "mine", "mujoco/Hopper-v4", [1, 2], update_to_data_ratio=2.0)
    (run,) = read([tmp_path]).runs
    assert run.config["action_repeat"] == 2
    assert [method.name for method in counterparts(run)] == ["simbaV2_utd1", "simbaV2_utd2"]


def test_a_mean_over_suites_is_beside_what_fits_all_of_its_tasks(tmp_path):
    write_run(tmp_path, "mine", "dmc/dog-run", [1, 2])
    one = {"action_repeat": 1, "update_to_data_ratio": 1.0}
    write_run(tmp_path, "mine", "mujoco/Hopper-v4", [1, 2], **one)
    (experiment,) = Methods(read([tmp_path])).ours
    found = common_counterparts(experiment, ["dmc/dog-run", "mujoco/Hopper-v4"])
    assert [method.name for method in found] == ["simbaV2_utd2"]


def test_wall_time_counts_what_was_lost_and_nothing_between_sessions(tmp_path):
    """The first session was killed at 100 s; the second began again at step 50,000."""
    directory = write_run(tmp_path, "mine", "dmc/dog-run", [1, 2])
    (session,) = json.loads((directory / RECORD_FILE).read_text())
    killed = {"startup_seconds": 10.0, "seconds": 90.0, "first_env_step": 0}
    killed["times"] = [[0, 11.0], [50_000, 60.0], [100_000, 99.0]]
    later = {"startup_seconds": 5.0, "seconds": 50.0, "first_env_step": 50_000}
    later["times"] = [[100_000, 54.0]]
    # The last only wrote the policies anew.
    again = later | {"first_env_step": 100_000, "times": [[100_000, 6.0]]}
    sessions = [session | killed, session | later, session | again]
    (directory / RECORD_FILE).write_text(json.dumps(sessions))
    (run,) = read([tmp_path]).runs
    assert wall_seconds(run).to_dict() == {0: 11.0, 50_000: 60.0, 100_000: 154.0}
    (panel,) = wall_time(Methods(read([tmp_path]))).panels
    assert panel.x == "wall time, minutes"
    np.testing.assert_allclose(panel.series[0].curve.index * 60, [11.0, 60.0, 154.0])
    assert panel.series[0].curve["mean"].tolist() == [0.0, 0.75, 1.5]
    # What earlier versions wrote has no times.
    for each in sessions:
        del each["times"]
    (directory / RECORD_FILE).write_text(json.dumps(sessions))
    assert wall_time(Methods(read([tmp_path]))) is None


def test_before_training_nothing_is_compared(tmp_path):
    write_run(tmp_path, "mine", "dmc/dog-run", [100, 200], steps=(0, 30_000))
    experiments = Methods(read([tmp_path])).ours
    assert not len(tables.comparisons(experiments))
    assert not len(tables.aggregate_comparisons(experiments))


def test_aggregates_are_of_normalised_scores(tmp_path):
    write_run(tmp_path, "mine", "dmc/dog-run", [100, 200])
    write_run(tmp_path, "mine", "dmc/cheetah-run", [900, 700], steps=(0, 100_000, 200_000))
    write_run(tmp_path, "mine", "gymnax/Pendulum-v1", [-100, -200])  # has no score to divide by
    experiments = Methods(read([tmp_path])).ours
    rows = tables.aggregates(experiments).set_index("suite")
    assert list(rows.index) == ["dmc_easy_medium", "dmc_hard", "all"]
    # Together they were last evaluated at 100,000, where the second run is at a half.
    assert rows.loc["all", "env step"] == 100_000
    assert rows.loc["all", "mean"] == pytest.approx((0.15 + 0.4) / 2)
    assert rows.loc["all", "optimality gap"] == pytest.approx(1 - (0.15 + 0.4) / 2)
    expected = scipy.stats.trim_mean([0.1, 0.2, 0.45, 0.35], 0.25)
    assert rows.loc["all", "interquartile mean"] == pytest.approx(expected)
    assert rows.loc["dmc_easy_medium", "mean"] == pytest.approx(0.8)
    reference = published.published_returns().query(
        "algorithm == 'simbaV2_utd2' and metric == 'avg_return' and env_step == 100_000"
    )
    pair = reference.set_index("task")["mean"][["dmc/dog-run", "dmc/cheetah-run"]] / 1000
    compared = tables.aggregate_comparisons(experiments).set_index("suite")
    assert compared.loc["all", "published"] == pytest.approx(pair.mean())
    assert compared.loc["all", "ours"] == pytest.approx((0.15 + 0.4) / 2)


def test_a_curve_goes_on_with_the_seeds_that_did_not_diverge(tmp_path):
    write_run(tmp_path, "mine", "dmc/dog-run", [100, 200, 600], diverged={2: 100_000})
    (experiment,) = Methods(read([tmp_path])).ours
    curve = experiment.curve("dmc/dog-run")["mean"]
    assert curve.to_dict() == pytest.approx({0: 0.0, 50_000: 150.0, 100_000: 150.0})


def test_a_value_that_was_not_finite_is_missing_and_counted(tmp_path):
    """`nan` is written where an evaluation had episodes whose return was not finite."""
    task = "dmc/dog-run"
    directory = write_run(tmp_path, "mine", task, [100, 200, 600])
    file = directory / "metrics.csv"
    rows = file.read_text()
    for step, value in ((50_000, "300.0"), (100_000, "600.0")):
        row = f"mine,dog-run,2,avg_return,{step},{value}\n"
        assert row in rows
        rows = rows.replace(row, row.replace(value, "nan"))
    file.write_text(rows)
    collection = read([tmp_path])
    assert collection.left_out == ()
    (run,) = collection.runs
    np.testing.assert_array_equal(run.table("avg_return").loc[100_000], [100, 200, np.nan])
    experiments = Methods(collection).ours
    (row,) = tables.results(experiments).to_dict("records")
    assert (row["mean"], row["seeds"], row["missing"]) == (150.0, 2, 1)
    (row,) = tables.comparisons(experiments).to_dict("records")
    assert (row["ours"], row["seeds"], row["missing"]) == (150.0, 2, 1)
    assert tables.aggregates(experiments).missing.tolist() == [1]
    assert experiments[0].curve(task).missing.tolist() == [0, 1, 1]
    write_index(tmp_path)
    assert "| 100,000 | 2 of 3 | 150.0 ± 70.7 |" in (tmp_path / "README.md").read_text()
    write_page([tmp_path], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "avg_return of seed 2 was not finite at 50,000 env steps and 1 other evaluation" in page
    assert "2 of 3" in page
    (legend,) = draw(learning_curves(Methods(read([tmp_path])))).legends
    assert "some seeds missing" in [text.get_text() for text in legend.get_texts()]


def test_figures_over_tasks_say_how_many_seeds_are_missing(tmp_path):
    """Three of four seeds diverged, and the one that is left is better than all others."""
    late = {1: 50_000, 2: 50_000, 3: 50_000}
    for task in ("dmc/dog-run", "dmc/cheetah-run"):
        write_run(tmp_path, "a", task, [900, 100, 100, 100], diverged=late)
        write_run(tmp_path, "b", task, [500, 510, 520, 530])
    methods = Methods(read([tmp_path]))
    for figure in (aggregate_scores, design_study, probability_of_improvement):
        drawn = draw(figure(methods))
        labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
        assert any("6 seeds missing" in label for label in labels)
        assert not any(label.startswith("b,") for label in labels)
        assert "6 seeds missing" in str(chart(figure(methods).panels[0])["data"][0]["y"])
    profile = performance_profiles(methods)
    assert [s.curve.missing.max() for s in profile.panels[0].series] == [6, 0]
    (legend,) = draw(profile).legends
    assert "some seeds missing" in [text.get_text() for text in legend.get_texts()]


def test_episodes_of_another_length_are_neither_normalised_nor_compared(tmp_path):
    write_run(tmp_path, "mine", "dmc/dog-run", [400, 410], episode_length=500)
    write_run(tmp_path, "mine", "dmc/cheetah-run", [400, 410], episode_length=1000)
    methods = Methods(read([tmp_path]))
    assert methods.common_tasks == ["dmc/cheetah-run"]
    assert set(tables.aggregates(methods.ours).suite) == {"dmc_easy_medium"}
    write_page([tmp_path], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "so returns of another size: dmc/dog-run<" in page


def test_lengths_of_published_episodes_are_those_of_the_tasks():
    for task in published.normalization_scores().index:
        assert published.episode_length(task) == envs.spec(task).episode_length


def test_what_learned_from_datasets_counts_updates(tmp_path):
    steps = {"steps": (0, 500_000, 1_000_000)}
    write_run(tmp_path, "mine", "mujoco/Hopper-v4", [1, 2], offline__dataset="x.hdf5", **steps)
    methods = Methods(read([tmp_path]))
    assert learning_curves(methods).panels[0].x == "updates"
    figure = aggregate_curves(methods)
    assert figure.panels[0].x == "updates"
    assert [series.look.label for series in figure.panels[0].series] == ["mine"]
    assert aggregate_scores(methods).panels[0].x.endswith("at 1M updates")
    # At an env step of the published curves, too.
    assert design_study(methods) is None and scaling(methods) is None


def test_updates_and_env_steps_are_in_no_figure_together(tmp_path):
    steps = {"steps": (0, 500_000, 1_000_000)}
    write_run(tmp_path, "off", "mujoco/Hopper-v4", [1, 2], offline__dataset="x.hdf5", **steps)
    write_run(tmp_path, "on", "mujoco/Hopper-v4", [1, 2], **steps)
    methods = Methods(read([tmp_path]))
    assert probability_of_improvement(methods) is None and aggregate_curves(methods) is None
    write_page([tmp_path], tmp_path / "report.html")
    assert learning_curves(methods).panels[0].x == "environment steps or updates"
    assert "no figure over tasks has both" in (tmp_path / "report.html").read_text()


def test_a_page_says_what_differs_between_the_tasks_of_an_experiment(tmp_path):
    write_run(tmp_path, "mine", "dmc/dog-run", [1, 2], agent__critic_hidden_dim=384)
    write_run(tmp_path, "mine", "dmc/cheetah-run", [1, 2], agent__critic_hidden_dim=128)
    write_page([tmp_path], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    _, _, differences = page.partition("What differs between the tasks: mine")
    assert "384" in differences.partition("</table>")[0]


def test_an_evaluation_without_any_finite_value_is_unknown(tmp_path):
    directory = write_run(tmp_path, "mine", "dmc/dog-run", [100])
    file = directory / "metrics.csv"
    file.write_text(file.read_text().replace("100000,100.0", "100000,nan"))
    collection = read([tmp_path])
    experiments = Methods(collection).ours
    (row,) = tables.results(experiments).to_dict("records")
    assert (row["seeds"], row["missing"], row["env step"]) == (0, 1, 100_000)
    assert np.isnan(row["mean"]) and np.isnan(row["interquartile mean"])
    # Scores over tasks are of the last evaluation with values.
    assert tables.aggregates(experiments)["env step"].tolist() == [50_000]
    assert not len(tables.comparisons(experiments))
    # A line has a gap there.
    curve = experiments[0].curve("dmc/dog-run")["mean"].tolist()
    np.testing.assert_array_equal(curve, [0, 50, np.nan])
    write_index(tmp_path)
    assert "| 100,000 | 0 of 1 | - |" in (tmp_path / "README.md").read_text()
    write_page([tmp_path], tmp_path / "report.html")


def test_an_agent_has_one_hue_everywhere(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path, name, "dmc/dog-run", [1, 2])
    ours = Methods(read([tmp_path])).ours
    theirs = published_algorithm("simbaV2_utd2")
    found = {method.name: look for method, look in looks([theirs, *ours]).items()}
    (utd8,) = looks([published_algorithm("simbaV2_utd8")]).values()
    assert found["a"].color == found["simbaV2_utd2"].color == utd8.color
    assert (found["a"].color, found["a"].dash) != (found["b"].color, found["b"].dash)
    assert [*looks(ours).values()] == [found["a"], found["b"]]


def test_our_agents_have_a_colour_each():
    assert {*registry.AGENTS} <= AGENTS.keys()
    assert len({AGENTS[name][0] for name in registry.AGENTS}) == len(registry.AGENTS)


def _experiments(count: int, agent: str) -> list[Experiment]:
    nothing = pd.DataFrame(columns=["metric", "env_step", "seed", "value"])
    run = Run("", "dmc/dog-run", Path(), nothing, {"agent.name": agent})
    return [Experiment(f"{agent}/{number:03d}", [run]) for number in range(count)]


@pytest.mark.parametrize("count", [4, 13])
def test_no_two_experiments_of_a_figure_look_alike(count):
    """Not those of an unknown agent either, whose colours are those of known ones, nor where the
    shades of an agent, which for black are black again, are used up.
    """
    agents = [*registry.AGENTS, "another"]
    experiments = [each for agent in agents for each in _experiments(count, agent)]
    found = looks(experiments).values()
    assert len({(look.color, look.dash) for look in found}) == count * len(agents)


def test_labels_say_which_agent_it_is_where_agents_are_compared(tmp_path):
    write_run(tmp_path, "sweep/000", "gymnax/Pendulum-v1", [1, 2])
    write_run(tmp_path, "sac", "gymnax/Pendulum-v1", [1, 2], agent__name="sac")
    experiments = Methods(read([tmp_path])).ours
    labels = {method.name: look.label for method, look in looks(experiments).items()}
    assert labels == {"sac": "sac", "sweep/000": "SimbaV2 (sweep/000)"}
    assert looks(experiments[1:])[experiments[1]].label == "sweep/000"
    # Nothing is published of this task.
    (legend,) = draw(learning_curves(Methods(read([tmp_path])))).legends
    assert [text.get_text() for text in legend.get_texts()] == list(labels.values())


def test_an_experiment_may_have_the_name_of_a_published_algorithm(tmp_path):
    write_run(tmp_path, "sac", "dmc/dog-run", [500, 700], agent__name="sac")
    figure = learning_curves(Methods(read([tmp_path])))
    theirs, ours = figure.panels[0].series
    assert (theirs.look.label, ours.look.label) == ("SAC, published", "sac")
    assert ours.curve["mean"][100_000] == 600.0
    published_mean = published_algorithm("sac").curve("dmc/dog-run")["mean"][100_000]
    assert theirs.curve["mean"][100_000] == published_mean < 100.0


def test_published_results_are_points_without_a_line(tmp_path):
    """They have one every 50,000 interactions; the first beyond a shorter run is shown as well."""
    write_run(tmp_path, "mine", "dmc/dog-run", [1, 2], steps=(0, 20_000, 60_000))
    write_run(tmp_path, "mine", "mujoco/Hopper-v4", [1, 2], action_repeat=1)
    figure = draw(learning_curves(Methods(read([tmp_path]))))
    dog, hopper = figure.axes
    shown = [container.lines[0] for axes in (dog, hopper) for container in axes.containers]
    assert [line.get_linestyle() for line in shown] == ["None"] * 3
    assert shown[0].get_xdata().tolist() == [0, 100_000]
    assert dog.get_xlim()[1] > 100_000
    assert shown[1].get_xdata().tolist() == [0, 50_000, 100_000]
    assert len({line.get_marker() for line in shown[1:]}) == 2
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["SimbaV2 (UTD 2), published", "SimbaV2 (UTD 4), published", "mine"]
    many = pd.DataFrame({"mean": range(201)}, index=range(0, 1_005_000, 5_000))
    few = up_to(many, 1_000_000)
    assert len(few) <= 25 and few.index[-1] == 1_000_000 and few.index.is_monotonic_increasing


def test_a_legend_is_no_wider_than_its_figure(tmp_path):
    for number in range(4):
        for task in ("dmc/dog-run", "dmc/cheetah-run", "dmc/finger-spin"):
            write_run(tmp_path, f"a-rather-long-name/{number:03d}", task, [1, 2])
    figure = draw(learning_curves(Methods(read([tmp_path]))))
    figure.canvas.draw()
    (legend,) = figure.legends
    extent = legend.get_window_extent()
    assert figure.bbox.x0 <= extent.x0 and extent.x1 <= figure.bbox.x1


def test_the_index_is_written_anew_and_the_rest_stays(tmp_path):
    write_run(tmp_path, "mine", "dmc/dog-run", [100, 200])
    (tmp_path / "README.md").write_text(f"# Mine\n\n{BEGIN}\nold\n{END}\n\nwords\n")
    write_index(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("# Mine\n")
    assert text.endswith("\n\nwords\n")
    assert "old" not in text
    assert "| `mine/dmc/dog-run` | 100,000 | 2 | 150.0 ± 70.7 | 2026-01-02 | jax 0.10.2" in text
    assert "(mine/dmc/dog-run/metrics.csv)" in text
    assert "- `mine/dmc/dog-run`: `python train.py --task dmc/cheetah-run`\n" in text
    write_index(tmp_path)
    assert (tmp_path / "README.md").read_text() == text
    write_run(tmp_path, "mine", "dmc/dog-walk", [100, 200])
    write_index(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "- `mine/dmc/dog-run`, `mine/dmc/dog-walk`: `python train.py" in text, "once"


def test_the_index_has_what_others_have_too(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("scratch/\n")
    write_run(tmp_path, "mine", "dmc/dog-run", [100, 200])
    write_run(tmp_path / "scratch", "tried", "dmc/dog-run", [100, 200])
    line = write_index(tmp_path)
    assert line == f"{tmp_path / 'README.md'}: 1 run, without 1 that git ignores"
    text = (tmp_path / "README.md").read_text()
    assert "mine" in text
    assert "tried" not in text


def test_names_are_no_markup_in_the_index(tmp_path):
    machine = "<img src=x> [a](b) *c*"
    session = SESSION | {"machine": machine, "command": "python train.py --experiment '`a`|b'"}
    write_run(tmp_path, "<b>`a`|b", "dmc/dog-run", [100, 200], session=session)
    write_index(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert r"| `` <b>`a`\|b/dmc/dog-run `` | 100,000 |" in text
    assert "(%3Cb%3E%60a%60%7Cb/dmc/dog-run/metrics.csv)" in text
    assert r"&lt;img src=x&gt; \[a\](b) \*c\*" in text
    assert "- `` <b>`a`|b/dmc/dog-run ``: `` python train.py --experiment '`a`|b' ``\n" in text


def test_a_session_of_another_time_does_not_matter(tmp_path):
    directory = write_run(tmp_path, "mine", "dmc/dog-run", [1, 2])
    (directory / "run.json").write_text(json.dumps([{"pace": None}]))
    (run,) = read([tmp_path]).runs
    assert run.sessions == ({"pace": None},)


def test_agents_of_two_outputs_are_one_only_if_they_are_the_same(tmp_path):
    """Both have the agent's name, which is nobody's choice."""
    for output, task, width in (("wide", "walker-run", 512), ("narrow", "dog-run", 128)):
        size = {"agent__critic_hidden_dim": width, "agent__num_critics": width // 128}
        write_run(tmp_path / output, "simba_v2", f"dmc/{task}", [1, 2], **size)
    names = {run.task: run.experiment for run in read([tmp_path]).runs}
    assert names == {
        "dmc/walker-run": f"{tmp_path}/wide/simba_v2",
        "dmc/dog-run": f"{tmp_path}/narrow/simba_v2",
    }
    task = {"action_repeat": 1, "update_to_data_ratio": 1.0, "agent__num_critics": 2}
    write_run(tmp_path / "third", "simba_v2", "dmc/dog-run", [1, 2])
    write_run(tmp_path / "fourth", "simba_v2", "mujoco/Ant-v4", [1, 2], **task)
    runs = read([tmp_path / "third", tmp_path / "fourth"]).runs
    assert {run.experiment for run in runs} == {"simba_v2"}


def _count_of_experiments(place: Path, *configs: Config) -> int:
    """Of runs of the same name in an output each, whose configurations are whole."""
    for number, config in enumerate(configs):
        values = {name.replace(".", "__"): value for name, value in flatten(config).items()}
        for name in ("output", "experiment", "task", "num_seeds", "total_env_steps"):
            del values[name]
        write_run(place / str(number), "mine", config.task, [1, 2], **values)
    return len({run.experiment for run in read([place]).runs})


SUITES = ("dmc/dog-run", "mujoco/Ant-v4", "gymnax/Pendulum-v1")


@pytest.mark.parametrize(
    "values",
    [
        {"agent.learning_rate": 1e-3},
        {"agent.critic_loss": "squared_error"},
        {"agent.num_critics": 3},
        {"agent.scaler_init": 0.5},
        {"agent.reset_env_steps": (200_000,)},
        {"replay.batch_size": 512},
        {"replay.n_step": 3},
        {"temperature.initial": 0.1},
        {"normalize_rewards": False},
        {"recipe": "paper"},
        {"update_to_data_ratio": 8.0},
    ],
)
def test_agents_that_differ_in_anything_are_two_experiments(tmp_path, values):
    first, second = (Config(task) for task in SUITES[:2])
    configs = [resolve(first), resolve(replace_values(second, values))]
    assert _count_of_experiments(tmp_path, *configs) == 2


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"agent.learning_rate": 1e-3, "replay.batch_size": 512, "agent.num_critics": 3},
        {"agent.name": "simba"},
        {"agent.name": "bro"},  # whose resets are at whole interactions
        {"agent.name": "flash_sac", "recipe": "paper"},
        {"agent.name": "redq", "recipe": "paper"},  # with numbers of its own on some tasks
        {"agent.name": "random"},
    ],
)
def test_a_benchmark_over_suites_is_one_experiment_wherever_its_parts_are(tmp_path, values):
    configs = [resolve(replace_values(Config(task), values)) for task in SUITES]
    assert _count_of_experiments(tmp_path, *configs) == 1


@pytest.mark.parametrize("name", ["figures", "plots", "wandb"])
def test_experiments_may_have_the_names_of_directories_that_are_skipped(tmp_path, name):
    directory = write_run(tmp_path, name, "dmc/dog-run", [1, 2])
    (directory / "plots").mkdir()
    (directory / "plots" / "beside.csv").write_text("a,b")
    collection = read([tmp_path])
    assert [run.experiment for run in collection.runs] == [name]
    assert collection.left_out == ()


@pytest.mark.parametrize("agent", ["simba_v2", "simba"])
def test_nearly_all_operations_of_an_update_are_in_the_blocks(agent):
    """Against those that are counted in the trace of an update of the published size."""
    arguments = update.Arguments(agent=agent, observation_size=24, action_size=6, num_critics=1)
    learner = update.make_learner(arguments)
    counted = flops_per_update(learner._replace(batch_size=PUBLISHED["replay.batch_size"]))
    config = {"agent.name": agent, "agent.num_critics": 1, "update_to_data_ratio": 1}
    in_blocks = compute_of(Run("", "dmc/dog-run", Path(), pd.DataFrame(), config))
    assert 0.9 < in_blocks * 1e9 / counted < 1.0

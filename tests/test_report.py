"""What is read from result files, and the numbers that are made of it."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from benchmarks import update
from benchmarks.flops import flops_per_update
from purejax_simba.config import ConfigError
from purejax_simba.logging import write_replaced
from purejax_simba.report import published, tables
from purejax_simba.report.compute import PUBLISHED, compute_of
from purejax_simba.report.figures import curves
from purejax_simba.report.index import BEGIN, END, write_index
from purejax_simba.report.methods import counterpart, experiments_of, published_algorithm
from purejax_simba.report.reading import read
from purejax_simba.report.style import looks, published_color
from tests.report_runs import write_run

HEADLINE = {"simbaV2_utd1": 0.848, "simbaV2_utd2": 0.892, "simbaV2_utd4": 0.899}
HEADLINE |= {"simbaV2_utd8": 0.911}


@pytest.mark.parametrize(("algorithm", "score"), HEADLINE.items())
def test_published_headline(algorithm, score):
    """The mean normalised return over all 57 tasks at 1M env steps, as published."""
    scores = published.mean_scores(published.published_returns())
    own = scores[(scores.algorithm == algorithm) & (scores.env_step == 1_000_000)]
    assert len(own) == own.task.nunique() == 57
    assert round(own.score.mean(), 3) == score
    method = published_algorithm(algorithm)
    curve = method.aggregate(sorted(method.tasks))
    assert round(curve["mean"].loc[1_000_000], 3) == score


def test_normalisation_is_the_papers():
    assert published.normalize("dmc/dog-run", 250.0) == 0.25
    # Random play scores 2.377 in h1-walk, and 700 is success.
    assert published.normalize("humanoid_bench/h1-walk", 700.0) == 1.0
    assert published.normalize("humanoid_bench/h1-walk", 2.377) == 0.0
    assert published.normalized_metric("myosuite/myo-pose") == "avg_success"
    assert not published.is_normalized("gymnax/Pendulum-v1")


def test_suites_have_their_published_sizes():
    suites = tables.suites_of(sorted(published.normalization_scores().index))
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
    (_, td3) = experiments_of(collection)
    np.testing.assert_array_equal(td3.scores(["myosuite/myo-pose"], 0), [[0.5]])


def test_equal_names_from_two_places_stay_apart(tmp_path):
    for place in ("first", "second"):
        write_run(tmp_path / place, "mine", "dmc/dog-run", [1, 2])
    names = read([tmp_path]).experiments
    assert names == [str(tmp_path / place / "mine") for place in ("first", "second")]


def test_what_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        read([tmp_path / "nowhere"])


def test_results_beside_the_published_ones(tmp_path):
    """At the last env step that both have; the interval is scipy's of Welch's test."""
    scores = [100.0, 140.0, 180.0, 90.0]
    write_run(tmp_path, "mine", "dmc/dog-run", scores, steps=(0, 100_000, 150_000))
    (row,) = tables.results_by_task(experiments_of(read([tmp_path]))).to_dict("records")
    assert row["env_step"] == 150_000
    assert row["mean"] == pytest.approx(np.mean(scores))
    assert row["interquartile_mean"] == pytest.approx(scipy.stats.trim_mean(scores, 0.25))
    known = published.published_returns().query(
        "algorithm == 'simbaV2_utd2' and task == 'dmc/dog-run' and env_step == 100_000"
    )
    assert row["compared_env_step"] == 100_000
    assert row["published_mean"] == known["mean"].item()
    # Any sample with the published mean and standard deviation will do.
    sample = scipy.stats.zscore(np.arange(float(known.seeds.item())), ddof=1)
    sample = known["mean"].item() + known["std"].item() * sample
    ours = np.array(scores) * 100_000 / 150_000
    expected = scipy.stats.ttest_ind(ours, sample, equal_var=False).confidence_interval(0.95)
    assert row["difference"] == pytest.approx(ours.mean() - sample.mean())
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(tuple(expected))


@pytest.mark.parametrize(
    ("values", "algorithm"),
    [
        ({}, "simbaV2_utd2"),
        ({"update_to_data_ratio": 8.0}, "simbaV2_utd8"),
        ({"update_to_data_ratio": 3.0}, "simbaV2_utd2"),
        ({"action_repeat": 1, "update_to_data_ratio": 1.0}, "simbaV2_utd2"),
        ({"agent__name": "simba"}, "simba_utd2"),
        ({"agent__name": "bro", "update_to_data_ratio": 10.0}, "bro_utd10"),
        ({"agent__name": "td3"}, None),
    ],
)
def test_the_published_algorithm_that_is_nearest(tmp_path, values, algorithm):
    write_run(tmp_path, "mine", "dmc/dog-run", [1, 2], **values)
    (experiment,) = experiments_of(read([tmp_path]))
    found = counterpart(experiment)
    assert (found and found.name) == algorithm


def test_before_training_nothing_is_compared(tmp_path):
    write_run(tmp_path, "mine", "dmc/dog-run", [100, 200], steps=(0, 30_000))
    experiments = experiments_of(read([tmp_path]))
    assert "published_mean" not in tables.results_by_task(experiments)
    assert "published mean" not in tables.aggregates(experiments)


def test_aggregates_are_of_normalised_scores(tmp_path):
    write_run(tmp_path, "mine", "dmc/dog-run", [100, 200])
    write_run(tmp_path, "mine", "dmc/cheetah-run", [900, 700], steps=(0, 100_000, 200_000))
    write_run(tmp_path, "mine", "gymnax/Pendulum-v1", [-100, -200])  # has no score to divide by
    rows = tables.aggregates(experiments_of(read([tmp_path]))).set_index("suite")
    assert list(rows.index) == ["dmc_easy_medium", "dmc_hard", "all"]
    # Together they were last evaluated at 100,000, where the second run is at a half.
    assert rows.loc["all", "env_step"] == 100_000
    assert rows.loc["all", "mean"] == pytest.approx((0.15 + 0.4) / 2)
    assert rows.loc["all", "optimality gap"] == pytest.approx(1 - (0.15 + 0.4) / 2)
    expected = scipy.stats.trim_mean([0.1, 0.2, 0.45, 0.35], 0.25)
    assert rows.loc["all", "interquartile mean"] == pytest.approx(expected)
    assert rows.loc["dmc_easy_medium", "mean"] == pytest.approx(0.8)
    reference = published.mean_scores(published.published_returns())
    reference = reference.query("algorithm == 'simbaV2_utd2' and env_step == 100_000")
    reference = reference.set_index("task").score
    pair = reference[["dmc/dog-run", "dmc/cheetah-run"]]
    assert rows.loc["all", "published mean"] == pytest.approx(pair.mean())


def test_a_curve_goes_on_with_the_seeds_that_did_not_diverge(tmp_path):
    write_run(tmp_path, "mine", "dmc/dog-run", [100, 200, 600], diverged={2: 100_000})
    (experiment,) = experiments_of(read([tmp_path]))
    curve = experiment.curve("dmc/dog-run")["mean"]
    assert curve.to_dict() == pytest.approx({0: 0.0, 50_000: 150.0, 100_000: 150.0})


def test_a_seed_that_was_replaced_does_not_count(tmp_path):
    directory = write_run(tmp_path, "mine", "dmc/dog-run", [100, 200, 600])
    write_replaced(directory, [{0: 2}])
    (run,) = read([tmp_path]).runs
    assert run.seeds == [1, 2]
    assert run.replaced == {0: 2}


def test_an_agent_has_one_hue_everywhere(tmp_path):
    for name in ("a", "b"):
        write_run(tmp_path, name, "dmc/dog-run", [1, 2])
    ours = experiments_of(read([tmp_path]))
    theirs = published_algorithm("simbaV2_utd2")
    found = looks([theirs, *ours])
    assert found["a"].color == found["simbaV2_utd2"].color == published_color("simbaV2_utd8")
    assert (found["a"].color, found["a"].dash) != (found["b"].color, found["b"].dash)
    assert looks(ours) == {name: found[name] for name in ("a", "b")}


def test_labels_say_which_agent_it_is_where_agents_are_compared(tmp_path):
    write_run(tmp_path, "sweep/000", "gymnax/Pendulum-v1", [1, 2])
    write_run(tmp_path, "sac", "gymnax/Pendulum-v1", [1, 2], agent__name="sac")
    experiments = experiments_of(read([tmp_path]))
    labels = {name: look.label for name, look in looks(experiments).items()}
    assert labels == {"sac": "sac", "sweep/000": "SimbaV2 (sweep/000)"}
    assert looks(experiments[1:])["sweep/000"].label == "sweep/000"
    # Nothing is published of this task.
    (legend,) = curves.learning_curves(experiments).legends
    assert [text.get_text() for text in legend.get_texts()] == list(labels.values())


def test_a_legend_is_no_wider_than_its_figure(tmp_path):
    for number in range(4):
        for task in ("dmc/dog-run", "dmc/cheetah-run", "dmc/finger-spin"):
            write_run(tmp_path, f"a-rather-long-name/{number:03d}", task, [1, 2])
    figure = curves.learning_curves(experiments_of(read([tmp_path])))
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


def test_a_session_of_another_time_does_not_matter(tmp_path):
    directory = write_run(tmp_path, "mine", "dmc/dog-run", [1, 2])
    (directory / "run.json").write_text(json.dumps([{"versions": None}, 3]))
    (run,) = read([tmp_path]).runs
    assert run.sessions == ({"versions": None},)


@pytest.mark.parametrize("agent", ["simba_v2", "simba"])
def test_nearly_all_operations_of_an_update_are_in_the_blocks(agent):
    """Against those that are counted in the trace of an update of the published size."""
    arguments = update.Arguments(agent=agent, observation_size=24, action_size=6, num_critics=1)
    learner = update.make_learner(arguments)
    counted = flops_per_update(
        learner.agent, learner.hyperparameters, 24, 6, PUBLISHED["replay.batch_size"]
    )
    in_blocks = compute_of({"agent.name": agent, "agent.num_critics": 1, "update_to_data_ratio": 1})
    assert 0.9 < in_blocks * 1e9 / counted < 1.0

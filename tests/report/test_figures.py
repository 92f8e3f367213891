"""What figures and charts show, against numbers worked out here."""

import pytest

from purejax_simba.report import figures
from purejax_simba.report.charts import Figure, Panel, Series, chart, draw
from purejax_simba.report.methods import Methods, published_algorithm
from purejax_simba.report.reading import read
from purejax_simba.report.scaling import design_study, point, scaling
from purejax_simba.report.style import Look
from tests.helpers.report_runs import write_run

LOOK = Look("mine", "#0072B2")
CURVE = point(10.0, mean=2.0, low=1.5, high=4.0)


def _compared(tmp_path) -> Methods:
    """Two experiments of two seeds on a task whose normalised score is a thousandth of a return."""
    steps = (0, 100_000, 125_000)
    write_run(tmp_path, "less", "dmc/dog-run", [100, 200], steps)
    write_run(tmp_path, "more", "dmc/dog-run", [150, 250], steps, update_to_data_ratio=4.0)
    return Methods(read([tmp_path]))


def test_charts_show_the_interval_of_each_mean():
    (points,) = chart(Panel("", [Series(LOOK, CURVE)]))["data"]
    assert (points["x"], points["y"]) == ([10.0], [2.0])
    assert (points["error_y"]["array"], points["error_y"]["arrayminus"]) == ([2.0], [0.5])
    band, line = chart(Panel("", [Series(LOOK, CURVE, is_joined=True)]))["data"]
    assert (band["y"], line["y"]) == ([1.5, 4.0], [2.0])
    (row,) = chart(Panel("", [Series(LOOK, CURVE)], are_rows=True))["data"]
    assert (row["x"], row["y"]) == ([2.0], ["mine"])
    assert (row["error_x"]["array"], row["error_x"]["arrayminus"]) == ([2.0], [0.5])


def test_a_figure_says_once_what_all_its_panels_show_and_else_beside_each():
    same, other = Panel("", [Series(LOOK, CURVE)]), Panel("", [Series(LOOK, CURVE)], "updates")
    drawn = draw(Figure([same, same]))
    assert drawn.get_supxlabel() == "environment steps"
    assert [axes.get_xlabel() for axes in drawn.axes] == ["", ""]
    drawn = draw(Figure([same, other]))
    assert drawn.get_supxlabel() == ""
    assert [axes.get_xlabel() for axes in drawn.axes] == ["environment steps", "updates"]


def test_a_mean_without_an_interval_has_no_band():
    alone = CURVE.assign(low=float("nan"), high=float("nan"))
    assert len(chart(Panel("", [Series(LOOK, alone, is_joined=True)]))["data"]) == 1
    (points,) = chart(Panel("", [Series(LOOK, alone)]))["data"]
    assert points["error_y"]["array"] == [0.0]


def test_scaling_is_at_the_last_step_that_is_published(tmp_path):
    methods = _compared(tmp_path)
    assert methods.scope == (["dmc/dog-run"], 100_000)
    (panel,) = scaling(methods).panels
    *published, less, more = panel.series
    # Six products of two critic blocks 512 wide, four of an actor block 128 wide; batches of 256.
    weights = 6 * 2 * 8 * 512**2 + 4 * 8 * 128**2
    gflop = 2 * 256 * weights / 1e9
    assert less.curve.index.tolist() == pytest.approx([2 * gflop])
    assert more.curve.index.tolist() == pytest.approx([4 * gflop])
    assert less.curve["mean"].tolist() == pytest.approx([0.15 * 100 / 125])
    updates = next(s for s in published if s.look.label == "SimbaV2, UTD 1, 2, 4, 8, published")
    assert updates.curve.index.tolist() == pytest.approx([ratio * gflop for ratio in (1, 2, 4, 8)])
    known = published_algorithm("simbaV2_utd4").curve("dmc/dog-run")["mean"][100_000]
    assert updates.curve["mean"].iloc[2] == pytest.approx(known / 1000)


def test_computation_is_per_transition_and_counts_updates_of_the_policy(tmp_path):
    """Which are as many in eight environments, whose interaction is eight transitions."""
    steps = (0, 100_000)
    write_run(tmp_path, "alone", "dmc/dog-run", [1, 2], steps)
    write_run(tmp_path, "eight", "dmc/dog-run", [1, 2], steps, num_environments=8)
    write_run(tmp_path, "seldom", "dmc/dog-run", [1, 2], steps, agent__policy_delay=4)
    (panel,) = scaling(Methods(read([tmp_path]))).panels
    assert panel.x.startswith("GFLOP in residual blocks per transition, at 100k")
    found = {series.look.label: series.curve.index[0] for series in panel.series[-3:]}
    critic, actor = 2 * 8 * 512**2, 8 * 128**2
    assert (
        found["alone"] == found["eight"] == pytest.approx(2 * 512 * (6 * critic + 4 * actor) / 1e9)
    )
    # The critics' loss takes four products of a critic and one of the actor, each time.
    products = (4 * critic + actor) + (2 * critic + 3 * actor) / 4
    assert found["seldom"] == pytest.approx(2 * 512 * products / 1e9)


def test_computation_counts_the_critics_of_each_suite(tmp_path):
    """Published agents have two on some suites; ours, equal to them, is where they are."""
    steps = (0, 500_000, 1_000_000)
    for task, critics in (("dmc/dog-run", 1), ("humanoid_bench/h1-run", 2)):
        write_run(tmp_path, "mine", task, [1, 2], steps, agent__num_critics=critics)
    panels = {
        panel.title.split(" (")[0]: panel for panel in scaling(Methods(read([tmp_path]))).panels
    }
    blocks = {1: 6 * 2 * 8 * 512**2 + 4 * 8 * 128**2, 2: 6 * 4 * 8 * 512**2 + 4 * 8 * 128**2}
    gflop = {critics: 2 * 2 * 256 * weights / 1e9 for critics, weights in blocks.items()}
    expected = {"DMC, hard": gflop[1], "HumanoidBench": gflop[2], "all": sum(gflop.values()) / 2}
    for title, at in expected.items():
        *published, ours = panels[title].series
        updates = next(s for s in published if s.look.label == "SimbaV2, UTD 1, 2, 4, 8, published")
        assert ours.curve.index.tolist() == pytest.approx([at]), title
        assert updates.curve.index[1] == pytest.approx(at), title


def test_the_design_study_has_every_variant_and_ours(tmp_path):
    (panel,) = design_study(_compared(tmp_path)).panels
    labels = [series.look.label for series in panel.series]
    assert labels[:3] == ["less", "more", "SimbaV2 (UTD 2), published"]
    assert "no shift, published" in labels
    assert len(labels) == 3 + 13


def test_summaries_of_two_experiments(tmp_path):
    methods = _compared(tmp_path)
    (panel,) = figures.probability_of_improvement(methods).panels
    (row,) = panel.series
    assert row.look.label == "less > more"
    assert row.curve["mean"].item() == 0.25  # of four pairs only 200 is above 150
    means = {
        p.title: [s.curve["mean"].item() for s in p.series]
        for p in figures.aggregate_scores(methods).panels
    }
    assert means["mean"] == pytest.approx([0.15, 0.2])
    assert means["optimality gap"] == pytest.approx([0.85, 0.8])
    (panel,) = figures.performance_profiles(methods).panels
    less, more = (series.curve["mean"] for series in panel.series)
    assert [less[score] for score in (0.0, 0.14, 0.24)] == [1.0, 0.5, 0.0]
    assert more[0.24] == 0.5
    last = [
        s.curve["mean"][125_000] for s in figures.aggregate_curves(methods).panels[0].series[-2:]
    ]
    assert last == pytest.approx([0.15, 0.2])


def test_norms_begin_at_zero_unless_they_differ_tenfold(tmp_path):
    constant = {"critic/weighted_parameter_norm": 20.0}
    directory = write_run(tmp_path, "mine", "dmc/dog-run", [1, 2], metrics=constant)
    with (directory / "metrics.csv").open("a") as file:
        for step, value in ((0, 1e-5), (50_000, 1e-3)):
            file.write(f"mine,dog-run,0,critic/effective_learning_rate,{step},{value}\n")
    panels = figures.norms(Methods(read([tmp_path]))).panels
    scales = {panel.title: panel.scale for panel in panels}
    assert scales["return"] == "linear"
    assert scales["parameter norm"] == "zero"
    assert scales["effective learning rate"] == "log"

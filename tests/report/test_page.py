"""The page, the figures, and the commands that make them."""

import base64
import html
import json
import re
import signal
import sys
from pathlib import Path

import numpy as np
import plotly.graph_objects
import plotly.offline
import pytest
import scipy.stats

from purejax_simba.config import Config, OfflineConfig
from purejax_simba.report import __main__ as command_line
from purejax_simba.report import charts
from purejax_simba.report.figures import FIGURES, learning_curves
from purejax_simba.report.methods import Methods
from purejax_simba.report.page import watch, write_page
from purejax_simba.report.reading import read
from purejax_simba.report.scaling import point
from purejax_simba.report.style import Look
from purejax_simba.report.sweeps import importances, lineage_panels, scores_of
from purejax_simba.runs.result_files import draw_curve
from purejax_simba.stopping import StopRequest
from purejax_simba.sweep.axes import Axis
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.lineage import Lineage, read_lineage
from purejax_simba.sweep.results import read_results
from tests.helpers.report_runs import SESSION, write_run

FAILED = SESSION | {"status": "failed: x"}
NORMS = {"critic/weighted_parameter_norm": 20.0, "critic/effective_learning_rate": 1e-3}
NORMS |= {"critic_loss": 2.0}


def charts_of(page: str) -> dict:
    """The charts of a page; each is one that plotly knows."""
    (text,) = re.findall(r'<script type="application/json" id="charts">(.*?)</script>', page)
    specs = json.loads(text)
    for spec in specs.values():
        plotly.graph_objects.Figure(spec["data"], spec["layout"])
    return specs


def text_of(page: str) -> str:
    """What is to be read on a page."""
    body = page[page.index("<header>") : page.index('<script type="application/json"')]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


def test_the_page_of_eight_seeds_stands_alone(tmp_path):
    scores = np.linspace(100, 800, 8)
    write_run(tmp_path, "wide", "dmc/cheetah-run", scores, metrics=NORMS, diverged={3: 100_000})
    write_run(
        tmp_path, "<b>other", "dmc/dog-run", scores, session=SESSION | {"status": "failed: x"}
    )
    output = tmp_path / "pages" / "report.html"
    line = write_page([tmp_path], output)
    page = output.read_text()
    assert line.startswith(f"{output}: 2 runs, ")
    assert output.stat().st_size < 10e6
    own = page.replace(plotly.offline.get_plotlyjs(), "")
    assert not re.search(r"(src|href)=.(https?:)?//", own)
    assert "<b>other" not in page
    text = text_of(page)
    assert "seed 3 diverged at 100,000 env steps" in text
    assert "failed: x" in text
    assert "0:17:00" in text  # 1,020 seconds
    assert "400 200 2 x cpu" in text  # 100,000 env steps of 4 runs in 1,000 seconds
    assert "jax 0.10.2" in text
    assert "simbaV2_utd2" in text
    assert "../wide/dmc/cheetah-run/metrics.csv" in page
    specs = charts_of(page)
    names = [trace.get("name") for trace in specs["curves/dmc/cheetah-run"]["data"]]
    assert {"SimbaV2 (UTD 2), published", "wide"} <= set(names)
    metrics = {name for name in specs if name.startswith("metrics/dmc/cheetah-run/")}
    assert metrics == {f"metrics/dmc/cheetah-run/{name}" for name in (*NORMS, "avg_success")}
    seeds = {f"wide, seed {seed}" for seed in range(8)}
    assert seeds <= set(names)


def test_what_cannot_be_read_is_listed_and_the_rest_shown(tmp_path):
    runs = {
        name: write_run(tmp_path, name, "dmc/dog-run", [100, 200])
        for name in ("whole", "unconfigured", "garbled", "cut", "binary", "unevaluated", "other")
    }
    (runs["unconfigured"] / "config.json").unlink()
    (runs["garbled"] / "config.json").write_text('{"task": ')
    (runs["garbled"] / "diverged.json").write_text("[1]")
    (runs["garbled"] / "run.json").write_text("?")
    metrics = (runs["cut"] / "metrics.csv").read_text()
    (runs["cut"] / "metrics.csv").write_text(metrics[:-3])
    (runs["binary"] / "metrics.csv").write_bytes(b"\x00\xff\x80" * 99)
    (runs["unevaluated"] / "metrics.csv").unlink()
    (runs["other"] / "metrics.csv").write_text("a,b\n1,2\n")
    (tmp_path / "foreign.csv").write_text("x,y\n1,2\n")
    (tmp_path / "foreign.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "asweep").mkdir()
    (tmp_path / "asweep" / "sweep.json").write_text("{}")
    write_page([tmp_path], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    text = text_of(page[page.index("<h2>Left out") :].join(["<header>", ""]))
    for line in (
        "unconfigured/dmc/dog-run/config.json is missing",
        "garbled/dmc/dog-run/config.json cannot be read",
        "garbled/dmc/dog-run/diverged.json cannot be read",
        "garbled/dmc/dog-run/run.json cannot be read",
        "cut/dmc/dog-run/metrics.csv 1 of its lines are damaged",
        "binary/dmc/dog-run/metrics.csv is no result file",
        "unevaluated/dmc/dog-run has no metrics.csv",
        "other/dmc/dog-run/metrics.csv is no result file",
        "foreign.csv is no result file",
        "foreign.json is no result file",
    ):
        assert line in text
    assert "asweep cannot be read as a sweep" in text_of(page)
    names = {trace.get("name") for trace in charts_of(page)["curves/dmc/dog-run"]["data"]}
    assert {"SimbaV2 (whole)", "unconfigured", "garbled", "SimbaV2 (cut)"} <= names


def test_the_best_and_the_median_seed_are_to_be_seen(tmp_path):
    directory = write_run(tmp_path, "mine", "dmc/dog-run", [100, 200, 300])
    films = directory / "videos"
    films.mkdir()
    seeds = {str(seed): {"file": f"seed-{seed}.mp4", "return": seed + 0.5} for seed in range(3)}
    index = {"best": 2, "median": 1, "mosaic": "mosaic.mp4", "seeds": seeds}
    (films / "index.json").write_text(json.dumps(index))
    for name in ("seed-0.mp4", "seed-1.mp4", "seed-2.mp4"):
        (films / name).write_bytes(name.encode())
    (films / "mosaic.mp4").write_bytes(b"x" * 5_000_000)  # too large for the page
    write_page([tmp_path], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    sources = re.findall(r'<video src="([^"]*)"', page)
    encoded = [base64.b64encode(f"seed-{seed}.mp4".encode()).decode() for seed in (2, 1)]
    assert sources == [
        *(f"data:video/mp4;base64,{film}" for film in encoded),
        "mine/dmc/dog-run/videos/mosaic.mp4",
    ]
    assert "best: seed 2, return 2.5 in this episode" in text_of(page)
    assert "Left out" not in text_of(page)


def test_a_directory_without_results_is_a_page_too(tmp_path):
    write_page([tmp_path], tmp_path / "report.html")
    assert "No results" in text_of((tmp_path / "report.html").read_text())


RATES = Axis("agent.learning_rate", "log_uniform", (1e-4, 1e-2))
BLOCKS = Axis("agent.critic_num_blocks", "grid", (1, 2))


def write_sweep(output: Path) -> Path:
    """Six samples of a learning rate, each with two numbers of blocks, of which more is better."""
    config = Config(task="dmc/dog-run", output=str(output), experiment="found")
    sweep = Sweep(config, ("dmc/dog-run",), (RATES, BLOCKS), samples=6)
    for number, trial in enumerate(sweep.trials()):
        values = trial.values
        score = 100.0 * values["agent.critic_num_blocks"] + number
        write_run(
            output,
            f"found/{trial.name}",
            "dmc/dog-run",
            [score - 1, score + 1],
            **{name.replace(".", "__"): value for name, value in values.items()},
        )
    (sweep.directory / "sweep.json").write_text(json.dumps(sweep.description()))
    return sweep.directory


def test_a_sweep_tells_what_matters(tmp_path):
    directory = write_sweep(tmp_path)
    results = read_results(directory)
    rows = list({row.name: row for row in results.rows}.values())
    score, _ = scores_of(results, rows)
    shares = importances(results, rows, score)
    groups = [score[[row.values[BLOCKS.name] == count for row in rows]] for count in (1, 2)]
    # Epsilon squared by way of the F statistic, with 1 and 10 degrees of freedom.
    statistic = scipy.stats.f_oneway(*groups).statistic
    assert shares[BLOCKS.name] == pytest.approx((statistic - 1) / (statistic + 10))
    assert shares[BLOCKS.name] > 0.9
    assert shares[RATES.name] < 0.3
    write_page([tmp_path], tmp_path / "report.html")
    specs = charts_of((tmp_path / "report.html").read_text())
    assert specs["sweep-0/importance"]["data"][0]["y"] == [RATES.name, BLOCKS.name]
    assert specs[f"sweep-0/{RATES.name}"]["layout"]["xaxis"]["type"] == "log"
    (points,) = specs[f"sweep-0/{BLOCKS.name}"]["data"]
    assert sorted(zip(points["x"], points["y"], strict=True)) == [
        (row.values[BLOCKS.name], row.score.mean)
        for row in sorted(rows, key=lambda r: r.score.mean)
    ]


def write_lineage(directory: Path) -> None:
    """Two populations of two members; the first member of the first comes from the second."""
    lineage = Lineage.create((4, 5), ("000", "001"), (RATES.name,))
    own, moved = [[0, 0], [1, 1]], [[1, 0], [1, 1]]
    for step, parents in ((0, own), (100, moved), (200, own)):
        returns = [[step, 1.0], [10.0 + step, np.nan]]
        values = [[[1e-4 * (1 + step)], [1e-3]], [[1e-2], [1e-3]]]
        generation = {"returns": returns, "parents": parents, "values": values}
        lineage = lineage.with_generation(env_steps=step, **generation)
    lineage.returns[2, 0, 0] = 300.0
    lineage.write(directory / "lineage.csv")


@pytest.mark.slow
def test_a_page_shows_who_came_from_whom(tmp_path):
    directory = write_sweep(tmp_path)
    write_lineage(directory)
    (directory / "schedule.json").write_text("[]")
    write_page([tmp_path], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    specs = charts_of(page)
    thick, thin, *_ = specs["sweep-0/lineage"]["data"]
    # In the second interval the first member came from the second.
    assert (thin["x"][3:5], thin["y"][3:5]) == ([100, 200], [110.0, 300.0])
    assert (thick["x"], thick["y"]) == ([0, 100, 200], [10.0, 110.0, 300.0])
    assert thick["name"] == "best of seed 4"
    chart = specs[f"sweep-0/{RATES.name}"]
    assert chart["layout"]["yaxis"]["type"] == "log"
    thick, thin, *_ = chart["data"]
    assert (thick["x"], thick["y"]) == ([0, 100, 100, 200], [1e-2, 1e-2, 1.01e-2, 1.01e-2])
    assert thin["y"][:5] == [1e-4, 1e-4, 1.01e-2, 1.01e-2, None]
    assert "is no result file" not in page and f"{RATES.name} best of seed" not in page

    (directory / "lineage.csv").write_text("damaged")
    write_page([tmp_path], tmp_path / "report.html")
    assert "lineage.csv cannot be read" in text_of((tmp_path / "report.html").read_text())


def test_a_page_about_datasets_counts_updates_everywhere(tmp_path):
    """In charts, in tables and in lines, of runs and of populations."""
    write_run(
        tmp_path,
        "mine",
        "mujoco/Hopper-v4",
        [1, 2, float("nan")],
        metrics=NORMS,
        diverged={1: 100_000},
        session=SESSION | {"status": "stopped"},
        offline__dataset="x.hdf5",
        offline__transitions=25_600_000,
        replay__batch_size=256,
    )
    offline = OfflineConfig("x.hdf5")
    config = Config("mujoco/Hopper-v4", output=str(tmp_path), experiment="found", offline=offline)
    sweep = Sweep(config, (config.task,), (RATES,), samples=2)
    sweep.directory.mkdir()
    (sweep.directory / "sweep.json").write_text(json.dumps(sweep.description()))
    write_lineage(sweep.directory)
    write_page([tmp_path], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    text, specs = text_of(page), charts_of(page)
    over_steps = [name for name in specs if name.startswith(("metrics/", "curves/", "sweep-0/"))]
    assert {specs[name]["layout"]["xaxis"]["title"]["text"] for name in over_steps} == {"updates"}
    assert len(over_steps) > 5
    for line in (
        "seed 1 diverged at 100,000 updates",
        "seed 2 was not finite at 0 updates and 2 other evaluations",
        "stopped: 100,000 of 10,000,000 updates",
    ):
        assert line in text
    tables = re.sub(r"<[^>]*>", " ", " ".join(re.findall(r"<table.*?</table>", page, re.DOTALL)))
    assert "env step" not in tables


def test_a_watched_page_follows_the_runs(tmp_path, capsys, monkeypatch):
    directory = write_run(tmp_path, "mine", "dmc/dog-run", [100, 200])
    output = tmp_path / "mine" / "report.html"  # it is not a reason to write itself anew
    pages = []

    def wait(_: StopRequest, seconds: float) -> None:
        assert seconds == 7.0
        pages.append(output.read_text())
        if len(pages) == 2:
            with (directory / "metrics.csv").open("a") as file:
                file.write("mine,dog-run,0,avg_return,150000,77777\n")
        if len(pages) == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(StopRequest, "wait", wait)
    with pytest.raises(SystemExit) as ended:
        watch([tmp_path / "mine"], output, 7.0)
    assert ended.value.code == 130
    pages.append(output.read_text())
    assert [
        "77777.0" in page[page.index("<header>") : page.index("<script>")] for page in pages
    ] == [False, False, True, True]
    assert ['http-equiv="refresh" content="7"' in page for page in pages] == [True] * 3 + [False]
    said = capsys.readouterr()
    assert said.out.count("\n") == 3 and "SIGINT: stopping after a last page" in said.err


def test_every_kind_of_figure_is_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(charts, "FORMATS", (".svg",))
    write_run(tmp_path, "mine", "dmc/dog-run", [500, 600], metrics=NORMS)
    write_run(tmp_path, "more", "dmc/dog-run", [550, 650], metrics=NORMS, update_to_data_ratio=4.0)
    place = tmp_path / "figures"
    assert command_line.main(["figures", str(tmp_path), "--output", str(place)]) == 0
    assert {path.name for path in place.iterdir()} == {f"{name}.svg" for name in FIGURES}
    assert "nothing to draw" not in capsys.readouterr().out
    text = (place / "learning_curves.svg").read_text()
    for name in ("mine", "more", "SimbaV2 (UTD 2), published", "SimbaV2 (UTD 4), published"):
        assert f">{name}</text>" in text
    text = (place / "norms.svg").read_text()
    assert ">effective learning rate</text>" in text
    assert "critic" in text
    assert "actor" not in text


def test_a_figure_shows_who_came_from_whom(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(charts, "FORMATS", (".svg",))
    write_lineage(tmp_path)
    returns, rates = lineage_panels(read_lineage(tmp_path))
    best = returns.series[0]
    assert (best.curve.index.tolist(), best.curve["mean"].tolist()) == (
        [0, 100, 200],
        [10.0, 110.0, 300.0],
    )
    # From where the first member came in the second interval, and where it went.
    assert best.thin.dropna()["members"].tolist()[2:4] == [110.0, 300.0]
    assert rates.scale == "log"
    place = tmp_path / "figures"
    assert command_line.main(["figures", str(tmp_path), "--output", str(place)]) == 0
    text = (place / "lineages.svg").read_text()
    for word in ("return", RATES.name, "best of seed 4", "best of seed 5"):
        assert f">{word}</text>" in text
    said = capsys.readouterr()
    assert [line.partition(":")[0] for line in said.out.splitlines()] == ["lineages"]
    (tmp_path / "lineage.csv").write_text("damaged")
    assert command_line.main(["figures", str(tmp_path), "--output", str(place)]) == 2
    said = capsys.readouterr()
    assert "left out: " in said.err and "lineage.csv" in said.err


def test_figures_of_experiments_on_different_tasks_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(charts, "FORMATS", (".svg",))
    write_run(tmp_path, "mine", "dmc/dog-run", [500, 600])
    write_run(tmp_path, "more", "dmc/dog-walk", [550, 650])
    place = tmp_path / "figures"
    assert command_line.main(["figures", str(tmp_path), "--output", str(place)]) == 0
    for name in ("learning_curves", "wall_time"):
        text = (place / f"{name}.svg").read_text()
        assert all(f">{word}</text>" in text for word in ("dmc/dog-run", "dmc/dog-walk", "mine"))


def test_means_that_are_given_are_shown_beside(tmp_path):
    write_run(tmp_path, "mine", "dmc/dog-run", [500, 600])
    header = "algorithm,task,metric,env_step,mean,std,seeds\n"
    rows = "theirs,dmc/dog-run,avg_return,0,1,1,3\ntheirs,dmc/dog-run,avg_return,100000,9,1,3\n"
    (tmp_path / "means.csv").write_text(header + rows)
    write_page([tmp_path], tmp_path / "report.html")
    traces = charts_of((tmp_path / "report.html").read_text())["curves/dmc/dog-run"]["data"]
    values = {trace["name"]: trace["y"] for trace in traces if "name" in trace}
    assert values["theirs, published"] == [1.0, 9.0]
    # What lies between two published points is not known.
    modes = {trace["name"]: trace["mode"] for trace in traces if trace.get("showlegend", True)}
    assert modes == {
        "theirs, published": "markers",
        "SimbaV2 (UTD 2), published": "markers",
        "mine": "lines",
    }
    assert {"mine", "SimbaV2 (UTD 2), published"} <= values.keys()
    figure = charts.draw(learning_curves(Methods(read([tmp_path]))))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["SimbaV2 (UTD 2), published", "theirs, published", "mine"]


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("dmc/cheetah-run", set()),
        ("mujoco/Hopper-v4", {"it is unknown what the names of the published files count"}),
        ("myosuite/myo-reach", set()),
        ("myosuite/myo-pose", {"made with a version before 3"}),
    ],
)
def test_doubts_about_published_figures_are_told(tmp_path, task, said):
    write_run(tmp_path, "first", task, [300.0, 400.0])
    write_page([tmp_path], tmp_path / "report.html")
    text = text_of((tmp_path / "report.html").read_text())
    assert "accompany SimbaV2" in text
    doubts = {"it is unknown what the names of the published files count"}
    doubts |= {"made with a version before 3"}
    assert {doubt for doubt in doubts if doubt in text} == said


def test_what_users_name_is_neither_mathematics_nor_markup(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(charts, "FORMATS", (".svg",))
    names = [r"$\frac{$", "<i>b</i> $x$"]
    for name in names:
        write_run(tmp_path, name, "dmc/dog-run", [500, 600], metrics=NORMS)
    place = tmp_path / "figures"
    assert command_line.main(["figures", str(tmp_path), "--output", str(place)]) == 0
    for figure in ("learning_curves", "aggregate_scores", "norms"):
        text = (place / f"{figure}.svg").read_text()
        assert all(f">{html.escape(name)}</text>" in text for name in names)
    write_page([tmp_path], tmp_path / "report.html")
    specs = charts_of((tmp_path / "report.html").read_text())
    shown = [trace.get("name") for trace in specs["curves/dmc/dog-run"]["data"]]
    assert {html.escape(name) for name in names} <= set(shown)
    rows = specs["aggregate_scores/mean"]["data"]
    assert [row["y"] for row in rows] == [[html.escape(name)] for name in names]
    directory = tmp_path / names[0] / "dmc" / "dog-run"
    draw_curve(directory, Config(task=f"own/{names[0]}"))
    assert (directory / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_many_experiments_have_one_legend_and_rows_of_their_own(tmp_path):
    for number in range(14):
        write_run(tmp_path, f"run-{number}", "dmc/dog-run", [100 * number, 100 * number + 9])
    write_page([tmp_path], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    specs = charts_of(page)
    assert not specs["curves/dmc/dog-run"]["layout"]["showlegend"]
    assert "Click on a name" not in page[page.index("<header>") : page.index("<script")]
    (key,) = re.findall(r'<p class="legend">(.*?)</p>', page)
    assert re.findall(r"</svg> (run-\d+)</span>", key) == [
        f"run-{i}" for i in sorted(range(14), key=str)
    ]
    # The best with each of the others, and none without its label.
    pairs = specs["probability_of_improvement/"]
    assert [row["y"][0] for row in pairs["data"]][:2] == ["run-13 &gt; run-0", "run-13 &gt; run-1"]
    assert len(pairs["data"]) == 13
    assert pairs["layout"]["height"] > 13 * 20
    assert f'style="height: {pairs["layout"]["height"]}px"' in page


def test_a_figure_is_vector_and_picture(tmp_path):
    panel = charts.Panel("t", [charts.Series(Look("mine", "#000000"), point(1.0, 2.0, 1.5, 2.5))])
    names = [path.name for path in charts.save(charts.Figure([panel]), tmp_path, "x")]
    assert names == ["x.pdf", "x.svg", "x.png"]
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_package_is_named_with_its_command(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert command_line.main(["results"]) == 2
    expected = "error: pandas is not installed: pip install 'purejax_simba[report]'\n"
    assert capsys.readouterr().err == expected

"""A return that is no number: written down, said on the screen, and in no mean unnoticed."""

import math
from pathlib import Path

import numpy as np
import pytest

from envs.rendering import Episode
from purejax_simba import aggregates, videos
from purejax_simba.config import Config
from purejax_simba.report import reading
from purejax_simba.runs import result_files
from purejax_simba.runs.result_files import MetricsFile, create_run_directory, read_returns
from purejax_simba.runs.runs import Runs
from purejax_simba.sweep.results import score_of
from tests.helpers import tiny

NAN = float("nan")
TASK = "gymnax/Pendulum-v1"


def _written(output: Path, *returns: dict[int, float], experiment: str = "mine") -> Path:
    """A run directory with these returns at steps 0, 100 ..., seed -> return."""
    config = Config(TASK, experiment=experiment, output=str(output), num_seeds=4)
    directory = create_run_directory(config)
    file = MetricsFile(directory, config)
    for index, of_seeds in enumerate(returns):
        rows = {s: {"avg_return": value, "avg_length": 200.0} for s, value in of_seeds.items()}
        file.write(100 * index, rows)
    return directory


@pytest.mark.slow
def test_a_run_writes_it_in_its_place_and_says_so(monkeypatch, tmp_path, capsys):
    evaluate = Runs.evaluate

    def with_trouble(self):
        evaluation = evaluate(self)
        evaluation.avg_return[1] = NAN
        return evaluation

    monkeypatch.setattr(Runs, "evaluate", with_trouble)
    rows = tiny.train(TASK, tmp_path)
    found = {(row["seed"], row["metric"], row["env_step"]): row["value"] for row in rows}
    for env_step in ("0", "200", "400"):
        assert found["1", "avg_return", env_step] == "nan"
        assert float(found["1", "avg_length", env_step]) == 40.0
        assert math.isfinite(float(found["0", "avg_return", env_step]))
    lines = [line.strip() for line in capsys.readouterr().err.splitlines()]
    line = "seed 1 at 200 env steps: the return over 2 episodes is nan: a reward was not finite"
    assert line in lines
    assert sum(line.endswith(" (1 of 2 runs)") for line in lines) == 3
    (directory,) = [file.parent for file in tmp_path.rglob("metrics.csv")]
    assert (directory / "curve.png").exists()
    assert [math.isnan(value) for _, value in read_returns(directory)[1]] == [True] * 3


def test_a_score_with_it_is_unknown_and_ranks_last(tmp_path):
    whole = {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0}
    good = score_of(_written(tmp_path, whole, whole))
    bad = score_of(_written(tmp_path, whole, whole | {2: NAN}, experiment="bad"))
    worse = score_of(_written(tmp_path, whole | {3: -1e9}, experiment="early"))
    assert good.mean == 2.5 and math.isnan(bad.mean) and math.isnan(bad.interval()[0])
    assert sorted([worse, bad, good], key=lambda score: score.order()) == [good, bad, worse]
    assert len(bad.returns) == 4


@pytest.mark.parametrize("place", range(4))
def test_no_quarter_of_a_mean_swallows_it(place):
    values = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    values[0, place] = NAN
    mean = aggregates.interquartile_mean([values])
    assert math.isnan(mean[0]) and mean[1] == 6.5


def test_the_curve_says_of_how_many_seeds_its_mean_is(monkeypatch, tmp_path):
    drawn = []

    class Axes:
        def plot(self, *points, label="", **_):
            if label:
                drawn.append((label, list(points[1])))

        def __getattr__(self, _):
            return lambda *_, **__: None

    class Pyplot:
        def subplots(self, **_):
            return Axes(), Axes()

    monkeypatch.setattr(result_files.drawing, "pyplot", Pyplot)
    monkeypatch.setattr(result_files.drawing, "save", lambda *_: None)
    whole = {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0}
    less = {0: 1.0, 1: 2.0, 2: 3.0}
    for name, last in (("whole", whole), ("diverged", less), ("unknown", whole | {1: NAN})):
        directory = _written(tmp_path, whole, last, experiment=name)
        result_files.draw_curve(directory, result_files.read_config(directory))
    (whole_label, _), (diverged_label, _), (unknown_label, means) = drawn
    assert (whole_label, unknown_label) == ("mean of 4 seeds", "mean of 4 seeds")
    assert diverged_label == "mean of 3 to 4 seeds"
    assert means[0] == 2.5 and math.isnan(means[1])


def test_the_report_does_not_take_it_for_a_damaged_line(tmp_path):
    whole = {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0}
    _written(tmp_path, whole, whole | {1: NAN, 3: math.inf})
    found = reading.read([tmp_path])
    (run,) = found.runs
    assert run.table("avg_return").loc[100].dropna().to_dict() == {0: 1.0, 2: 3.0}
    assert not found.left_out


def test_a_video_with_it_is_not_the_best(tmp_path):
    directory = _written(tmp_path, {0: 9.0, 1: 9.0, 2: 9.0}, {0: 1.0, 1: NAN, 2: -5.0})
    empty = np.zeros((0, 1))
    episode = Episode((), empty, empty, np.zeros(3), np.int32(3))
    files = [Path(f"{name}.png") for name in (*range(3), "mosaic")]
    index = videos._index(directory, dict.fromkeys(range(3), episode), files)
    assert (index["best"], index["median"]) == (0, 2)

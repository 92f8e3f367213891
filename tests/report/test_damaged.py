"""What is damaged is left out of reports and said; everything else is there."""

import json
import os
from pathlib import Path

import pytest

from purejax_simba.report import __main__ as report
from purejax_simba.report import figures
from purejax_simba.report.page import write_page
from purejax_simba.report.reading import Collection, read
from tests.helpers import damage
from tests.helpers.report_runs import write_run

TASK = "dmc/dog-run"
NAMES = ("config.json", "run.json", "diverged.json", "videos/index.json", "metrics.csv")
# Values that have other types than they should, and what is said.
VALUES = {
    "config.json": {
        '{"total_env_steps": "two"}': "total_env_steps is 'two'",
        '{"offline": {"epochs": [1], "dataset": 4}}': "offline.epochs is [1]",
        '{"replay": {"batch_size": {"a": 1}}, "offline": {"dataset": "x"}}': "",
        '{"update_to_data_ratio": "x", "action_repeat": null, "agent": {"name": 7}}': "is 'x'",
        '{"agent": {"critic_hidden_dim": "wide", "num_critics": NaN}}': "is 'wide'",
        '{"task": ["a"], "experiment": {}}': "task is ['a']",
    },
    "run.json": {
        '[{"seconds": "two"}]': "[0].seconds is 'two'",
        '[{"versions": {"jax": 3}}]': "[0].versions.jax is 3",
        '[{"env_step": null}]': "[0].env_step is None",
        '[{"seconds": Infinity, "startup_seconds": NaN}]': "",
        '[{"command": ["rm"]}]': "[0].command is ['rm']",
    },
    "diverged.json": {'{"0": "two"}': "0 is 'two'", '{"zero": 1}': "'zero'"},
    "videos/index.json": {
        '{"best": 1, "median": 0, "mosaic": "m", "seeds": {"1": {"file": 3}}}': "has no return",
        '{"best": 7, "median": 0, "mosaic": "../../x.gif", "seeds": {}}': "",
    },
}


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> tuple[Path, Collection]:
    """A directory for every kind of damage to every file, and one that is whole; as read."""
    root = tmp_path_factory.mktemp("runs")
    _write(root, "whole", "config.json")
    for name in NAMES:
        for kind, hurt in (damage.ANY if name == "metrics.csv" else damage.JSON).items():
            hurt(_write(root, f"{name}, {kind}", name))
        for number, values in enumerate(VALUES.get(name, ())):
            _write(root, f"{name}, values {number}", name).write_text(values)
    return root, read([root])


def _write(root: Path, experiment: str, name: str) -> Path:
    """A run with all of the files; returns the path of one of them."""
    directory = write_run(root, experiment.replace("/", " "), TASK, [100, 200], diverged={0: 100})
    films = {"0": {"file": "seed-0.gif", "return": 2.0}}
    index = {"best": 0, "median": 0, "mosaic": "seed-0.gif", "seeds": films}
    (directory / "videos").mkdir()
    (directory / "videos" / "index.json").write_text(json.dumps(index))
    (directory / "videos" / "seed-0.gif").write_bytes(b"GIF")
    return directory / name


def _said(collection: Collection, path: Path) -> list[str]:
    return [reason for place, reason in collection.left_out if place == path]


@pytest.mark.parametrize("kind", damage.JSON)
@pytest.mark.parametrize("name", NAMES)
def test_every_damage_is_said_and_the_rest_is_there(collection, name, kind):
    root, found = collection
    if name == "metrics.csv" and kind not in damage.ANY:
        return  # whose last line may be cut
    if (name, kind) == ("config.json", "values"):
        return  # another version may have had them
    directory = root / f"{name}, {kind}".replace("/", " ") / TASK
    (reason, *_) = _said(found, directory / name)
    assert "\n" not in reason and len(reason) < 400
    runs = [run for run in found.runs if run.directory == directory]
    assert len(runs) == (name != "metrics.csv")
    for run in runs:
        assert bool(run.config) == (name != "config.json")
        assert bool(run.sessions) == (name != "run.json")
        assert bool(run.diverged) == (name != "diverged.json")
        assert run.table("avg_return").shape == (3, 2)


@pytest.mark.parametrize(
    ("name", "number", "line"),
    [
        (name, number, line)
        for name, values in VALUES.items()
        for number, line in enumerate(values.values())
    ],
)
def test_every_wrong_value_is_said(collection, name, number, line):
    root, found = collection
    path = root / f"{name}, values {number}".replace("/", " ") / TASK / name
    assert any(line in reason for reason in _said(found, path)) or not line
    assert [run for run in found.runs if run.directory.is_relative_to(path.parents[0])] or (
        name.startswith("videos")
    )


def test_a_page_figures_and_an_index_are_made_of_what_is_whole(tmp_path, monkeypatch, capsys):
    root = tmp_path / "runs"
    for number in range(max(map(len, VALUES.values()))):
        directory = _write(root, f"values {number}", ".")
        for name, values in VALUES.items():
            (directory / name).write_text([*values, "{}"][min(number, len(values))])
    hurt = _write(root, "hurt", ".")
    for name, kind in (
        ("config.json", "nested"),
        ("run.json", "a pipe"),
        ("diverged.json", "a list of NaN"),
        ("videos/index.json", "half a letter"),
    ):
        damage.JSON[kind](hurt / name)
    damage.ANY["a loop of links"](_write(root, "without results", "metrics.csv"))
    whole = _write(root, "whole", "config.json").parent
    (whole / "videos" / "gone.mp4").symlink_to("nowhere")
    (root / "sweep").mkdir()
    damage.JSON["nested"](root / "sweep" / "sweep.json")
    line = write_page([root], tmp_path / "page.html")
    assert "things left out" in line and "without results" in (tmp_path / "page.html").read_text()
    assert report.main(["index", str(root)]) == 0
    assert "whole" in (root / "README.md").read_text()
    monkeypatch.setattr(figures, "FIGURES", {"learning_curves": figures.learning_curves})
    assert report.main(["figures", str(whole), "--output", str(tmp_path / "figures")]) == 0
    assert len(os.listdir(tmp_path / "figures")) >= 3
    assert "Traceback" not in capsys.readouterr().err


ROWS = {
    "a letter": ("1,x,100,1.0", "1 of its lines are damaged"),
    "no whole number": ("1.5,avg_return,100,1.0", "1 of its lines are damaged"),
    "too large": ("1,avg_return,1e300,1.0", "1 of its lines are damaged"),
    "infinite": ("inf,avg_return,100,1.0", "1 of its lines are damaged"),
    "a quote": ('"1,avg_return,100,1.0', "cannot be read"),
}


@pytest.mark.parametrize("kind", [kind for kind in ROWS if kind != "a letter"])
def test_a_damaged_row_of_results_is_said(tmp_path, kind):
    path = _write(tmp_path, "mine", "metrics.csv")
    row, reason = ROWS[kind]
    with path.open("a") as file:
        file.write(f"mine,dog-run,{row}\n")
    assert any(reason in said for said in _said(read([tmp_path]), path))

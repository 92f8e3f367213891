"""Commands write where they are asked to, and nowhere else."""

import importlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from envs import __main__ as render
from purejax_simba.commands import sweep, train
from purejax_simba.datasets import __main__ as record
from purejax_simba.report import __main__ as report
from purejax_simba.runs.result_files import create_run_directory
from tests.helpers import damage, in_process, stopping
from tests.helpers.report_runs import write_run

TASK = stopping.CONFIG.task
# Names that lead out of a directory, or nowhere.
PLACES = ("../x", "../../x", "a/../../x", "..", ".", "a//b", "a/", "{tmp}/x", "a\nb", "\udcff")


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """See `in_process.refused`."""
    return in_process.refused(monkeypatch, capsys)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A directory below another, in which commands begin."""
    place = tmp_path / "outer" / "here"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    return place


def _files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("main", [train.main, sweep.main])
def test_an_experiment_is_below_the_output(run, here, tmp_path, main, place):
    before = _files(tmp_path)
    name = place.format(tmp=tmp_path)
    axes = ("--grid", "agent.tau=0.1,0.2") if main is sweep.main else ()
    words = ("--task", TASK, "--experiment", name, "--output", "results", *axes)
    status, out, error = run(main, *words)
    line = error.splitlines()[-1]
    assert (status, out) == (2, "") and line.startswith("error: --experiment is '")
    assert _files(tmp_path) == before


@pytest.mark.parametrize("flag", ["--resume", "--config"])
@pytest.mark.parametrize("name", ["experiment", "task"])
@pytest.mark.parametrize("place", [place for place in PLACES if "\udcff" not in place])
def test_a_file_of_another_says_not_where_results_go(run, here, tmp_path, flag, name, place):
    directory = create_run_directory(stopping.config(tmp_path / "foreign"))
    path = directory / "config.json"
    values = json.loads(path.read_text()) | {name: place.format(tmp=tmp_path)}
    path.write_text(json.dumps(values))
    before = _files(tmp_path)
    source = directory if flag == "--resume" else path
    status, out, error = run(train.main, flag, str(source), "--output", str(here))
    assert (status, out) == (2, "")
    assert error.splitlines()[-1].startswith(f"error: {path} cannot be read (--{name} is")
    assert _files(tmp_path) == before


@pytest.mark.parametrize("name", ["experiment", "task"])
def test_a_sweep_in_a_file_stays_below_the_output(run, here, tmp_path, name):
    value = "../../x"
    text = f"task: {value}\n" if name == "task" else f"config: {{experiment: {value}}}\n"
    (here / "sweep.yaml").write_text(text + "grid: {agent.tau: [0.1, 0.2]}\n")
    before = _files(tmp_path)
    status, _, error = run(sweep.main, "--file", "sweep.yaml", "--output", "results")
    assert status == 2 and error.splitlines()[-1].startswith("error: ")
    assert _files(tmp_path) == before


DEVICES = {kind: damage.ANY[kind] for kind in ("a directory", "a pipe", "a device")}


def _report(output: str) -> int:
    return report.main(["runs", "--output", output])


def _index(_: str) -> int:
    return report.main(["index", "runs"])


def _table(output: str) -> int:
    table = importlib.import_module("benchmarks.table")
    with importlib.import_module("purejax_simba.commands").one_line_errors("") as outcome:
        table.Table(Path(output), "title", "made", [], {})
    return outcome.status


FILES: dict[str, tuple[str, Callable[[str], int]]] = {
    "report": ("page.html", _report),
    "index": ("runs/README.md", _index),
    "table": ("table.md", _table),
}


@pytest.mark.parametrize("kind", DEVICES)
@pytest.mark.parametrize("command", FILES)
def test_what_is_no_file_is_not_replaced(here, capsys, command, kind):
    write_run(here, "runs", TASK, [1.0, 2.0])
    output, run = FILES[command]
    DEVICES[kind](here / output)
    before = (here / output).lstat().st_ino
    assert run(output) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ") and f"{output} is there and no file" in line
    assert (here / output).lstat().st_ino == before
    assert "unfinished" not in " ".join(_files(here))


@pytest.mark.parametrize("suffix", [".gif", ".png"])
@pytest.mark.parametrize("kind", DEVICES)
def test_a_picture_takes_no_place_of_a_device(run, here, kind, suffix):
    DEVICES[kind](here / f"x{suffix}")
    status, _, error = run(render.main, "render", "dmc/cheetah-run", "--output", f"x{suffix}")
    assert status == 2 and f"error: x{suffix} is there and no file" in error


@pytest.mark.parametrize("output", ["file", "file/below", "/dev/full", "/dev/null/below"])
def test_figures_and_tables_need_a_directory(here, capsys, output):
    write_run(here, "runs", TASK, [1.0, 2.0])
    (here / "file").write_text("precious")
    assert report.main(["figures", "runs", "--output", output]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: cannot write to {output}")
    assert (here / "file").read_text() == "precious"
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("output", ["file.hdf5", "link.hdf5", "file.hdf5/x.h5", "pipe.h5"])
def test_a_dataset_is_refused_before_anything_is_played(run, here, monkeypatch, output):
    monkeypatch.setattr(record, "record_run", lambda *_: pytest.fail("played"))
    (here / "file.hdf5").write_text("precious")
    (here / "link.hdf5").symlink_to("nowhere")
    os.mkfifo(here / "pipe.h5")
    status, _, error = run(record.main, "runs", "--output", output)
    (line,) = error.splitlines()
    assert status == 2 and line.startswith("error: ") and "give another --output" in line
    assert (here / "file.hdf5").read_text() == "precious"


def test_results_go_to_the_output_that_is_asked_for(run, here, tmp_path):
    """Where a file of another says nothing wrong, but names another output."""
    directory = create_run_directory(stopping.config(tmp_path / "foreign"))
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"output": str(tmp_path / "evil")}))
    with pytest.raises(AssertionError, match="compiled"):
        run(train.main, "--config", str(path), "--output", "mine")
    assert not (tmp_path / "evil").exists()
    assert (here / "mine" / "simba_v2" / TASK / "config.json").exists()
    shutil.rmtree(directory)

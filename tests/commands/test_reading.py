"""Files that commands are given, damaged in every way: one line, before anything is compiled."""

import itertools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from purejax_simba.commands import sweep, train
from purejax_simba.config import ConfigError
from purejax_simba.sweep.options import read_file
from tests.helpers import damage, in_process, stopping

h5py = pytest.importorskip("h5py")


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """See `in_process.refused`."""
    return in_process.refused(monkeypatch, capsys)


FILES: dict[str, tuple[Callable[[], int], tuple[str, ...]]] = {
    "config.json": (train.main, ("--config",)),
    "sweep.yaml": (sweep.main, ("--file",)),
    "sweep.py": (sweep.main, ("--file",)),
    "data.hdf5": (train.main, ("--task", stopping.CONFIG.task, "--offline")),
}
CASES = [
    (name, kind)
    for name in FILES
    for kind in ("absent", *(damage.JSON if name.endswith("json") else damage.ANY))
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_damaged_file_is_one_line(run, tmp_path, name, kind):
    path = tmp_path / name
    if kind != "absent":
        path.write_text('{"num_seeds": 2}')
        damage.JSON[kind](path)
    main, words = FILES[name]
    status, out, error = run(main, *words, str(path), "--output", str(tmp_path / "results"))
    line = error.splitlines()[-1]
    assert (status, out) == (2, "")
    assert line.startswith("error: ") and str(path) in line and len(line) < 2500
    assert "Traceback" not in error and not (tmp_path / "results").exists()


SHAPES = {"observations": (9, 3), "actions": (9, 1)}
# What is said of an attribute -> its value; and of an array that is none.
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "task is 3: a word is needed": {"task": 3},
    "task is array([1, 2])": {"task": [1, 2]},
    "action_repeat is 'two'": {"action_repeat": "two"},
    "episode_length is 1.5": {"episode_length": 1.5},
    "random_return is array([1., 2.])": {"random_return": [1.0, 2.0]},
    "expert_return is '1'": {"expert_return": "1"},
    "task is Empty(": {"task": h5py.Empty("S3")},
    "observations": {},
}


@pytest.mark.parametrize("line", ATTRIBUTES)
def test_what_a_dataset_says_of_itself_has_types(run, tmp_path, line):
    path = tmp_path / "data.hdf5"
    with h5py.File(path, "w") as file:
        for name in ("observations", "actions", "rewards", "terminals", "timeouts"):
            is_none = name == line
            file[name] = h5py.Empty("f4") if is_none else np.zeros(SHAPES.get(name, 9), "f4")
        file.attrs.update(ATTRIBUTES[line])
    status, out, error = run(train.main, "--offline", str(path), "--output", str(tmp_path / "x"))
    assert (status, out) == (2, "")
    last = error.splitlines()[-1]
    assert last.startswith(f"error: {path} cannot be read (") and (line in last or line in SHAPES)


YAML = {
    "aliases": "\n".join(
        ["a: &a [x, x, x, x, x, x, x, x, x]"]
        + [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in itertools.pairwise("abcdefghi")]
        + ["grid: {agent.tau: *i}"]
    ),
    "a list in itself": "grid: {agent.tau: &a [*a]}",
    "nested": "grid: " + "[" * 2000,
    "nested and closed": "grid: " + "[" * 400 + "]" * 400,
    "a tag": "grid: !!python/object/apply:os.system [true]",
    "NUL": 'config: {experiment: "a\\0"}',
    "dates": "samples: 2020-01-01",
    "null": "task: [null]\ngrid: null",
    "binary": "config: {experiment: !!binary aGk=}",
    "a set": "config: {num_seeds: !!set {1, 2}}",
}


@pytest.mark.parametrize("kind", YAML)
def test_yaml_that_nobody_means_is_one_line(tmp_path, kind):
    path = tmp_path / "sweep.yaml"
    path.write_text(YAML[kind])
    with pytest.raises(ConfigError) as refused:
        read_file(path)
    line = str(refused.value)
    assert str(path) in line and "\n" not in line and len(line) < 2500


def test_a_file_that_is_read_by_nobody_stays(tmp_path):
    """A pipe is not opened, which would take what is in it from its reader."""
    pipe = tmp_path / "sweep.yaml"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="no regular file"):
        read_file(pipe)

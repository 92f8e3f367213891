"""What is damaged of a sweep is left out of its tables and said, or refused before it goes on."""

import json
from pathlib import Path

import pytest

from purejax_simba.config import ConfigError
from purejax_simba.sweep.axes import Axis
from purejax_simba.sweep.definition import DEFINITION_FILE, Sweep
from purejax_simba.sweep.grouping import Group, make_groups, parts_of
from purejax_simba.sweep.results import read_results
from purejax_simba.sweep.running import begin_sweep
from tests.helpers import damage, stopping
from tests.helpers.report_runs import write_run

TASK = stopping.CONFIG.task
RATES = Axis("agent.learning_rate", "grid", (1e-3, 1e-2))


def _sweep(output: Path) -> Sweep:
    return Sweep(stopping.config(output, experiment="swept"), (TASK,), (RATES,))


def _write_sweep(output: Path) -> Path:
    sweep = _sweep(output)
    for trial in sweep.trials():
        values = {"agent__learning_rate": trial.values["agent.learning_rate"]}
        write_run(output, trial.config.experiment, trial.config.task, [1.0, 2.0], **values)
    (sweep.directory / DEFINITION_FILE).write_text(json.dumps(sweep.description()))
    return sweep.directory


@pytest.mark.parametrize("kind", damage.JSON)
@pytest.mark.parametrize("name", ["config.json", "diverged.json", "metrics.csv"])
def test_a_damaged_run_of_a_sweep_is_left_out_of_its_tables(tmp_path, name, kind):
    if name == "metrics.csv" and kind not in damage.ANY:
        return
    directory = _write_sweep(tmp_path)
    path = directory / "000" / TASK / name
    path.touch()
    damage.JSON[kind](path)
    results = read_results(directory)
    assert [row.name for row in results.rows] == ["001"]
    (line,) = results.left_out
    assert str(path) in line and "\n" not in line


@pytest.mark.parametrize("kind", [*damage.JSON, "axes", "experiment", "task", "kind"])
def test_a_damaged_sweep_is_one_line(tmp_path, kind):
    directory = _write_sweep(tmp_path)
    path = directory / DEFINITION_FILE
    known = json.loads(path.read_text())
    others = {
        "axes": {"axes": [3]},
        "kind": {"axes": ["--cake agent.tau=1,2"]},
        "task": {"task": ["../../x"]},
        "experiment": {"config": {**known["config"], "experiment": "../../x"}},
    }
    if kind in others:
        path.write_text(json.dumps(known | others[kind]))
    else:
        damage.JSON[kind](path)
    with pytest.raises(ConfigError) as refused:
        read_results(directory)
    assert str(refused.value).startswith(f"{path} cannot be read (")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", damage.JSON)
def test_a_sweep_goes_on_only_as_it_was(tmp_path, kind):
    path = _write_sweep(tmp_path) / DEFINITION_FILE
    assert begin_sweep(_sweep(tmp_path), []) is None
    damage.JSON[kind](path)
    with pytest.raises(ConfigError) as refused:
        begin_sweep(_sweep(tmp_path), [])
    assert str(refused.value).startswith(f"{path} cannot be read (")


@pytest.mark.parametrize("kind", [*damage.JSON, "other trials", "too many seeds"])
def test_a_damaged_division_of_a_group_is_refused(group, kind):
    path = group.directory / "parts.json"
    path.unlink(missing_ok=True)
    assert len(parts_of(group)) == 1
    others = {"other trials": "[[[0, 0, 3], [2, 0, 3]]]", "too many seeds": "[[[0, 0, 9]]]"}
    if kind in others:
        path.write_text(others[kind])
    else:
        damage.JSON[kind](path)
    with pytest.raises(ConfigError) as refused:
        parts_of(group)
    damage.remove(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def group(tmp_path_factory) -> Group:
    """Two configurations of three seeds each."""
    (group,) = make_groups(_sweep(tmp_path_factory.mktemp("sweep")))
    return group

"""Run directories that are damaged or come from others: one line, before anything is compiled."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from purejax_simba.commands import train
from purejax_simba.config import ConfigError
from purejax_simba.defaults import resolve
from purejax_simba.loggers import Loggers
from purejax_simba.runs import run_lock
from purejax_simba.runs.checkpoint import (
    STATE_DIRECTORY,
    CheckpointWriter,
    Notes,
    named_leaves,
    read_newest,
)
from purejax_simba.runs.devices import Placement
from purejax_simba.runs.policies import (
    POLICY_DIRECTORY,
    Policy,
    evaluate,
    load_policy,
    read_policies,
    save_policies,
)
from purejax_simba.runs.result_files import (
    METRIC_COLUMNS,
    MetricsFile,
    create_run_directory,
    read_config,
    read_diverged,
    read_returns,
)
from purejax_simba.runs.runs import snapshot_shapes
from purejax_simba.runs.session_record import read_sessions
from purejax_simba.training import make_program
from tests.helpers import damage, in_process, stopping
from tests.helpers.report_runs import SESSION

STEPS = stopping.STEPS


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished run whose arrays are zeros, with a checkpoint at its end."""
    config = resolve(stopping.config(tmp_path_factory.mktemp("runs"), num_seeds=2))
    directory = create_run_directory(config)
    metrics = MetricsFile(directory, config)
    for step in (0, STEPS):
        metrics.write(step, {seed: {"avg_return": 1.5} for seed in config.seeds})
    for name in ("loggers.json", "wandb.json", "diverged.json"):
        (directory / name).write_text("{}")
    (directory / "run.json").write_text(json.dumps([SESSION]))
    program = make_program(config)
    shapes = snapshot_shapes(program, Placement.choose(program).count)
    zeros = jax.tree.map(lambda shape: np.zeros(shape.shape, shape.dtype), shapes)
    notes: Notes = {
        "interactions": STEPS,
        "replay": True,
        "metrics_bytes": [metrics.size()],
        "num_seeds": [2],
    }
    with CheckpointWriter(directory / STATE_DIRECTORY, keep=1) as writer:
        writer.save(STEPS, named_leaves(zeros), notes)
    state = zeros.state
    numbers = jax.vmap(lambda _: program.hyperparameters())(np.zeros(2))
    save_policies(directory, Policy(state.agent.actor, state.observation_moments, numbers))
    return directory


@pytest.fixture
def directory(finished, tmp_path) -> Path:
    """A copy of that run, to be damaged."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command line in this process: arguments -> exit status, stdout, stderr."""
    in_process.refuse_compilation(monkeypatch)
    return in_process.runner("train.py", train.main, monkeypatch, capsys)


def _open_loggers(directory: Path) -> None:
    Loggers(directory, stopping.CONFIG)


def _name_wandb_run(directory: Path) -> None:
    from purejax_simba.loggers.wandb import WandbLogger

    WandbLogger(directory, {})._id("seed-0")


READERS: dict[str, Callable[[Path], Any]] = {
    "config.json": read_config,
    "diverged.json": read_diverged,
    "run.json": read_sessions,
    "loggers.json": _open_loggers,
    "wandb.json": _name_wandb_run,
}


def _is_one_line(refused: pytest.ExceptionInfo, *parts: str) -> None:
    line = str(refused.value)
    assert "\n" not in line and len(line) < 600
    for part in parts:
        assert part in line


@pytest.mark.parametrize("kind", damage.JSON)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_refused_and_named(directory, monkeypatch, name, kind):
    if name == "wandb.json":
        pytest.importorskip("wandb")
        monkeypatch.setenv("WANDB_MODE", "offline")
    READERS[name](directory)
    if (kind, (directory / name).stat().st_size) != ("cut", 2):  # half of {} is one letter
        damage.JSON[kind](directory / name)
    else:
        (directory / name).write_text("{")
    with pytest.raises(ConfigError) as refused:
        READERS[name](directory)
    _is_one_line(refused, f"{directory / name} cannot be read (", "or remove it")


VALUES: list[tuple[str, Any, str]] = [
    ("num_seeds", "two", "num_seeds is 'two': give a whole number"),
    ("num_seeds", None, "num_seeds is None: give a whole number"),
    ("num_seeds", [4], "num_seeds is [4]: give a whole number"),
    ("num_seeds", 1.5, "num_seeds is 1.5: give a whole number"),
    ("num_seeds", 0, "--num-seeds is 0"),
    ("discount", "high", "discount is 'high': give a number"),
    ("discount", float("nan"), "--discount is nan"),
    ("host_time_limit", float("nan"), "--host-time-limit is nan: give a finite number"),
    ("bound_returns", 3, "bound_returns is 3: give true or false"),
    ("task", None, "task is None: give a word"),
    ("task", ["dmc/dog-run"], "task is ['dmc/dog-run']: give a word"),
    ("recipe", ["paper"], "recipe is ['paper']: choose from"),
    ("recipe", "cake", "recipe is 'cake': choose from"),
    ("loggers", None, "loggers is None: give a word"),
    ("loggers", [["tensorboard"]], "loggers is ['tensorboard']: give a word"),
    ("agent", 3, "unknown name 'agent'"),
    ("agent", {"name": None}, "agent.name is None"),
    ("agent", {"learning_rate": "fast"}, "agent.learning_rate is 'fast': give a number"),
    ("agent", {"reset_updates": [1, "x"]}, "agent.reset_updates is 'x'"),
    ("start", {"parts": ["nose"]}, "start.parts is 'nose': choose from"),
    ("replay", {"capacity": {"a": 1}}, "replay.capacity.a"),
    ("seed", {"x": 1}, "unknown name 'seed.x'"),
    ("experiment", "a\nb", "give letters that can be printed"),
]
# What would lead out of the directory that results go to.
PLACES = ("../x", "a/../../x", "..", ".", "a//b", "a/", "/", "/tmp/x", "a/./b")
VALUES += [("experiment", place, "--experiment is") for place in PLACES]
VALUES += [("task", place, "--task is") for place in PLACES]


@pytest.mark.parametrize(("name", "value", "line"), VALUES)
def test_a_wrong_value_in_a_configuration_is_named(directory, name, value, line):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(ConfigError) as refused:
        read_config(directory)
    _is_one_line(refused, f"{path} cannot be read (", line)


def _change_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _replace_by_link(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere.name)


DAMAGE = {
    **damage.ANY,
    "cut": damage.JSON["cut"],
    "a byte": _change_a_byte,
    "removed": damage.remove,
    "a link": _replace_by_link,
    "one more": lambda path: path.with_name("more").write_bytes(b"more"),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("which", ["array", "checksums.json"])
def test_a_policy_that_is_not_as_it_was_written_is_not_played(directory, kind, which):
    place = directory / POLICY_DIRECTORY
    arrays = sorted((place / "arrays").rglob("*"), key=lambda path: path.stat().st_size)
    largest = [path for path in arrays if path.is_file()][-1]
    program = make_program(read_config(directory))
    DAMAGE[kind](largest if which == "array" else place / which)
    with pytest.raises(ConfigError) as refused:
        read_policies(directory, program)
    _is_one_line(refused, f"{place}", f"purejax-simba train --resume {directory}")


def test_damaged_policies_are_played_by_no_command(command, directory):
    place = directory / POLICY_DIRECTORY
    (weights,) = [path for path in place.rglob("*") if path.is_file() and "d/" in str(path)][:1]
    _change_a_byte(weights)
    for flag in ("--evaluate", "--video"):
        status, out, error = command(flag, str(directory))
        assert (status, out) == (2, "")
        assert f"{weights.relative_to(place)} is not as it was written" in error
    for play in (evaluate, load_policy):
        with pytest.raises(ConfigError, match="not as it was written"):
            play(directory)


@pytest.mark.parametrize("kind", damage.JSON)
@pytest.mark.parametrize("name", ["notes.json", "checksums.json"])
def test_a_checkpoint_without_its_notes_is_damaged(directory, name, kind):
    place = directory / STATE_DIRECTORY
    damage.JSON[kind](place / str(STEPS) / name)
    with pytest.raises(ConfigError) as refused:
        read_newest(place)
    _is_one_line(refused, f"{place} holds nothing to go on from: {place / str(STEPS)}", "damaged")


def _write_metrics(*lines: str) -> Callable[[Path], None]:
    return lambda path: path.write_text("\n".join([",".join(METRIC_COLUMNS), *lines, ""]))


ROW = "mine,cheetah-run,0,avg_return,100,3.5"
METRICS: dict[str, tuple[Callable[[Path], Any], str]] = {
    **{kind: (hurt, "") for kind, hurt in damage.ANY.items()},
    "other columns": (lambda path: path.write_text("a,b\n1,2\n"), "it has no column exp_name"),
    "text": (_write_metrics(ROW, ROW.replace("3.5", "high")), "line 3 is damaged"),
    "no seed": (_write_metrics(ROW.replace(",0,", ",,")), "line 2 is damaged"),
    "short": (_write_metrics("mine,cheetah-run", ROW), "line 2 is damaged"),
    "a field without an end": (_write_metrics('"' + "x" * 200_000), "field larger than"),
}


@pytest.mark.parametrize("kind", METRICS)
def test_damaged_results_are_refused(directory, kind):
    hurt, reason = METRICS[kind]
    hurt(directory / "metrics.csv")
    with pytest.raises(ConfigError) as refused:
        read_returns(directory)
    _is_one_line(refused, f"{directory / 'metrics.csv'} cannot be read ({reason}")


def test_half_a_line_at_the_end_is_left_out(directory):
    returns = read_returns(directory)
    with (directory / "metrics.csv").open("a") as file:
        file.write("mine,Pendulum-v1,0,avg_return,300,1")
    assert read_returns(directory) == returns


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("config.json", '{"num_seeds": "two"}', "num_seeds is 'two'"),
        ("run.json", '[{"seconds": "two"}]', "[0].seconds is 'two': a number is needed"),
        ("diverged.json", '{"0": "two"}', "0 is 'two': a whole number is needed"),
        ("loggers.json", '{"wandb": 3}', "wandb is 3: names with values is needed"),
        ("metrics.csv", "\n" * 10_000, "it has no column exp_name"),
        ("metrics.csv", "", "it has 0 bytes and had"),
        ("metrics.csv", "1,\n" + 4000 * "2", "it was changed since the checkpoint"),
    ],
)
def test_a_run_goes_on_only_with_whole_files(command, directory, name, content, line):
    (directory / name).write_text(content)
    before = (directory / "config.json").read_text()
    elsewhere = directory.parent / "other"
    # Loggers, and the record of sessions, begin anew elsewhere.
    is_taken_along = name in ("config.json", "metrics.csv")
    for words in ((), ("--output", str(elsewhere)))[: 1 + is_taken_along]:
        status, _, error = command("--resume", str(directory), *words)
        assert status == 2
        assert f"error: {directory / name} cannot be read ({line}" in error.splitlines()[-1]
        assert (directory / name).read_text() == content
        assert (directory / "config.json").read_text() == before
        assert not [path for path in elsewhere.rglob("*") if path.is_file()]


def test_notes_of_other_runs_are_refused(directory):
    place = directory / STATE_DIRECTORY
    checkpoint = read_newest(place)
    for changed, line in (
        ({"num_seeds": [1, 1]}, "its notes.json cannot be"),
        ({"num_seeds": [3]}, "is not of 3 runs"),
        ({"num_seeds": [0]}, "its notes.json cannot be"),
        ({"metrics_bytes": [-1]}, "its notes.json cannot be"),
        ({"interactions": -1}, "its notes.json cannot be"),
    ):
        with CheckpointWriter(place, keep=1) as writer:
            writer.save(STEPS, checkpoint.arrays, {**checkpoint.notes, **changed})  # type: ignore
        with pytest.raises(ConfigError) as refused:
            read_newest(place)
        _is_one_line(refused, line)


@pytest.mark.parametrize("flag", ["--resume", "--evaluate", "--video"])
@pytest.mark.parametrize("name", ["metrics.csv", "checkpoints", "videos", "wandb"])
def test_links_out_of_a_run_lead_nowhere(command, directory, tmp_path, flag, name):
    elsewhere = tmp_path / "elsewhere"
    if (directory / name).exists():
        (directory / name).rename(elsewhere)
    else:
        elsewhere.mkdir()
    (directory / name).symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*")), elsewhere.stat().st_size
    status, _, error = command(flag, str(directory))
    assert status == 2
    assert f"{directory / name} is a symbolic link out of {directory}" in error
    assert (sorted(elsewhere.rglob("*")), elsewhere.stat().st_size) == before


def test_links_that_wandb_makes_to_its_logs_are_no_harm(directory, tmp_path):
    (directory / "wandb" / "run").mkdir(parents=True)
    (directory / "wandb" / "run" / "debug-core.log").symlink_to(tmp_path / "home")
    (directory / "wandb" / "latest-run").symlink_to("run")
    (directory / "inside").symlink_to("metrics.csv")
    read_config(directory)


@pytest.mark.parametrize("kind", damage.JSON)
def test_a_damaged_lock_is_as_one_of_a_process_that_is_no_more(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(run_lock, "STALE_SECONDS", 0.0)
    path = tmp_path / run_lock.LOCK_FILE
    path.write_text("{}")
    damage.JSON[kind](path)
    if kind in ("a directory", "a loop of links"):
        with pytest.raises(ConfigError, match="cannot write to"), run_lock.RunLock(tmp_path):
            pass
    else:
        with run_lock.RunLock(tmp_path):
            assert json.loads(path.read_text())["pid"]
        assert not path.exists()

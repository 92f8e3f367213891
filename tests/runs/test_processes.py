"""Two processes that train together, over the loopback interface."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from purejax_simba.config import ConfigError
from purejax_simba.runs.processes import ProcessOptions, join
from purejax_simba.sweep.lineage import read_lineage

ROOT = Path(__file__).parent.parent.parent
TASK = "gymnax/Pendulum-v1"
TINY = (
    f"--task {TASK} --num-seeds 3 --total-env-steps 240 --evaluation-interval 60 "
    "--num-evaluation-episodes 2 --episode-length 50 --learning-starts 40 --experiment tiny "
    "--agent.actor-hidden-dim 8 --agent.critic-hidden-dim 8 --agent.critic-num-blocks 1 "
    "--agent.num-bins 11 --agent.num-critics 1 --replay.batch-size 16 --checkpoint.interval 40"
).split()
# Options that make a sweep of it.
RATES = ("--log-uniform", "agent.learning-rate=1e-3,1e-2")
SWEEP = (*RATES, "--samples", "4", "--sampler", "tpe", "--trials-per-batch", "2")
# Runs a command line; with KILL_AT set, dies after the chunk that reaches this interaction.
COMMAND = """
import importlib, os, signal, sys
command = importlib.import_module(f"purejax_simba.commands.{sys.argv.pop(1)}")
from tests.helpers.stopping import after_every_chunk
def die(training):
    if training.interactions >= int(os.environ.get("KILL_AT", 10**9)):
        os.kill(os.getpid(), signal.SIGKILL)
with after_every_chunk(die):
    sys.exit(command.main())
"""
SECONDS = 300


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _start(
    index: int, port: int, cwd: Path, *arguments: str, command: str = "train", **more: str
) -> subprocess.Popen:
    environment = os.environ | more
    environment |= {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cwd / "cache")}
    together = f"--distributed --coordinator-address 127.0.0.1:{port} --num-processes 2"
    words = [command, *arguments, *together.split(), "--process-id", str(index)]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words],
        cwd=cwd,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _train(cwd: Path, *arguments: str, command: str = "train") -> list[tuple[int, str]]:
    """Status and messages of each of two processes."""
    port = _free_port()
    started = [_start(index, port, cwd, *arguments, command=command) for index in (0, 1)]
    return [(process.wait(), process.stderr.read()) for process in started]


def _values(directory: Path, experiment: str = "tiny") -> dict[tuple[str, ...], float]:
    with (directory / experiment / TASK / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    values = {(r["seed"], r["metric"], r["env_step"]): float(r["value"]) for r in rows}
    assert len(values) == len(rows), "no row is there twice"
    return values


def _train_alone(output: Path, *arguments: str) -> None:
    """Trains in a single process."""
    command = [sys.executable, str(ROOT / "train.py"), *arguments, "--output", str(output)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def _train_until_one_dies(cwd: Path, *arguments: str, kill_at: str) -> str:
    """Lets the second process die, which ends the first; returns the messages of that."""
    port = _free_port()
    first = _start(0, port, cwd, *arguments)
    second = _start(1, port, cwd, *arguments, KILL_AT=kill_at)
    try:
        assert second.wait(SECONDS) == -signal.SIGKILL
        dead = time.monotonic()
        status = first.wait(60)
    finally:
        first.kill()
        second.kill()
    assert status != 0
    assert time.monotonic() - dead < 60
    return first.stderr.read()


def _assert_near(directory: Path, expected: Path, experiment: str = "tiny") -> None:
    """Two runs have the same rows, and the same values to rounding."""
    values, wanted = _values(directory, experiment), _values(expected, experiment)
    assert values.keys() == wanted.keys()
    for name, value in wanted.items():
        assert values[name] == pytest.approx(value, rel=1e-2, abs=1e-3), name


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    """The output of a run of two processes."""
    output = tmp_path_factory.mktemp("together")
    for status, messages in _train(output, *TINY, "--output", "."):
        assert status == 0, messages
    return output


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(together, tmp_path):
    _train_alone(tmp_path, *TINY)
    _assert_near(together, tmp_path)
    files = [
        {path.relative_to(output / "tiny") for path in (output / "tiny" / TASK).glob("*")}
        for output in (together, tmp_path)
    ]
    assert files[0] == files[1]


def _sweep(directory: Path, *options: str) -> tuple[Path, Path, list[str]]:
    """Sweeps of four configurations by two processes and by one, and the messages of the two."""
    together, alone = directory / "together", directory / "alone"
    for place in (together, alone):
        place.mkdir()
    messages = []
    for status, text in _train(together, *TINY, *options, "--output", ".", command="sweep"):
        assert status == 0, text
        messages.append(text)
    environment = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    command = [sys.executable, str(ROOT / "sweep.py"), *TINY, *options, "--output", str(alone)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    for number in range(4):
        _assert_near(together, alone, f"tiny/{number:03d}")
    return together / "tiny", alone / "tiny", messages


@pytest.mark.exhaustive
def test_two_processes_share_a_sweep(tmp_path):
    """In both cases two batches of two configurations, which Optuna has chosen."""
    together, alone, messages = _sweep(tmp_path, *SWEEP)
    assert messages[0].count("compiled in") == 1  # for both batches
    assert "batch" not in messages[1]
    tables = [(place / "sweep.csv").read_text() for place in (together, alone)]
    assert tables[0].count("\n") == tables[1].count("\n") == 5


@pytest.mark.slow
def test_two_processes_share_populations(tmp_path):
    """Three, whose members go on from others of the other process."""
    together, alone, _ = _sweep(tmp_path, *RATES, "--samples", "4", "--pbt")
    found, expected = read_lineage(together), read_lineage(alone)
    assert (found.parents != np.arange(4)[:, None]).any()
    np.testing.assert_array_equal(found.parents, expected.parents)
    np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_other_and_both_go_on_later(together, tmp_path):
    messages = _train_until_one_dies(tmp_path, *TINY, "--output", ".", kill_at="130")
    assert "another process of this run has ended" in messages
    for status, messages in _train(tmp_path, "--resume", f"tiny/{TASK}"):
        assert status == 0, messages
    assert _values(tmp_path) == _values(together)


@pytest.mark.slow
def test_a_run_is_divided_among_processes(tmp_path):
    """Two devices of each; ended by the death of one, and resumed."""
    words = [*TINY, "--num-seeds", "1", "--num-environments", "4"]
    words += ["--num-evaluation-episodes", "4"]
    together, alone = tmp_path / "together", tmp_path / "alone"
    together.mkdir()
    divided = [*words, "--devices-per-run", "4", "--output", "."]
    _train_until_one_dies(together, *divided, kill_at="35")
    for status, messages in _train(together, "--resume", f"tiny/{TASK}"):
        assert status == 0, messages
    _train_alone(alone, *words)
    _assert_near(together, alone)


@pytest.mark.slow
def test_processes_that_disagree_are_refused(tmp_path):
    port = _free_port()
    started = [_start(i, port, tmp_path, *TINY, "--output", ".", "--seed", str(i)) for i in (0, 1)]
    for process in started:
        assert process.wait(SECONDS) == 2
        assert "error: process 1 has another configuration" in process.stderr.read()
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (ProcessOptions(num_processes=2), "need --distributed"),
        (ProcessOptions(distributed=True, num_processes=2), "give all of --coordinator-address"),
        (ProcessOptions(distributed=True), "cannot join other processes"),
    ],
)
def test_options_that_cannot_work_are_refused(options, advice):
    with pytest.raises(ConfigError, match=advice) as refused:
        join(options)
    assert "\n" not in str(refused.value)

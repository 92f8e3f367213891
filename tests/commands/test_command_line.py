"""`python train.py`: advice for what cannot work, and the files of a run."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import jax
import pytest

from purejax_simba.commands import train
from purejax_simba.runs import policies, session
from purejax_simba.runs.result_files import read_returns, write_diverged
from purejax_simba.runs.session_record import read_sessions
from tests.helpers import in_process, tiny

TASK = "gymnax/Pendulum-v1"
TINY = (
    f"--task {TASK} --num-seeds 2 --total-env-steps 200 --evaluation-interval 100 "
    "--num-evaluation-episodes 2 --episode-length 50 --learning-starts 60 --experiment tiny "
    "--agent.actor-hidden-dim 8 --agent.critic-hidden-dim 8 --agent.critic-num-blocks 1 "
    "--agent.num-bins 11 --agent.num-critics 1 --replay.batch-size 16"
).split()


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command line in this process: arguments -> exit status, stdout, stderr."""
    return in_process.runner("train.py", train.main, monkeypatch, capsys)


def _is_one_line_of_advice(error: str, *parts: str) -> None:
    *before, line = error.splitlines()
    assert all(word.endswith(" ...") for word in before)  # what is begun
    assert line.startswith("error: ")
    assert error.endswith("\n")
    for part in parts:
        assert part in error


def test_a_device_without_memory_says_how_many_runs_fit(command, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 5 bytes")

    monkeypatch.setattr("purejax_simba.runs.compiling.compile_program", fail)
    monkeypatch.setattr("purejax_simba.runs.memory._available_bytes", lambda: 2**40)
    status, _, error = command(*TINY, "--output", str(tmp_path))
    assert status == 1
    last = error.splitlines()[-1]
    assert last.startswith("error: a device ran out of memory with 2 runs: train 1 at a time at ")


def test_tasks_are_listed(command):
    status, out, _ = command("--list-tasks")
    assert status == 0
    assert {"dmc/cheetah-run", TASK} <= set(out.split())


def _python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(tiny.ROOT / "train.py"), *arguments]
    environment = os.environ | {"XDG_CACHE_HOME": str(cwd / "cache")}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)


def test_no_seeds_are_refused_before_devices_are_chosen(tmp_path):
    """In a process of its own: the number of devices follows the number of seeds."""
    result = _python("--num-seeds", "0", cwd=tmp_path)
    assert result.returncode == 2
    _is_one_line_of_advice(result.stderr, "--num-seeds is 0")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A tiny run from beginning to end, in a process of its own."""
    output = tmp_path_factory.mktemp("runs")
    return output / "tiny" / TASK, _python(*TINY, "--output", ".", cwd=output)


def test_a_run_writes_its_files(finished):
    directory, result = finished
    assert result.returncode == 0, result.stderr
    assert "results are in" in result.stderr
    assert result.stderr.startswith(f"{TASK}: 2 seeds of simba_v2; loading ...\n")
    config = json.loads((directory / "config.json").read_text())
    assert config["task"] == TASK
    assert config["agent"]["critic_hidden_dim"] == 8
    assert config["update_to_data_ratio"] == 1.0  # defaults are written as resolved
    assert (directory / "curve.png").read_bytes().startswith(b"\x89PNG")
    with (directory / "metrics.csv").open(newline="") as file:
        assert file.readline() == "exp_name,env_name,seed,metric,env_step,value\n"
        file.seek(0)
        rows = list(csv.DictReader(file))
    assert {(row["exp_name"], row["env_name"]) for row in rows} == {("tiny", "Pendulum-v1")}
    returns = [row for row in rows if row["metric"] == "avg_return"]
    steps = [("0", "0"), ("0", "100"), ("0", "200"), ("1", "0"), ("1", "100"), ("1", "200")]
    assert sorted((row["seed"], row["env_step"]) for row in returns) == steps
    assert all(-17 * 50 < float(row["value"]) < 0 for row in returns)
    lengths = {float(row["value"]) for row in rows if row["metric"] == "avg_length"}
    assert lengths == {50.0}
    losses = [row["env_step"] for row in rows if row["metric"] == "critic_loss"]
    assert sorted(losses) == ["100", "100", "200", "200"]
    diagnostics = {
        metric: [row["env_step"] for row in rows if row["metric"] == metric]
        for metric in ("critic/effective_learning_rate", "actor/srank", "reward_denominator")
    }
    assert all(sorted(steps) == sorted(losses) for steps in diagnostics.values())


def test_a_run_records_its_session(finished):
    directory, _ = finished
    (session,) = read_sessions(directory)
    assert session["command"].endswith(f"train.py {' '.join(TINY)} --output .")
    assert session["status"] == "finished"
    assert (session["first_env_step"], session["env_step"], session["runs_together"]) == (0, 200, 2)
    # An update per step of each seed after the 60 random ones, the 60th included.
    assert session["updates"] == 2 * 141
    assert 0 < session["seconds"] < 600
    assert 0 < session["startup_seconds"] < 600
    assert session["versions"]["jax"] == jax.__version__
    assert session["devices"].endswith("x cpu")


def test_compiled_programs_are_kept(finished):
    directory, _ = finished
    kept = [file.name for file in (directory.parents[2] / "cache" / "purejax_simba").rglob("*")]
    assert any(name.startswith("jit_advance") for name in kept)


def test_a_finished_run_can_be_evaluated(finished, command):
    directory, _ = finished
    status, out, error = command("--evaluate", str(directory))
    assert status == 0, error
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["seed 0", "seed 1"]
    for line in lines:
        assert -17 * 50 < float(line.split("return ")[1].split(",")[0]) < 0
        assert "length 50" in line


def test_a_run_is_evaluated_in_as_many_episodes_as_are_asked_for(command, monkeypatch):
    asked = []

    def play(directory, episodes, given):
        asked.append(episodes)
        yield 3, {"avg_return": 1.0, "avg_length": 2.0, "avg_success": 0.0}

    monkeypatch.setattr(policies, "evaluate_in_turn", play)
    for words in ([], ["--num-evaluation-episodes", "50"]):
        assert command("--evaluate", "somewhere", *words)[0] == 0
    assert asked == [None, 50]


def test_a_seed_that_diverged_is_named_where_it_is_evaluated(command, monkeypatch, tmp_path):
    metrics = {"avg_return": 1.0, "avg_length": 2.0, "avg_success": 0.0}
    play = mock.Mock(return_value=iter([(3, metrics), (4, metrics)]))
    monkeypatch.setattr(policies, "evaluate_in_turn", play)
    write_diverged(tmp_path, {4: 12_000})
    whole, diverged = command("--evaluate", str(tmp_path))[1].splitlines()
    assert diverged == whole.replace("3", "4", 1) + ", as when it diverged at step 12,000"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_keeps_what_it_did(command, tmp_path, monkeypatch, number):
    """The signal comes with the second evaluation of three."""
    evaluations = []
    evaluate = session.Session._evaluate

    def evaluate_and_stop(self) -> None:
        evaluate(self)
        evaluations.append(self.interactions)
        if len(evaluations) == 2:
            signal.raise_signal(number)

    monkeypatch.setattr(session.Session, "_evaluate", evaluate_and_stop)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        command(*TINY, "--output", str(tmp_path))
    assert stopped.value.code == 128 + number
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert evaluations == [0, 100]
    directory = tmp_path / "tiny" / TASK
    assert {step for points in read_returns(directory).values() for step, _ in points} == {0, 100}
    assert (directory / "curve.png").exists()
    assert [path.name for path in (directory / "checkpoints" / "state").iterdir()] == ["100"]
    (own,) = read_sessions(directory)
    assert (own["status"], own["env_step"]) == ("stopped", 100)
    status, out, error = command("--evaluate", str(directory))
    assert status == 0, error
    assert out.count("return") == 2

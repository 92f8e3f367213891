"""`python train.py`: advice for what cannot work, and the files of a run."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import train
from purejax_simba.runs import session
from purejax_simba.runs.result_files import read_returns
from purejax_simba.runs.session_record import read_sessions
from tests.helpers import in_process

ROOT = Path(train.__file__).parent
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


@pytest.fixture
def no_compilation(monkeypatch):
    """Fails where compilation would begin."""
    in_process.refuse_compilation(monkeypatch)


def _is_one_line_of_advice(error: str, *parts: str) -> None:
    *before, line = error.splitlines()
    assert all(word.endswith(" ...") for word in before)  # what is begun
    assert line.startswith("error: ")
    assert error.endswith("\n")
    for part in parts:
        assert part in error


BAD = {
    "--task dmc/cheeta-run": ["unknown task 'dmc/cheeta-run'", "did you mean dmc/cheetah-run"],
    "--task nothing-like-it": ["unknown task", "envs.tasks()"],
    "--physics havok": ["dmc/cheetah-run has no physics 'havok'", "choose from auto, mujoco, mjx"],
    f"--task {TASK} --physics mjx": ["brings its own physics"],
    "--num-seeds 0": ["--num-seeds is 0", "above 0"],
    "--seed -1": ["--seed is -1", "0 to 4294967295"],
    "--seed 4294967293": ["--seed is 4294967293", "with the 3 that follow it"],
    "--seed 4294967290 --num-seeds 8": ["--seed is 4294967290", "with the 7 that follow"],
    "--replay.batch-size 300 --replay.capacity 200": ["--replay.batch-size 300", "larger"],
    "--update-to-data-ratio 0": ["--update-to-data-ratio is 0.0", "above 0"],
    "--update-to-data-ratio -1": ["--update-to-data-ratio is -1.0", "above 0"],
    "--update-to-data-ratio inf": ["--update-to-data-ratio is inf", "finite"],
    "--update-to-data-ratio 0.00001": ["--update-to-data-ratio is 1e-05", "at least 0.0001"],
    "--episode-length 4 --replay.n-step 3": ["2 interactions", "--replay.n-step 3", "smaller"],
    "--total-env-steps 5000 --evaluation-interval 1501": ["--evaluation-interval 1501", "1500"],
    "--total-env-steps 5000 --evaluation-interval 2000": ["--total-env-steps 5000", "4000"],
    "--total-env-steps 8000 --learning-starts 5000": ["--learning-starts 5000", "4000"],
    "--learning-starts 300 --replay.capacity 256": ["--learning-starts 300", "never come"],
    "--replay.capacity 1000000 --num-environments 3": ["no multiple of --num-environments 3"],
    "--replay.priority-exponent 0.5": ["--replay.priority-exponent 0.5", "--replay.prioritized"],
    "--replay.prioritized --replay.importance-exponent 1.5": ["exponent is 1.5", "[0, 1]"],
    "--replay.prioritized --devices-per-run 2": ["--replay.prioritized is for runs on one device"],
    "--discount 1.0": ["--discount is 1.0", "[0, 1)"],
    "--agent.tau 0": ["--agent.tau is 0.0", "(0, 1]"],
    "--agent.reset-env-steps 0": ["--agent.reset-env-steps is 0", "1 or more"],
    "--agent.num-bins 1": ["--agent.num-bins is 1", "2 or more"],
    "--loggers tensorbored": ["no logger 'tensorbored'", "tensorboard, wandb"],
    "--action-repeat 0": ["action_repeat is 0", "1 or more"],
    "--episode-length 0": ["episode_length is 0", "1 or more"],
}


@pytest.mark.parametrize("arguments", BAD)
def test_what_cannot_work_is_refused_in_one_line(command, no_compilation, tmp_path, arguments):
    status, out, error = command(*arguments.split(), "--output", str(tmp_path))
    assert (status, out) == (2, "")
    _is_one_line_of_advice(error, *BAD[arguments])
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_written_is_refused(command, no_compilation, tmp_path):
    obstacle = tmp_path / "file"
    obstacle.write_text("")
    status, _, error = command(*TINY, "--output", str(obstacle))
    assert status == 2
    _is_one_line_of_advice(error, f"cannot write to {obstacle}", "give another --output")


def test_an_output_without_permission_is_refused(command, no_compilation, tmp_path, monkeypatch):
    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("exists", "mkdir"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, name, deny)
            status, _, error = command(*TINY, "--output", str(tmp_path))
        assert status == 2
        _is_one_line_of_advice(error, "cannot write to", "Permission denied", "another --output")


def test_a_directory_that_holds_a_run_is_refused(command, no_compilation, tmp_path):
    directory = tmp_path / "tiny" / TASK
    directory.mkdir(parents=True)
    (directory / "metrics.csv").write_text("precious")
    status, _, error = command(*TINY, "--output", str(tmp_path))
    assert status == 2
    _is_one_line_of_advice(error, "already holds a run", "another --output or --experiment")
    assert (directory / "metrics.csv").read_text() == "precious"


@pytest.mark.parametrize(
    ("file", "text"), [(None, ""), ("config.json", "not json"), ("config.json", '{"tusk": 1}')]
)
def test_evaluating_what_is_no_run_is_refused(command, tmp_path, file, text):
    if file is not None:
        (tmp_path / file).write_text(text)
    status, _, error = command("--evaluate", str(tmp_path))
    assert status == 2
    _is_one_line_of_advice(error, str(tmp_path))


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
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
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


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ("--agent.tau 0.01", "--agent.tau was 0.005 and is 0.01"),
        ("--total-env-steps 100", "give as many or more"),
        ("--total-env-steps 250", "--total-env-steps 250 is no multiple of 100"),
    ],
)
def test_a_run_is_not_resumed_as_another(finished, command, no_compilation, arguments, advice):
    directory, _ = finished
    before = (directory / "config.json").read_text()
    status, _, error = command("--resume", str(directory), *arguments.split())
    assert status == 2
    _is_one_line_of_advice(error, advice)
    assert (directory / "config.json").read_text() == before


def test_resuming_what_is_no_run_is_refused(command, no_compilation, tmp_path):
    status, _, error = command("--resume", str(tmp_path))
    assert status == 2
    _is_one_line_of_advice(error, f"{tmp_path} holds no run")


def test_a_second_run_into_the_directory_is_refused(finished, command, no_compilation):
    directory, _ = finished
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    status, _, error = command(*TINY, "--output", str(directory.parents[2]))
    assert status == 2
    _is_one_line_of_advice(error, "already holds a run")
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before

"""A run directory is one process's at a time."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from purejax_simba.config import Config, ConfigError
from purejax_simba.defaults import resolve
from purejax_simba.runs import experiment, run_lock
from purejax_simba.runs.result_files import run_directory, write_config
from purejax_simba.runs.run_lock import LOCK_FILE, RunLock
from purejax_simba.sweep import commands
from purejax_simba.sweep.axes import Axis
from purejax_simba.sweep.definition import Sweep
from tests.helpers import tiny

HOLD = """
import sys, time
from pathlib import Path
from purejax_simba.defaults import resolve
from purejax_simba.runs.run_lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Starts processes that hold a directory until their standard input ends."""
    started = []

    def start(directory: Path) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLD, str(directory)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=tiny.ROOT)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def hurried(monkeypatch):
    """Everything within a second, and no waiting that is not needed."""
    monkeypatch.setattr(run_lock, "RENEWAL_SECONDS", 0.1)
    monkeypatch.setattr(run_lock, "STALE_SECONDS", 0.8)


def _pretend(directory: Path, **changes) -> None:
    """The lock says what it would of another process."""
    path = directory / LOCK_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_second_process_is_refused_with_the_first_ones_name(hold, tmp_path):
    first = hold(tmp_path / "run")
    begun = json.loads((tmp_path / "run" / LOCK_FILE).read_text())["begun"]
    with pytest.raises(ConfigError) as refused, RunLock(tmp_path / "run"):
        pass
    message = str(refused.value)
    assert f"process {first.pid} on {os.uname().nodename}, begun {begun}, writes to" in message
    assert "\n" not in message
    first.communicate("")
    assert list((tmp_path / "run").iterdir()) == []
    with RunLock(tmp_path / "run"):
        pass


def test_what_a_killed_process_left_is_taken_over_at_once(hold, tmp_path, capsys):
    first = hold(tmp_path)
    first.send_signal(signal.SIGKILL)
    # Also as long as nobody has asked how it ended.
    while Path(f"/proc/{first.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    begin = time.monotonic()
    with RunLock(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    assert time.monotonic() - begin < 1.0 and not capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_who_is_patient_waits_until_the_first_ends(hold, tmp_path):
    first = hold(tmp_path)
    with pytest.raises(ConfigError, match=f"process {first.pid} on"), RunLock(tmp_path, 0.1):
        pass
    threading.Timer(0.5, first.kill).start()
    with RunLock(tmp_path, 60.0):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()


@pytest.mark.slow
def test_of_those_who_take_over_at_once_one_has_it(hold, tmp_path):
    first = hold(tmp_path)
    first.kill()
    first.wait()
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    several = [
        subprocess.Popen(command, text=True, cwd=tiny.ROOT, **streams)  # type: ignore[call-overload]
        for _ in range(4)
    ]
    begun = [each.stdout.readline() for each in several]
    ended = [each.communicate("") for each in several]
    assert sorted(begun) == ["", "", "", "held\n"]
    refused = [error for line, (_, error) in zip(begun, ended, strict=True) if not line]
    assert all("writes to" in error for error in refused)
    assert list(tmp_path.iterdir()) == []


def test_a_process_number_that_was_given_again_is_another_process(hold, tmp_path):
    hold(tmp_path)
    _pretend(tmp_path, started="1")
    with RunLock(tmp_path):
        pass


@pytest.mark.parametrize("other", [{"host": "elsewhere"}, {"machine": ["booted again", ""]}])
def test_what_a_dead_machine_left_is_taken_over_after_a_while(hurried, tmp_path, capsys, other):
    with RunLock(tmp_path) as lock:
        text = (tmp_path / LOCK_FILE).read_text()
        assert lock
    (tmp_path / LOCK_FILE).write_text(text)
    _pretend(tmp_path, **other)
    begin = time.monotonic()
    with RunLock(tmp_path):
        assert 0.5 < time.monotonic() - begin < 5.0
    assert "waiting up to 1 s for process" in capsys.readouterr().err
    # What is old needs no waiting, whatever the clock of this machine says.
    (tmp_path / LOCK_FILE).write_text(text)
    _pretend(tmp_path, **other)
    os.utime(tmp_path / LOCK_FILE, (0, 0))
    with RunLock(tmp_path):
        assert not capsys.readouterr().err


def test_a_process_on_another_machine_is_seen_to_be_alive(hurried, tmp_path, monkeypatch):
    with RunLock(tmp_path) as lock:
        _pretend(tmp_path, host="elsewhere")
        lock._own["host"] = "elsewhere"
        with pytest.raises(ConfigError, match="on elsewhere, begun"), RunLock(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_who_was_taken_over_ends(tmp_path):
    """A machine that stood still for minutes, while another one went on with the run."""
    hurry = "from purejax_simba.runs import run_lock; run_lock.RENEWAL_SECONDS = 0.1"
    code = HOLD.replace("with RunLock", f"{hurry}\nwith RunLock")
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=tiny.ROOT
    ) as process:
        assert process.stdout.readline() == "held\n"
        _pretend(tmp_path, host="elsewhere")
        assert process.wait(20) == 1
        assert "was taken over by another process" in process.stderr.read()
    assert (tmp_path / LOCK_FILE).exists()


def test_the_lock_of_another_process_stays(tmp_path):
    """Which went on with the run while this one stood still."""
    with RunLock(tmp_path):
        _pretend(tmp_path, host="elsewhere")
    assert json.loads((tmp_path / LOCK_FILE).read_text())["host"] == "elsewhere"


def test_an_unreadable_lock_is_one(hurried, tmp_path):
    (tmp_path / LOCK_FILE).write_text("{")
    os.utime(tmp_path / LOCK_FILE, (0, 0))
    with RunLock(tmp_path):
        pass


def test_runs_and_sweeps_that_another_process_trains_are_refused(hold, tmp_path, monkeypatch):
    monkeypatch.setattr("purejax_simba.runs.compiling.compile_program", None)
    config = Config(
        "gymnax/Pendulum-v1",
        total_env_steps=400,
        evaluation_interval=200,
        learning_starts=100,
        agent=tiny.AGENT,
        experiment="mine",
        output=str(tmp_path),
    )
    directory = run_directory(config)
    # Before it has written anything, and after.
    first = hold(directory)
    refused = f"process {first.pid} on .* writes to {directory}: wait"
    with pytest.raises(ConfigError, match=refused):
        experiment.train(config)
    assert [file.name for file in directory.iterdir()] == [LOCK_FILE]
    write_config(directory, resolve(config))
    with pytest.raises(ConfigError, match=refused):
        experiment.resume(directory)
    axis = Axis("agent.num_bins", "grid", (11, 13))
    sweep = Sweep(dataclasses.replace(config, experiment="many"), (config.task,), (axis,))
    second = hold(sweep.directory / "programs" / "000")
    with pytest.raises(ConfigError, match=f"process {second.pid} on"):
        commands.train(sweep)
    assert not list(sweep.directory.rglob("metrics.csv"))

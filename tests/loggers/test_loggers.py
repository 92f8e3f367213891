"""Loggers: every point once, also after a resume, and none of them stops a training."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import wandb

from purejax_simba import loggers
from purejax_simba.config import Config, ConfigError
from purejax_simba.runs.result_files import read_config, read_metrics
from tests.helpers import tiny
from tests.helpers.logged import LoggedRun, in_metrics, in_tensorboard

written: list[tuple[str, int, dict[str, float]]] = []


class Recorder:
    """A logger of one's own."""

    def __init__(self, directory: Path, config: dict):
        assert config["task"] == "gymnax/Pendulum-v1"

    def write(self, run, env_step, metrics):
        written.append((run, env_step, metrics))

    def close(self):
        pass


class Newcomer(Recorder):
    """Another one, as far as names go."""


class Broken(Recorder):
    """Its network is gone after the first evaluation."""

    def write(self, run, env_step, metrics):
        if env_step > 0:
            raise ConnectionError("no route to host\nand a stack trace")


class BrokenFromTheStart(Broken):
    """Its server is gone."""

    def __init__(self, directory, config):
        raise OSError(28, "No space left on device")


class BrokenAtTheEnd(Broken):
    """What is left cannot be uploaded."""

    def write(self, run, env_step, metrics):
        pass

    def close(self):
        raise TimeoutError


def own(cls: type) -> str:
    return f"{__name__}:{cls.__name__}"


@pytest.fixture(autouse=True)
def nothing_written():
    written.clear()


def expected(*env_steps: int) -> list:
    return [
        (f"seed-{seed}", step, {"avg_return": step + seed / 2} | ({} if seed else {"entropy": 3.0}))
        for step in env_steps
        for seed in (0, 1)
    ]


def test_a_resumed_run_repeats_no_point_and_makes_up_for_missing_ones(tmp_path):
    first = LoggedRun(tmp_path, own(Recorder))
    size = first.evaluate(0)
    first.evaluate(100, is_final=False)
    assert written == expected(0)
    # Killed there, and the checkpoint is that of step 0.
    second = LoggedRun(tmp_path, own(Recorder), keep=size)
    second.evaluate(100)
    second.evaluate(200)
    second.loggers.close()
    assert written == expected(0, 100, 200)
    # A logger that was not there before is given everything.
    written.clear()
    LoggedRun(tmp_path, own(Newcomer), keep=second.metrics.size())
    assert written == expected(0, 100, 200)


def test_a_logger_that_has_more_than_the_file_is_reported(tmp_path, capsys):
    """Where the newest checkpoint is damaged, a run goes on from the one before."""
    first = LoggedRun(tmp_path, own(Recorder))
    size = first.evaluate(0)
    first.evaluate(100)
    LoggedRun(tmp_path, own(Recorder), keep=first.metrics.size())
    assert not capsys.readouterr().err
    LoggedRun(tmp_path, own(Recorder), keep=size)
    error = capsys.readouterr().err
    assert "points up to step 100, and the run goes on from 0" in error and error.count("\n") == 1


def test_other_seeds_of_a_directory_may_be_further(tmp_path, capsys):
    """They train one after the other where memory is for so many at a time."""
    config, steps = own(Recorder), (0, 100)
    first = LoggedRun(tmp_path, config)
    for env_step in steps:
        values = {0: {"avg_return": 1.0}}
        first.metrics.write(env_step, values)
        first.loggers.write(env_step, values)
        first.loggers.hand_over(env_step)
    alone = dataclasses.replace(first.config, seed=1, num_seeds=1)
    first.metrics.write(0, {1: {"avg_return": 2.0}})
    loggers.Loggers(first.directory, alone)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("cls", [Broken, BrokenFromTheStart, BrokenAtTheEnd])
def test_a_logger_that_fails_is_reported_once_and_stops_nothing(tmp_path, capsys, cls):
    session = LoggedRun(tmp_path, own(cls), own(Recorder))
    for env_step in (0, 100, 200):
        session.evaluate(env_step)
    session.loggers.close()
    error = capsys.readouterr().err
    assert error.startswith(f"warning: logger {own(cls)} failed") and error.count("\n") == 1
    assert written == expected(0, 100, 200)
    assert [step for step, _ in read_metrics(session.directory)] == [0, 100, 200]


def test_what_a_logger_failed_at_is_handed_in_later(tmp_path, monkeypatch):
    first = LoggedRun(tmp_path, own(Newcomer))
    first.evaluate(0)
    with monkeypatch.context() as patch:
        patch.setattr(Newcomer, "write", Broken.write)
        first.evaluate(100)
    size = first.evaluate(200)
    assert written == expected(0)
    LoggedRun(tmp_path, own(Newcomer), keep=size).evaluate(300)
    assert written == expected(0, 100, 200, 300)


def test_seeds_that_are_logged_together_have_their_mean(tmp_path):
    session = LoggedRun(tmp_path, own(Recorder), log_seeds="together", num_seeds=2)
    size = session.evaluate(100)
    together = {
        "seeds": 2,
        "avg_return": 100.25,
        "seed-0/avg_return": 100.0,
        "seed-0/entropy": 3.0,
        "seed-1/avg_return": 100.5,
    }
    assert [(run, step) for run, step, _ in written] == [("seeds-0-1", 100)]
    assert written[0][2] == together
    # Other seeds that train after them, beside the same file.
    later = LoggedRun(tmp_path, own(Recorder), keep=size, log_seeds="together", seed=2, num_seeds=2)
    later.loggers.write(100, {2: {"avg_return": 1.0}, 3: {"avg_return": 3.0}})
    later.loggers.hand_over(100)
    means = {"seeds": 2, "avg_return": 2.0, "seed-2/avg_return": 1.0, "seed-3/avg_return": 3.0}
    assert written[1:] == [("seeds-2-3", 100, means)]


def test_a_mean_says_of_how_many_seeds_it_is_or_is_none(tmp_path):
    session = LoggedRun(tmp_path, own(Recorder), log_seeds="together", num_seeds=3)
    nan = float("nan")
    session.loggers.write(0, {0: {"avg_return": 1.0}, 1: {"avg_return": nan}, 2: {"avg_return": 3}})
    session.loggers.write(100, {0: {"avg_return": 1.0}, 2: {"avg_return": 3.0}})  # 1 has diverged
    session.loggers.hand_over(100)
    (_, _, first), (_, _, second) = written
    assert first["seeds"] == 3 and math.isnan(first["avg_return"])
    assert math.isnan(first["seed-1/avg_return"]) and first["seed-2/avg_return"] == 3.0
    assert second["seeds"] == 2 and second["avg_return"] == 2.0


def test_what_is_not_finite_is_handed_on_as_it_is_in_the_file(tmp_path):
    session = LoggedRun(tmp_path, "tensorboard", own(Recorder))
    values = {0: {"avg_return": float("nan"), "avg_length": 5.0}, 1: {"avg_return": float("inf")}}
    session.metrics.write(0, values)
    session.loggers.write(0, values)
    session.loggers.hand_over(0)
    points = in_metrics(session.directory)
    assert [repr(value) for value in points.values()] == ["nan", "5.0", "inf"]
    assert in_tensorboard(session.directory) == pytest.approx(points, nan_ok=True)
    assert [(run, step, repr(metrics)) for run, step, metrics in written] == [
        (f"seed-{seed}", 0, repr(metrics)) for seed, metrics in values.items()
    ]


def test_tensorboard_reads_what_is_in_the_metrics_file(tmp_path):
    first = LoggedRun(tmp_path, "tensorboard")
    first.evaluate(0)
    size = first.evaluate(100)
    first.evaluate(200, is_final=False)
    second = LoggedRun(tmp_path, "tensorboard", keep=size)
    second.evaluate(200)
    second.evaluate(300)
    points = in_tensorboard(second.directory)
    assert len(points) == 12
    assert points == pytest.approx(in_metrics(second.directory))


class FakeWandb:
    """In place of `wandb.init`: what it was called with and what was logged."""

    def __init__(self, failing_modes=()):
        self.calls, self.rows, self.finished = [], [], 0
        self.failing_modes = failing_modes

    def init(self, **options):
        self.calls.append(options)
        if options["mode"] in self.failing_modes:
            raise wandb.errors.CommError("cannot reach api.wandb.ai\nfor long")
        return self

    def log(self, metrics, step):
        self.rows.append((step, metrics))

    def finish(self):
        self.finished += 1


@pytest.fixture
def fake(monkeypatch):
    def install(*failing_modes):
        fake = FakeWandb(failing_modes)
        monkeypatch.setattr(wandb, "init", fake.init)
        return fake

    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    return install


def test_wandb_has_a_run_per_seed_and_goes_on_with_it(tmp_path, fake, capsys):
    first = fake()
    session = LoggedRun(tmp_path, "wandb")
    size = session.evaluate(0)
    session.loggers.close()
    assert [call["name"][-6:] for call in first.calls] == ["seed-0", "seed-1"]
    assert {call["group"] for call in first.calls} == {"simba_v2/gymnax/Pendulum-v1"}
    assert first.rows == [(step, metrics) for _, step, metrics in expected(0)]
    assert first.finished == 2
    second = fake()
    LoggedRun(tmp_path, "wandb", keep=size).evaluate(100)
    assert [call["id"] for call in second.calls] == [call["id"] for call in first.calls]
    assert len({call["id"] for call in first.calls}) == 2
    assert {(call["resume"], call["mode"]) for call in second.calls} == {("allow", None)}
    assert second.rows == [(step, metrics) for _, step, metrics in expected(100)]
    assert not capsys.readouterr().err


def test_wandb_that_cannot_be_reached_logs_offline(tmp_path, fake, capsys):
    unreachable = fake(None, "online")
    LoggedRun(tmp_path, "wandb").evaluate(0)
    assert [call["mode"] for call in unreachable.calls] == [None, "offline", "offline"]
    assert len(unreachable.rows) == 2
    error = capsys.readouterr().err
    assert "cannot reach api.wandb.ai" in error and error.count("\n") == 1


def test_wandb_without_a_login_never_asks(tmp_path, fake, capsys, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    offline = fake()
    LoggedRun(tmp_path, "wandb").evaluate(0)
    assert {call["mode"] for call in offline.calls} == {"offline"}
    assert "wandb login" in capsys.readouterr().err


@pytest.mark.slow
def test_wandb_itself_writes_runs_for_a_later_upload(tmp_path):
    """In a process of its own, because it leaves services behind."""
    code = (
        "import sys; from pathlib import Path; from tests.helpers.logged import LoggedRun\n"
        "session = LoggedRun(Path(sys.argv[1]), 'wandb')\n"
        "session.evaluate(0); session.evaluate(100); session.loggers.close()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {"WANDB_MODE": "offline", "PATH": "", "HOME": str(tmp_path)}
    result = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=tiny.ROOT, timeout=120
    )
    assert result.returncode == 0 and "warning: logger" not in result.stderr, result.stderr
    kept = list(tmp_path.rglob("wandb/offline-run-*/run-*.wandb"))
    assert len(kept) == 2 and all(file.stat().st_size > 0 for file in kept)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("tensorbored", "choose from tensorboard, wandb or give <module>:<class>"),
        ("no_such_lab:Logger", "no module 'no_such_lab' here"),
        ("json:Logger", "has no attribute 'Logger'"),
    ],
)
def test_loggers_that_are_not_there_are_refused(name, advice):
    with pytest.raises(ConfigError, match=advice) as refused:
        loggers.check(Config(loggers=(name,)))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_extra_is_named_with_its_command(name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=rf"pip install -e '\.\[{name}\]'"):
        loggers.check(Config(loggers=(name,)))


def test_a_configuration_with_loggers_is_read_as_it_was_written(tmp_path):
    session = LoggedRun(tmp_path, "tensorboard", own(Recorder))
    assert read_config(session.directory).loggers == ("tensorboard", own(Recorder))
    assert json.loads((session.directory / "config.json").read_text())["log_seeds"] == "apart"

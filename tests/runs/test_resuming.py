"""Going on with runs that were stopped, killed or moved."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import envs
from purejax_simba.config import CheckpointConfig, ConfigError
from purejax_simba.data.replay import TRUNCATED
from purejax_simba.data.rows import Rows
from purejax_simba.defaults import resolve
from purejax_simba.names import replace_values
from purejax_simba.runs import compiling, experiment, session
from purejax_simba.runs.checkpoint import STATE_DIRECTORY, Checkpoint, named_leaves, read_newest
from purejax_simba.runs.devices import Placement
from purejax_simba.runs.result_files import (
    HEADER,
    METRICS_FILE,
    copy_run,
    create_run_directory,
    read_config,
    read_diverged,
    read_returns,
    run_directory,
    write_config,
    write_diverged,
)
from purejax_simba.runs.runs import Snapshot, snapshot_shapes
from purejax_simba.runs.session_record import read_sessions
from purejax_simba.runs.starting import snapshot_of
from purejax_simba.training import make_program
from tests.helpers.logged import in_metrics, in_tensorboard
from tests.helpers.originals import need_warp
from tests.helpers.stopping import CONFIG, INTERVAL, STEPS, at_interactions, config
from tests.helpers.stored import numbers

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def compiled():
    """Steps of the whole run -> compiled program."""
    return {}


@pytest.fixture
def compiled_once(compiled, monkeypatch):
    """Equal runs share a compiled program, which is what takes time here."""
    compile_program = compiling.compile_program

    def compile_or_find(program, *arguments):
        kind = program.config.total_env_steps, program.config.agent
        if kind not in compiled:
            compiled[kind] = compile_program(program, *arguments)
        return compiled[kind]

    monkeypatch.setattr(compiling, "compile_program", compile_or_find)


def _results(directory: Path) -> tuple[str, dict[str, np.ndarray]]:
    return (directory / "metrics.csv").read_text(), read_newest(directory / STATE_DIRECTORY).arrays


def _assert_same(directory: Path, expected: Path) -> None:
    (text, arrays), (expected_text, expected_arrays) = map(_results, (directory, expected))
    assert text == expected_text
    assert arrays.keys() == expected_arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected_arrays[name], err_msg=name)


@pytest.mark.slow
def test_a_run_stopped_at_twenty_moments_is_as_one_that_never_was(compiled_once, tmp_path):
    straight = experiment.train(config(tmp_path / "straight"))
    generator = np.random.default_rng(0)
    moments = sorted(generator.choice(np.arange(1, STEPS), 20, replace=False).tolist())
    directory = tmp_path / "stopped" / CONFIG.experiment / CONFIG.task
    with at_interactions(moments, lambda: signal.raise_signal(signal.SIGTERM)):
        with pytest.raises(SystemExit) as stopped:
            experiment.train(config(tmp_path / "stopped"))
        assert stopped.value.code == 128 + signal.SIGTERM
        for _ in range(19):
            with pytest.raises(SystemExit):
                experiment.resume(directory)
        assert experiment.resume(directory) == directory
    assert moments == []
    _assert_same(directory, straight)


# Warp compiles kernels for minutes.
@pytest.mark.parametrize(
    "task",
    [
        pytest.param("dmc/hopper-hop", marks=pytest.mark.slow),
        pytest.param("dmc/dog-walk", marks=pytest.mark.exhaustive),
        pytest.param("humanoid_bench/h1-walk", marks=pytest.mark.exhaustive),
        pytest.param("myosuite/myo-key-turn", marks=pytest.mark.exhaustive),
    ],
)
def test_a_run_on_warp_that_was_stopped_is_as_one_that_never_was(task, tmp_path):
    need_warp()
    if missing := envs.spec(task).missing():
        pytest.skip(missing)
    changes = {"task": task, "physics": "warp", "episode_length": 40, "num_seeds": 2}
    changes |= {"action_repeat": 1, "num_evaluation_episodes": 1}
    straight = experiment.train(config(tmp_path / "straight", **changes))
    stop = at_interactions([150], lambda: signal.raise_signal(signal.SIGTERM))
    with stop, pytest.raises(SystemExit):
        experiment.train(config(tmp_path / "stopped", **changes))
    directory = tmp_path / "stopped" / CONFIG.experiment / task
    assert experiment.resume(directory) == directory
    _assert_same(directory, straight)


@pytest.mark.slow
def test_what_was_written_after_the_checkpoint_is_written_anew(compiled_once, tmp_path):
    straight = experiment.train(config(tmp_path / "straight"))

    class PowerCut(BaseException):
        pass

    def cut() -> None:
        raise PowerCut

    with at_interactions([150], cut), pytest.raises(PowerCut):
        experiment.train(config(tmp_path / "cut"))
    directory = tmp_path / "cut" / CONFIG.experiment / CONFIG.task
    with (directory / "metrics.csv").open("a") as file:
        file.write("simba_v2,Pendulum-v1,0,avg_re")
    experiment.resume(directory)
    _assert_same(directory, straight)


@pytest.mark.slow
def test_more_steps_and_another_output(compiled_once, monkeypatch, tmp_path):
    first = experiment.train(config(tmp_path / "first", total_env_steps=STEPS // 2))
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    longer = dataclasses.replace(
        read_config(first), total_env_steps=STEPS, output=str(tmp_path / "second")
    )
    second = experiment.resume(first, longer)
    assert second == tmp_path / "second" / CONFIG.experiment / CONFIG.task
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == before
    assert (second / "metrics.csv").read_bytes().startswith((first / "metrics.csv").read_bytes())
    steps = list(range(0, STEPS + 1, INTERVAL))
    assert {tuple(dict(points)) for points in read_returns(second).values()} == {tuple(steps)}
    # What made the first part is known there too.
    sessions = read_sessions(second)
    assert sessions[0] == read_sessions(first)[0]
    assert [session["first_env_step"] for session in sessions] == [0, STEPS // 2]
    # The replay holds all transitions of the longer run, those of the first part unchanged.
    width = 1 + 2 + 3  # an action, two numbers, an observation
    old, new = (
        numbers(Rows(_results(directory)[1]["state.replay.steps.blocks"], width))
        for directory in (first, second)
    )
    assert old.shape[1] < new.shape[1]
    np.testing.assert_array_equal(new[:, : STEPS // 2 + 1], old[:, : STEPS // 2 + 1])
    # Once more: nothing is left to do, and nothing is lost.
    monkeypatch.setattr(compiling, "compile_program", None)
    text = (second / "metrics.csv").read_text()
    experiment.resume(second)
    assert (second / "metrics.csv").read_text() == text


@pytest.mark.slow
@pytest.mark.parametrize("is_stopped_again", [False, True])
def test_without_the_replay_a_policy_fills_a_new_one(
    is_stopped_again, compiled_once, tmp_path, capsys
):
    without = CheckpointConfig(interval=60, replay=False)
    # A reset that falls due before there are updates again comes with the first of them.
    agent = dataclasses.replace(CONFIG.agent, reset_env_steps=(STEPS // 2 + 10,))
    half = {"checkpoint": without, "total_env_steps": STEPS // 2, "agent": agent}
    first = experiment.train(config(tmp_path, **half))
    arrays = _results(first)[1]
    assert not [name for name in arrays if name.startswith("state.replay")]
    updates = int(arrays["state.agent.updates"][0])
    longer = dataclasses.replace(read_config(first), total_env_steps=STEPS)
    start = STEPS // 2
    if is_stopped_again:  # before there are updates again, and after the reset fell due
        stop = at_interactions([start + 20], lambda: signal.raise_signal(signal.SIGTERM))
        with stop, pytest.raises(SystemExit):
            experiment.resume(first, longer)
        start = int(_results(first)[1]["counters.interactions"])
        assert STEPS // 2 + 10 < start < STEPS // 2 + CONFIG.learning_starts - 1
    experiment.resume(first, longer)
    assert "resumed, with new episodes" in capsys.readouterr().err
    later = _results(first)[1]
    assert later["counters.replay_start"] == start
    # No update before the new replay holds what the first one began with.
    missing = CONFIG.learning_starts - 1
    assert int(later["state.agent.updates"][0]) == updates + STEPS - start - missing
    assert int(later["state.agent.actor_optimizer.count"][0]) == STEPS - start - missing


@pytest.mark.slow
def test_environments_in_worker_processes_begin_new_episodes(tmp_path, capsys):
    task = "gymnasium/tests.helpers.host_environments:test/Counting-v0"
    counting = config(tmp_path, task=task, num_seeds=2, episode_length=7)
    with (
        at_interactions([100], lambda: signal.raise_signal(signal.SIGTERM)),
        pytest.raises(SystemExit),
    ):
        experiment.train(counting)
    directory = tmp_path / CONFIG.experiment / task
    stopped = _results(directory)[1]
    steps = int(stopped["counters.interactions"])
    capsys.readouterr()
    experiment.resume(directory)
    assert f"{steps} env steps: resumed, with new episodes" in capsys.readouterr().err
    arrays = _results(directory)[1]
    # An action, a reward, how the step ended, and an observation.
    rows = numbers(Rows(arrays["state.replay.steps.blocks"], 1 + 2 + 4))[..., 0, :]
    # An observation of this environment counts the steps of its episode.
    counts = rows[:, : STEPS + 1, 4]
    ending = rows[:, 1 : STEPS + 1, 2].astype(int)
    cut = ending >= TRUNCATED
    assert cut[:, steps - 1].all() and (counts[:, steps] == 0).all()
    assert (counts[:, 1:][~cut] == counts[:, :-1][~cut] + 1).all()
    assert (counts[:, 1:][cut] == 0).all()
    run, step = np.nonzero(cut)
    finals = numbers(Rows(arrays["state.replay.finals.blocks"], 4))[..., 0, 1]
    np.testing.assert_array_equal(finals[run, ending[cut] - TRUNCATED], counts[run, step] + 1)


REFUSED = {
    "task": ("dmc/cheetah-run", "--task was gymnax/Pendulum-v1 and is dmc/cheetah-run"),
    "num_seeds": (4, "--num-seeds was 3 and is 4"),
    "agent": (
        dataclasses.replace(CONFIG.agent, critic_hidden_dim=16),
        "--agent.critic-hidden-dim was 8 and is 16",
    ),
    "total_env_steps": (STEPS // 2, "give as many or more"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_a_run_does_not_go_on_as_another(compiled_once, monkeypatch, tmp_path, name):
    directory = experiment.train(config(tmp_path))
    before = (directory / "config.json").read_text()
    value, message = REFUSED[name]
    monkeypatch.setattr(compiling, "compile_program", None)
    with pytest.raises(ConfigError, match=message):
        experiment.resume(directory, dataclasses.replace(read_config(directory), **{name: value}))
    assert (directory / "config.json").read_text() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 1),
        ("physics", "mjx"),
        ("num_environments", 2),
        ("evaluation_interval", 30),
        ("num_evaluation_episodes", 3),
        ("learning_starts", 41),
        ("update_to_data_ratio", 2.0),
        ("discount", 0.5),
        ("normalize_observations", False),
        ("bound_returns", False),
        ("recipe", "paper"),
        ("agent.tau", 0.1),
        ("temperature.initial", 0.5),
        ("replay.capacity", 500),
        ("replay.n_step", 2),
        ("start.normalizers", False),
        ("experiment", "other"),
    ],
)
def test_whatever_changes_numbers_is_refused(name, value):
    config = resolve(CONFIG)
    experiment.check_differences(config, config)
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} was .* and is {value}"):
        experiment.check_differences(config, replace_values(config, {name: value}))


def test_what_changes_no_number_is_accepted():
    config = resolve(CONFIG)
    harmless = {"total_env_steps": 2 * STEPS, "output": "elsewhere", "checkpoint.keep": 5}
    harmless |= {"loggers": ("tensorboard",), "log_seeds": "together", "diagnostics": "none"}
    harmless |= {"checkpoint.replay": False, "devices_per_run": 2, "host_python": "elsewhere"}
    experiment.check_differences(config, replace_values(config, harmless))


def test_some_jobs_of_a_checkpoint_have_their_own_runs_and_sizes():
    notes = {"metrics_bytes": [10, 20, 30], "num_seeds": [2, 1, 3], "interactions": 7}
    arrays = {"state.agent.actor": np.arange(6), "counters.updates": np.int32(9)}
    chosen = Checkpoint(7, arrays, notes, []).of_jobs([0, 2])
    assert chosen.arrays["state.agent.actor"].tolist() == [0, 1, 3, 4, 5]
    assert chosen.arrays["counters.updates"] == 9
    assert chosen.notes == {"metrics_bytes": [10, 30], "num_seeds": [2, 3], "interactions": 7}


def test_of_the_results_so_far_those_of_the_checkpoint_are_copied(tmp_path):
    """Also where an interrupted beginning had copied some of them, but never over others."""
    (tmp_path / "old").mkdir()
    text = HEADER + b"mine,Pendulum-v1,0,avg_return,60,1.0\n"
    (tmp_path / "old" / METRICS_FILE).write_bytes(text + b"row after the checkpoint\n")
    write_diverged(tmp_path / "old", {0: 60})
    new = resolve(config(tmp_path / "new"))
    metrics = run_directory(new) / METRICS_FILE
    for there in (None, b"", text[:30], text):
        if there is not None:
            metrics.write_bytes(there)
        copy_run(tmp_path / "old", new, len(text))
        assert metrics.read_bytes() == text
        assert read_diverged(metrics.parent) == {0: 60}
    metrics.write_bytes(text + b"mine,Pendulum-v1,0,avg_return,120,1.0\n")
    with pytest.raises(ConfigError, match="already holds a run"):
        copy_run(tmp_path / "old", new, len(text))


def test_a_longer_replay_goes_on_with_all_that_the_shorter_one_held():
    """Without compiling anything: the arrays of a checkpoint, by name."""

    def snapshot(steps: int) -> tuple[Snapshot, dict[str, np.ndarray]]:
        program = make_program(dataclasses.replace(CONFIG, total_env_steps=steps))
        shapes = snapshot_shapes(program, Placement.choose(program).count)
        numbers = np.random.default_rng(0)
        arrays = {
            name: numbers.integers(1, 100, leaf.shape).astype(leaf.dtype)
            for name, leaf in named_leaves(shapes).items()
        }
        return shapes, arrays

    (_, arrays), (shapes, _) = snapshot(STEPS // 2), snapshot(STEPS)
    notes = {"replay": True, "interactions": STEPS // 2}
    longer = snapshot_of(Checkpoint(STEPS // 2, arrays, notes, []), shapes).named()
    assert longer.keys() == arrays.keys()
    changed = {name for name, old in arrays.items() if longer[name].shape != old.shape}
    rings = {"steps.blocks", "steps_to_final"}
    assert changed == {f"state.replay.{name}" for name in rings}
    # What comes next is kept in the places that are new.
    places = arrays["state.replay.steps_to_final"].shape[1]
    truncations = arrays["state.replay.truncations"]
    assert (truncations > places).any()
    arrays["state.replay.truncations"] = np.minimum(truncations, places)
    for name, old in arrays.items():
        held = longer[name][:, : old.shape[1]] if name in changed else longer[name]
        np.testing.assert_array_equal(held, old, err_msg=name)
        if name in changed:
            assert not longer[name][:, old.shape[1] :].any()


def test_the_limit_that_is_written_is_the_one_that_holds(monkeypatch, tmp_path):
    """Not a suite's default above the environment's own."""
    known = dataclasses.replace(envs.spec(CONFIG.task), episode_length=500)
    monkeypatch.setitem(envs.registry._specs, CONFIG.task, known)
    resolved = resolve(dataclasses.replace(CONFIG, episode_length=None))
    assert resolved.episode_length == 200
    write_config(tmp_path, resolved)
    with pytest.raises(ConfigError, match="no checkpoint"):
        experiment.resume(tmp_path)
    with pytest.raises(ConfigError, match="--episode-length was 200 and is 100"):
        experiment.resume(tmp_path, dataclasses.replace(resolved, episode_length=100))


@pytest.mark.slow
def test_what_has_no_checkpoint_cannot_go_on(compiled_once, monkeypatch, tmp_path):
    directory = experiment.train(config(tmp_path, checkpoint=CheckpointConfig(interval=0)))
    assert not (directory / STATE_DIRECTORY).exists()
    with pytest.raises(ConfigError, match="nothing to go on from: no checkpoint was written"):
        experiment.resume(directory)


@pytest.mark.parametrize(
    ("left", "changes", "is_begun_anew"),
    [
        ({}, {}, True),
        ({METRICS_FILE: HEADER}, {}, True),
        ({METRICS_FILE: HEADER[:9], "run.json": b"[]"}, {"num_seeds": 5}, True),
        ({METRICS_FILE: HEADER, "checkpoints/state/unfinished/a": b""}, {"seed": 5}, True),
        # The same would come of it again, of another configuration not.
        ({METRICS_FILE: HEADER + b"m,P,0,avg_return,0,1.0\nm,P,1,avg_re"}, {}, True),
        ({METRICS_FILE: HEADER + b"m,P,0,avg_return,0,1.0\n"}, {"seed": 5}, False),
        ({METRICS_FILE: HEADER + b"m,P,0,avg_return,60,1.0\n"}, {}, False),
        ({METRICS_FILE: b"something else"}, {}, False),
        ({METRICS_FILE: HEADER, "checkpoints/state/0/notes.json": b""}, {}, False),
        ({METRICS_FILE: HEADER, "checkpoints/policy/_METADATA": b""}, {}, False),
        ({"config.json": b"something else"}, {}, False),
    ],
)
def test_only_what_never_began_is_begun_anew(tmp_path, left, changes, is_begun_anew):
    begun = resolve(config(tmp_path))
    directory = create_run_directory(begun)
    for name, text in left.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(text)
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    again = dataclasses.replace(begun, **changes)
    if is_begun_anew:
        create_run_directory(again)
        assert not (directory / METRICS_FILE).exists() and read_config(directory) == again
    else:
        with pytest.raises(ConfigError, match="already holds a run"):
            create_run_directory(again)
        assert all(path.read_bytes() == text for path, text in before.items())


@pytest.mark.slow
def test_what_is_stopped_before_it_trains_goes_on_from_there(compiled_once, tmp_path, monkeypatch):
    evaluate = session.Session._evaluate

    def evaluate_and_stop(self) -> None:
        evaluate(self)
        if not self.interactions:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(session.Session, "_evaluate", evaluate_and_stop)
    with pytest.raises(SystemExit):
        experiment.train(config(tmp_path))
    directory = run_directory(config(tmp_path))
    assert read_newest(directory / STATE_DIRECTORY).env_step == 0
    # Which is not evaluated again.
    experiment.resume(directory)
    steps = [[step for step, _ in points] for points in read_returns(directory).values()]
    assert steps == [list(range(0, STEPS + 1, INTERVAL))] * CONFIG.num_seeds


KILLED = """
import os, signal, sys
from purejax_simba.runs import experiment
from tests.helpers.stopping import after_every_chunk, config
def die(training):
    if sys.argv[2] == "killed" and training.interactions >= 130:
        os.kill(os.getpid(), signal.SIGKILL)
task = dict(task=sys.argv[3], physics=sys.argv[4], action_repeat=1)
with after_every_chunk(die):
    experiment.train(config(sys.argv[1], **task))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "physics"), [("gymnax/Pendulum-v1", "auto"), ("dmc/cartpole-balance", "mujoco")]
)
def test_a_killed_run_is_as_one_that_never_was(tmp_path, task, physics):
    """Processes of their own, with a device per core."""

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, env=environment, cwd=tmp_path
        )

    for name in ("straight", "killed"):
        result = python("-c", KILLED, name, name, task, physics)
        assert result.returncode == (0 if name == "straight" else -signal.SIGKILL), result.stderr
    straight, killed = (
        tmp_path / name / CONFIG.experiment / task for name in ("straight", "killed")
    )
    result = python(
        "-c",
        "import pathlib; from purejax_simba.runs import experiment; "
        f"experiment.resume(pathlib.Path({str(killed)!r}))",
    )
    assert result.returncode == 0, result.stderr
    assert "resumed" in result.stderr
    _assert_same(killed, straight)


LOGGED = """
import json, os, pathlib, signal, sys
from purejax_simba.runs import experiment
from purejax_simba.config import CheckpointConfig
from tests.helpers.stopping import after_every_chunk, config
def die(training):
    if training.interactions >= 150:
        training.checkpoints.wait()
        os.kill(os.getpid(), signal.SIGKILL)
class Lines:
    def __init__(self, directory, config):
        self.path = pathlib.Path(directory) / "lines.txt"
    def write(self, run, env_step, metrics):
        with self.path.open("a") as file:
            print(json.dumps([run, env_step, metrics]), file=file, flush=True)
    def close(self):
        pass
if __name__ == "__main__":
    sys.modules["logged"] = sys.modules["__main__"]
    with after_every_chunk(die):
        experiment.train(config(
            sys.argv[1], num_seeds=2, task="gymnasium/Pendulum-v1", evaluation_interval=20,
            learning_starts=20, loggers=("tensorboard", "logged:Lines"),
            checkpoint=CheckpointConfig(interval=60, replay=sys.argv[2] == "replay")))
"""
RESUMED = """
import pathlib, sys
import logged
from purejax_simba.runs import experiment
experiment.resume(next(pathlib.Path(sys.argv[1]).rglob("config.json")).parent)
"""


@pytest.mark.slow
@pytest.mark.parametrize("replay", ["replay", "no-replay"])
def test_loggers_have_what_the_file_has_when_a_run_goes_on_otherwise(tmp_path, replay):
    """Environments in worker processes begin new episodes, so what came after is abandoned."""
    (tmp_path / "logged.py").write_text(LOGGED)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}"}

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words, str(tmp_path / "out"), replay]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    result = python(str(tmp_path / "logged.py"))
    assert result.returncode == -signal.SIGKILL, result.stderr
    (directory,) = [file.parent for file in tmp_path.rglob("config.json")]
    assert read_newest(directory / STATE_DIRECTORY).env_step == 120
    killed = in_metrics(directory)
    abandoned = {point: value for point, value in killed.items() if point[2] > 120}
    assert {step for _, _, step in abandoned} == {140}
    result = python("-c", RESUMED)
    assert result.returncode == 0 and "resumed, with new episodes" in result.stderr, result.stderr
    points = in_metrics(directory)
    assert {step for _, _, step in points} == set(range(0, STEPS + 1, 20))
    assert any(points.get(point) != value for point, value in abandoned.items())
    assert in_tensorboard(directory) == pytest.approx(points)
    lines = [json.loads(line) for line in (directory / "lines.txt").read_text().splitlines()]
    assert len({(run, step) for run, step, _ in lines}) == len(lines)
    handed = {
        (run, metric, step): value
        for run, step, metrics in lines
        for metric, value in metrics.items()
    }
    assert handed == points

"""Libraries whose environments live in worker processes: what they refuse, and training."""

import csv
import subprocess
import sys
from pathlib import Path

import gymnasium
import jax
import numpy as np
import pytest

import envs
from envs import HostOptions, TaskError
from tests.helpers.host_environments import LIMIT
from tests.helpers.host_play import SHAPE, play
from tests.helpers.host_processes import FAKES, ROOT, fake, play_on_host


@pytest.mark.parametrize(
    ("task_id", "advice"),
    [
        ("gymnasium/CartPole-v1", "Discrete actions; continuous ones (a Box) are needed"),
        ("gymnasium/Pendulm-v1", "did you mean gymnasium/Pendulum-v1"),
        ("gymnasium/nowhere:Pendulum-v1", "no module 'nowhere' here"),
        (f"{FAKES}Unbounded-v0", "RescaleAction"),
        (f"{FAKES}Words-v0", "Sequence observations, which have no fixed length"),
        (f"{FAKES}Unmakeable-v0", "raised RuntimeError: no screen"),
        (f"{FAKES}Draws-v0", "without a screen it needs MUJOCO_GL=egl"),
        ("envpool/Pendulum-v1", "pip install 'purejax_simba[envpool]'"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(task_id, advice, monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    with pytest.raises(TaskError) as error:
        envs.make(task_id)
    assert task_id.partition("/")[0] in str(error.value)
    assert advice in str(error.value)
    assert "\n" not in str(error.value)


def test_what_workers_cannot_import_is_refused():
    gymnasium.register("test/Local-v0", entry_point=lambda: None)
    with pytest.raises(TaskError, match="cannot be sent to worker processes"):
        envs.make("gymnasium/test/Local-v0")
    del gymnasium.registry["test/Local-v0"]


def test_a_time_limit_that_cannot_be_is_refused():
    with pytest.raises(TaskError, match="finite number above 0"):
        fake("Counting", host=HostOptions(time_limit=0.0))
    assert play_on_host(fake("Counting", host=HostOptions(time_limit=1e9)), 2).shape[0] == 2


def train(task: str, output: Path) -> tuple[subprocess.CompletedProcess[str], list[dict]]:
    """Two tiny runs by the command line: how it ended, and the rows of its results."""
    sizes = (
        "--num-seeds 2 --num-environments 2 --total-env-steps 400 --evaluation-interval 200 "
        "--num-evaluation-episodes 2 --learning-starts 60 --experiment tiny "
        "--agent.actor-hidden-dim 8 --agent.critic-hidden-dim 8 --agent.critic-num-blocks 1 "
        "--agent.num-bins 11 --agent.num-critics 1 --replay.batch-size 16"
    )
    command = [sys.executable, str(ROOT / "train.py"), "--task", task, *sizes.split()]
    result = subprocess.run(
        [*command, "--output", str(output)], cwd=ROOT, capture_output=True, text=True
    )
    with (output / "tiny" / task / "metrics.csv").open(newline="") as file:
        return result, list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gymnasium", "envpool"])
def test_pendulum_trains(family, tmp_path):
    pytest.importorskip(family)
    result, rows = train(f"{family}/Pendulum-v1", tmp_path)
    assert result.returncode == 0, result.stderr
    returns = [float(row["value"]) for row in rows if row["metric"] == "avg_return"]
    assert len(returns) == 2 * 3
    assert all(-17 * 200 < value < 0 for value in returns)
    assert {float(row["value"]) for row in rows if row["metric"] == "avg_length"} == {200.0}
    losses = [row["env_step"] for row in rows if row["metric"] == "critic_loss"]
    assert losses == ["200", "200", "400", "400"]


@pytest.mark.slow
def test_a_dead_worker_ends_training_in_one_line_and_keeps_the_results(tmp_path):
    result, rows = train(f"{FAKES}DiesLate-v0", tmp_path)
    assert result.returncode == 1
    error = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and result.stderr.endswith(f"{error[0]}\n")
    assert "ended its worker process (exit status 7) at step 5" in error[0]
    assert "Traceback" not in result.stderr
    lengths = [float(row["value"]) for row in rows if row["metric"] == "avg_length"]
    assert lengths[:2] == [LIMIT, LIMIT]


def test_envpool_says_nothing_of_its_own_boxes(capfd):
    pytest.importorskip("envpool")
    envs.make("envpool/Pendulum-v1").unwrapped.close()
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_envpool_is_that_of_its_own_interface():
    envpool = pytest.importorskip("envpool")
    steps = 401
    actions = jax.random.uniform(jax.random.key(1), (steps, *SHAPE, 1), minval=-1.0)
    played = play(envs.make("envpool/Pendulum-v1"), actions)
    flat = jax.tree.map(lambda x: x.reshape(x.shape[0], 4, *x.shape[3:]), played.timesteps)
    seeds = played.seeds[0].ravel().tolist()
    pool = envpool.make("Pendulum-v1", env_type="gymnasium", num_envs=4, seed=seeds)
    observation, _ = pool.reset()
    np.testing.assert_array_equal(played.first.reshape(4, -1), observation)
    actions = 2 * np.asarray(actions).reshape(steps, 4, 1)
    for step in range(steps):
        observation, reward, terminated, truncated, _ = pool.step(actions[step])
        np.testing.assert_array_equal(flat.observation[step], observation)
        np.testing.assert_array_equal(flat.reward[step], reward.astype(np.float32))
        np.testing.assert_array_equal(flat.terminated[step], terminated)
        np.testing.assert_array_equal(flat.truncated[step], truncated)
        if truncated.any():
            assert truncated.all()
            observation, _ = pool.reset()
        np.testing.assert_array_equal(played.following[step].reshape(4, -1), observation)
    assert flat.truncated.sum() == 2 * 4

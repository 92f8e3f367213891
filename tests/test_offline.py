"""Training from a dataset: updates, counts, results, going on, and what is refused."""

import csv
import dataclasses
import json
import signal
import sys
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba import offline
from purejax_simba.agents.agent import Batch, Noise
from purejax_simba.config import Config, ConfigError, OfflineConfig, ReplayConfig
from purejax_simba.datasets import __main__ as record_command
from purejax_simba.datasets import d4rl, minari_format
from purejax_simba.datasets.dataset import Dataset, Origin
from purejax_simba.datasets.recording import play, record_run
from purejax_simba.report import reading
from purejax_simba.run_state import Counters
from purejax_simba.runs import compiling, experiment, memory, session
from purejax_simba.runs.checkpoint import STATE_DIRECTORY, read_newest
from purejax_simba.runs.compiling import CompiledProgram, Compiler
from purejax_simba.runs.devices import Placement
from purejax_simba.runs.runs import Runs
from purejax_simba.sweep.grouping import group, resolve_all
from tests.helpers import linear, tiny
from tests.helpers.reference_runs import assert_close

TASK = "gymnax/Pendulum-v1"
SIZE, EPISODE, BATCH, EPOCHS = 400, 20, 16, 4
RANDOM, EXPERT = -120.0, -20.0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """A file of made-up transitions, of the sizes that the task has."""
    random = np.random.default_rng(0)
    ended = np.arange(1, SIZE + 1) % EPISODE == 0
    path = tmp_path_factory.mktemp("data") / "data.hdf5"
    made = Dataset(
        "made here",
        observation=random.normal(3.0, 2.0, (SIZE, 3)).astype(np.float32),
        action=random.uniform(-1.0, 1.0, (SIZE, 1)).astype(np.float32),
        reward=random.normal(size=SIZE).astype(np.float32),
        terminated=ended & (random.random(SIZE) < 0.5),
        ended=ended,
        next_observation=random.normal(3.0, 2.0, (SIZE, 3)).astype(np.float32),
        origin=Origin(TASK, 1, EPISODE, RANDOM, EXPERT),
    )
    d4rl.write(path, made)
    return path


def _config(dataset: Path, epochs: int = EPOCHS, **changes) -> Config:
    return Config(
        offline=OfflineConfig(str(dataset), epochs),
        num_seeds=2,
        num_evaluation_episodes=2,
        agent=tiny.AGENT,
        replay=ReplayConfig(batch_size=BATCH),
        **changes,
    )


@pytest.fixture(scope="module")
def compiled() -> list[CompiledProgram]:
    """The program of linear agents, once it is compiled."""
    return []


@pytest.fixture
def linear_agents(monkeypatch, compiled):
    """Agents that compile in no time, where networks do not matter, and no more than once."""
    compile_program = compiling.compile_program

    def compile_or_find(*arguments) -> CompiledProgram:
        if not compiled:
            compiled.append(compile_program(*arguments))
        return compiled[0]

    monkeypatch.setattr(offline, "make_agent", linear.make_agent)
    monkeypatch.setattr(compiling, "compile_program", compile_or_find)


def test_the_published_setting_is_the_default(dataset):
    program = compiling.make_program(Config(offline=OfflineConfig(str(dataset))))
    config, numbers = program.config, program.hyperparameters()
    assert (config.task, config.agent.num_critics, config.batch_size) == (TASK, 2, 256)
    assert config.agent.behaviour_cloning_weight == 0.1
    assert config.num_evaluation_episodes == 100
    fewer = Config(offline=OfflineConfig(str(dataset)), num_evaluation_episodes=7)
    assert compiling.make_program(fewer).config.num_evaluation_episodes == 7
    # 100 epochs of one batch.
    assert (config.interactions, config.interactions_per_evaluation) == (100, 10)
    for updates, rate in ((0, 1e-4), (25, 5.5e-5), (50, 1e-5), (99, 1e-5)):
        assert float(numbers.learning_rate_at(jnp.int32(updates))) == pytest.approx(rate)


def test_published_datasets_are_evaluated_on_the_native_task(tmp_path):
    random = np.random.default_rng(0)
    path = tmp_path / "hopper_medium-v2.hdf5"
    rows = 30
    with h5py.File(path, "w") as file:
        file["observations"] = random.normal(size=(rows, 11))
        file["actions"] = random.uniform(-1.0, 1.0, (rows, 3))
        file["rewards"] = random.normal(size=rows)
        file["terminals"], file["timeouts"] = np.zeros(rows, bool), np.arange(rows) == 19
    config = compiling.make_program(Config(offline=OfflineConfig(str(path)))).config
    assert (config.task, config.discount) == ("mujoco/Hopper-v4", 0.995)
    # Without successors of the step at the time limit and of the last one.
    assert config.offline.transitions == rows - 2
    assert config.num_evaluation_episodes == 100
    assert config.offline.normalized_score(3234.3) == pytest.approx(100.0)
    assert config.offline.normalized_score(-20.272305) == pytest.approx(0.0)


def test_one_update_is_that_of_the_agent_on_the_same_batch(dataset, linear_agents):
    program = compiling.make_program(_config(dataset))
    (transitions,) = jax.tree.map(jnp.asarray, program.data)
    numbers = program.hyperparameters()
    before = jax.jit(program.init)(jax.random.key(0), numbers, transitions)
    advance = jax.jit(program.advance)
    counters, after = advance(Counters.create(), before, numbers, jnp.int32(1), transitions)
    assert (counters.interactions, counters.updates, after.agent.updates) == (1, 1, 1)

    fold = jax.random.fold_in
    key = fold(before.key, 0)
    sample_key, noise_key, own_key = (fold(fold(key, number), 0) for number in range(3))
    drawn = transitions.sample(sample_key, BATCH, numbers.discount)
    # Statistics in float64; the prior of weight 1e-4 is below the bound.
    data = d4rl.read(dataset)
    seen = data.next_observation.astype(np.float64)
    seen[data.terminated] = 0.0
    rows, last = [], np.zeros(BATCH)
    for first in range(0, SIZE, BATCH):
        batch_rows = slice(first, first + BATCH)
        kept = float(numbers.discount) * ~data.ended[batch_rows]
        last = data.reward[batch_rows] + kept * last
        rows.append(last)
    returns = np.concatenate(rows)
    scale = max(np.std(returns), np.abs(returns).max() / float(numbers.value_range))

    def normalise(x: jax.Array) -> jax.Array:
        return jnp.float32((np.asarray(x, np.float64) - seen.mean(0)) / seen.std(0))

    batch = Batch(
        observation=normalise(drawn.observation),
        action=drawn.action,
        reward=drawn.reward / scale,
        discount=drawn.discount,
        next_observation=normalise(drawn.next_observation),
    )
    normal = jax.random.normal(noise_key, (2, BATCH, 1))
    noise = Noise(normal[0], normal[1], own_key)
    expected, metrics, _ = jax.jit(program.agent.update)(
        before.agent, batch, noise, numbers, jnp.int32(0)
    )
    assert_close(after.agent, expected, 1e-4)
    assert_close(after.progress.update_sums, metrics, 1e-4)
    # What is reported is of the updates since the last evaluation.
    interval, state = SIZE // BATCH, after
    for count, summed in ((interval - 1, interval), (1, 1), (interval - 1, interval)):
        counters, state = advance(counters, state, numbers, jnp.int32(count), transitions)
        assert int(state.progress.updates) == summed


def test_a_published_dataset_is_read_and_normalised_as_published(tmp_path, linear_agents):
    random = np.random.default_rng(1)
    rows, batch = 203, 16
    stream = random.normal(3.0, 2.0, (rows + 1, 11)).astype(np.float32)
    file_arrays = {
        "observations": stream[:-1],
        "actions": random.uniform(-1.0, 1.0, (rows, 3)).astype(np.float32),
        "rewards": random.normal(1.0, 1.0, rows).astype(np.float32),
        "terminals": random.random(rows) < 0.1,
        "timeouts": random.random(rows) < 0.1,
        "next_observations": stream[1:],
    }
    file_arrays["terminals"][-1] = file_arrays["timeouts"][5] = file_arrays["terminals"][5] = True
    path = tmp_path / "hopper_medium-v2.hdf5"
    with h5py.File(path, "w") as file:
        for key, array in file_arrays.items():
            file[key] = array
    # Step by step: what a time limit cut and the last row are left out, and the successor of a
    # termination is zeros.
    steps = []
    for i in range(rows - 1):
        terminated, truncated = file_arrays["terminals"][i], file_arrays["timeouts"][i]
        if terminated:
            successor = np.zeros(11)
        elif truncated:
            continue
        else:
            successor = stream[i + 1].astype(np.float64)
        done = bool(terminated or truncated)
        steps.append((float(file_arrays["rewards"][i]), done, successor))
    whole = len(steps) // batch * batch
    successors = np.stack([step[2] for step in steps[:whole]])
    returns, gamma = np.zeros(batch), 0.995
    all_returns = []
    for first in range(0, whole, batch):
        for place in range(batch):
            reward, done, _ = steps[first + place]
            returns[place] = reward + gamma * (0.0 if done else returns[place])
        all_returns.append(returns.copy())
    config = dataclasses.replace(
        Config(offline=OfflineConfig(str(path)), agent=tiny.AGENT),
        replay=ReplayConfig(batch_size=batch),
    )
    program = compiling.make_program(config)
    assert program.config.offline.transitions == len(steps) < rows - 10
    (transitions,) = jax.tree.map(jnp.asarray, program.data)
    state = jax.jit(program.init)(jax.random.key(0), program.hyperparameters(), transitions)
    moments = state.observation_moments
    np.testing.assert_allclose(moments.mean.high, successors.mean(0), rtol=1e-4)
    np.testing.assert_allclose(moments.variance, successors.var(0), rtol=1e-4)
    bound = np.abs(all_returns).max() / 5.0
    expected = max(np.std(all_returns), bound)
    np.testing.assert_allclose(state.reward_scale.denominator(5.0), expected, rtol=1e-4)


@pytest.mark.slow
def test_all_runs_share_one_copy_of_the_data_on_each_device(dataset, linear_agents):
    program = compiling.make_program(_config(dataset))
    placement = Placement.choose(program)
    inputs = placement.inputs
    data = program.data
    states = jax.eval_shape(jax.vmap(program.init, (0, 0, None)), *inputs, *data)
    traced = jax.make_jaxpr(jax.vmap(program.advance, (None, 0, 0, None, None), (None, 0)))(
        Counters.create(), states, inputs.hyperparameters, jnp.int32(1), *data
    )
    rows, size = data[0].observation.shape
    assert f"[{rows},{size}]" in str(traced)
    assert f"[2,{rows},{size}]" not in str(traced)
    runs = Runs(Compiler(program), placement)
    for leaf in jax.tree.leaves(runs._data):
        assert [shard.data.shape for shard in leaf.addressable_shards] == [
            leaf.shape for _ in placement.mesh.devices
        ]


def _rows(directory: Path) -> list[dict[str, str]]:
    with (directory / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_is_counted_in_updates_and_scored(dataset, linear_agents, tmp_path):
    directory = experiment.train(_config(dataset, output=str(tmp_path)))
    assert directory == tmp_path / "simba_v2" / TASK
    rows = _rows(directory)
    values = {
        metric: {
            (row["seed"], int(row["env_step"])): float(row["value"])
            for row in rows
            if row["metric"] == metric
        }
        for metric in ("avg_return", "avg_normalized_return", "critic_loss")
    }
    updates = SIZE // BATCH
    assert {step for _, step in values["critic_loss"]} == {updates * (n + 1) for n in range(EPOCHS)}
    for place, episode_return in values["avg_return"].items():
        score = 100.0 * (episode_return - RANDOM) / (EXPERT - RANDOM)
        assert values["avg_normalized_return"][place] == pytest.approx(score)
    recorded = json.loads((directory / "config.json").read_text())
    assert recorded["offline"]["transitions"] == SIZE
    (run,) = reading.read([directory]).runs
    assert run.total_steps == run.env_step == EPOCHS * updates


def test_a_run_that_was_stopped_goes_on_as_if_it_never_was(
    dataset, linear_agents, monkeypatch, tmp_path
):
    straight = experiment.train(_config(dataset, output=str(tmp_path / "straight")))
    # In between two evaluations, and at one.
    show, stops = session.Session._show, [1, SIZE // BATCH]

    def stop(self, *arguments) -> None:
        show(self, *arguments)
        if stops and self.interactions >= stops[0]:
            stops.pop(0)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(session.Session, "_show", stop)
    with pytest.raises(SystemExit) as stopped:
        experiment.train(_config(dataset, output=str(tmp_path / "stopped")))
    assert stopped.value.code == 128 + signal.SIGTERM
    directory = tmp_path / "stopped" / "simba_v2" / TASK
    with pytest.raises(SystemExit):
        experiment.resume(directory)
    assert read_newest(directory / STATE_DIRECTORY).env_step == SIZE // BATCH
    experiment.resume(directory)
    assert _rows(directory) == _rows(straight)
    ours, theirs = (read_newest(d / STATE_DIRECTORY).arrays for d in (directory, straight))
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)


def test_members_of_a_sweep_that_differ_in_numbers_share_a_program(dataset):
    base = _config(dataset)
    changed = dataclasses.replace(base.agent, behaviour_cloning_weight=0.4, learning_rate=1e-3)
    configs = resolve_all([base, dataclasses.replace(base, agent=changed)])
    assert group(configs) == [[0, 1]]
    assert [c.agent.learning_rate_end for c in configs] == [1e-5, 1e-4]


def test_a_dataset_that_does_not_fit_is_refused_with_advice(dataset, monkeypatch):
    program = compiling.make_program(_config(dataset))
    monkeypatch.setattr(memory, "_available_bytes", lambda: 1000)
    with pytest.raises(ConfigError, match="record a smaller dataset") as refused:
        memory.check_memory(program, 1, 2)
    assert str(dataset) in str(refused.value)


def test_what_is_played_is_what_the_environment_does():
    environment = compiling.make_program(Config(TASK, episode_length=EPISODE)).environment

    def policy(observation: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.tanh(observation[:, :1] + jax.random.normal(key, (len(observation), 1)))

    steps = jax.jit(lambda key: play(environment, policy, key, 3))(jax.random.key(0))
    assert steps["observation"].shape == (EPISODE, 3, 3)
    assert steps["counts"].all()
    np.testing.assert_array_equal(steps["next_observation"][:-1], steps["observation"][1:])
    np.testing.assert_array_equal(np.asarray(steps["ended"]).sum(0), [1, 1, 1])
    assert steps["ended"][-1].all() and not steps["terminated"].any()
    # Pendulum's reward, from its observation (cos, sin, speed) and torque in [-2, 2].
    cosine, sine, speed = np.moveaxis(np.asarray(steps["observation"], np.float64), -1, 0)
    torque = 2.0 * np.asarray(steps["action"], np.float64)[..., 0]
    expected = -(np.arctan2(sine, cosine) ** 2 + 0.1 * speed**2 + 0.001 * torque**2)
    np.testing.assert_allclose(steps["reward"], expected, rtol=1e-4, atol=1e-4)


def test_a_seed_of_episodes_that_is_another_ones_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--seed is 4294967296"):
        record_run(tmp_path, 1, 0.0, None, 2**32, "mine")


@pytest.mark.slow
@pytest.mark.optimised
def test_a_dataset_of_our_own_policy_trains_to_its_return(monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    agent = dataclasses.replace(
        tiny.AGENT, actor_hidden_dim=32, critic_hidden_dim=32, num_bins=51, learning_rate=1e-3
    )
    shared = {"agent": agent, "num_seeds": 2, "replay": ReplayConfig(batch_size=128)}
    online = Config(
        TASK,
        total_env_steps=6_000,
        evaluation_interval=6_000,
        learning_starts=500,
        output=str(tmp_path / "online"),
        **shared,
    )
    directory = experiment.train(online)
    monkeypatch.setattr(
        sys, "argv", ["datasets", str(directory), "--output", "minari/pendulum/mine"]
    )
    assert record_command.main() == 0
    origin = minari_format.read("minari/pendulum/mine-v0").origin
    assert (origin.episode_length, origin.observations) == (200, "3")
    # So near to the data's actions no seed strays for a while, which depends on the machine.
    near = dataclasses.replace(agent, behaviour_cloning_weight=1.0)
    trained = experiment.train(
        Config(
            offline=OfflineConfig("minari/pendulum/mine-v0", epochs=40, evaluation_interval=10),
            num_evaluation_episodes=50,
            output=str(tmp_path / "offline"),
            **shared | {"agent": near},
        )
    )
    rows = [row for row in _rows(trained) if row["metric"] == "avg_normalized_return"]
    # Of the last three evaluations, seed by seed.
    last = np.array([float(row["value"]) for row in rows[-6:]]).reshape(3, 2)
    # 0 is the return of random actions, and 100 that of the policy.
    assert last.mean(0).min() >= 90.0

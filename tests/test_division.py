"""One run divided among devices: the numbers of one device that has everything."""

import dataclasses
import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.host_call import host_call
from purejax_simba.agents.crossq import BatchRenorm
from purejax_simba.agents.simba_v2 import SimbaV2
from purejax_simba.config import Config, ConfigError, ReplayConfig
from purejax_simba.defaults import resolve
from purejax_simba.division import divide, per_device
from purejax_simba.run_state import RunState
from purejax_simba.runs import memory
from purejax_simba.runs.compiling import Compiler
from purejax_simba.runs.devices import PER_RUN, SHARED, Placement, divided_runs, make_mesh, map_runs
from purejax_simba.runs.runs import Runs
from purejax_simba.training import make_program, make_train
from tests.helpers import tiny
from tests.helpers.several_devices import COLLECTIVES, assert_near

DEVICES = 4
CONFIG = Config(
    task="gymnax/Pendulum-v1",
    num_seeds=2,
    num_environments=8,
    total_env_steps=8000,
    evaluation_interval=400,
    num_evaluation_episodes=4,
    episode_length=20,
    learning_starts=160,
    update_to_data_ratio=0.125,
    agent=dataclasses.replace(tiny.AGENT, num_critics=2, behaviour_cloning_weight=1.0),
    replay=ReplayConfig(capacity=8000, batch_size=16, n_step=2),
)
# Interactions; of those before the first update; and of all.
BEFORE_UPDATES, ALL = 18, 30


def test_on_devices_of_a_small_run():
    """In a process of its own, which alone can have so many."""
    tiny.run_module("tests.test_division", "compare_steps", "compare_batch_statistics")


@pytest.mark.slow
def test_on_devices():
    tiny.run_module("tests.test_division", "compare_agents")


def compare_steps() -> None:
    """Environments on the host, a ring of what they say, gradients of draws from it."""
    environments, rows, batch_size = 8, 64, 16
    calls = []

    def respond(row: np.ndarray) -> np.ndarray:
        calls.append(len(row))
        return np.cos(row)

    def until_small(x: jax.Array) -> jax.Array:
        return jax.lax.while_loop(lambda x: jnp.abs(x).max() > 0.5, lambda x: 0.5 * x, x)

    def step(x: jax.Array) -> jax.Array:
        return until_small(host_call(respond, x, 3, jnp.float32))

    def advance(time: jax.Array, state: Any, key: jax.Array) -> Any:
        def body(time: jax.Array, state: Any) -> Any:
            ring, x, weight = state
            noise_key, draw_key = jax.random.split(jax.random.fold_in(key, time))
            x = per_device(jax.vmap(step))(x * weight + jax.random.normal(noise_key, x.shape))
            ring = jax.lax.dynamic_update_index_in_dim(ring, x, time % rows, 0)
            limits = jnp.array([[rows], [environments]])
            row, environment = jax.random.randint(draw_key, (2, batch_size), 0, limits)
            batch = divide(ring[row, environment])
            gradient = jax.grad(lambda w: jnp.mean((batch @ w - 1.0) ** 2))(weight)
            return ring, x, weight - 0.1 * gradient + 0.1 * x.mean(0)

        return jax.lax.fori_loop(0, time, body, state)

    results = []
    for devices_per_run in (1, 2):
        mesh = make_mesh(2, devices_per_run)
        assert mesh.devices.size == 2 * devices_per_run
        specs = divided_runs((1, 0, -1), mesh)
        state = (
            np.zeros((2, rows, environments, 3), np.float32),
            np.ones((2, environments, 3), np.float32),
            np.ones((2, 3), np.float32),
        )
        keys = jax.random.split(jax.random.key(0), 2)
        compiled = map_runs(advance, mesh, (SHARED, specs, PER_RUN), specs, donate=(1,))
        compiled = compiled.lower(np.int32(5), state, keys).compile()
        calls.clear()
        results.append(jax.device_get(compiled(np.int32(5), state, keys)))
        assert set(calls) == {environments // devices_per_run}
        sizes = sizes_sent(compiled.as_text(), mesh)
        assert bool(sizes) == (devices_per_run > 1)
        assert max(sizes, default=0) < rows * environments, "the ring stays where it is"
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def compare_batch_statistics() -> None:
    """Batches are normalised as a whole, and gradients pass through their statistics."""
    draw = np.random.default_rng(2).standard_normal
    x, slopes = 2.0 + draw((2, 16, 3), np.float32), draw((2, 16, 3), np.float32)
    layer = BatchRenorm(warm_up=0)
    variables = layer.init(jax.random.key(0), x[0], train=True)

    def gradient(x: jax.Array, slopes: jax.Array) -> Any:
        def loss(factor: jax.Array) -> tuple[jax.Array, Any]:
            y, changed = layer.apply(variables, divide(x) * factor, True, mutable=["batch_stats"])
            return (slopes * y**2).mean(), changed

        return jax.grad(loss, has_aux=True)(jnp.arange(1.0, 4.0))

    results = []
    for count in (1, DEVICES):
        mapped = map_runs(gradient, make_mesh(2, count), (PER_RUN, PER_RUN))
        results.append(jax.device_get(mapped(x, slopes)))
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


def sizes_sent(text: str, mesh: jax.sharding.Mesh) -> list[int]:
    """Elements of what a compiled program sends, which only devices of the same run do."""
    sizes = []
    groups = mesh.device_ids.reshape(len(mesh.devices), -1)
    known = {
        f"[{groups.shape[0]},{groups.shape[1]}]<=[{groups.size}]",
        str(groups.tolist()).replace(" ", "").replace("[", "{").replace("]", "}"),
    }
    for line in text.splitlines():
        sent = re.search(rf"= (.*?) ({COLLECTIVES.pattern})[a-z-]*\(", line)
        if sent is None:
            continue
        for group in re.findall(r"replica_groups=(\S+),", line):
            assert group in known, line
        for pair in re.findall(r"{(\d+),(\d+)}", line.partition("source_target_pairs=")[2]):
            assert any(set(map(int, pair)) <= set(group) for group in groups.tolist()), line
        for shape in re.findall(r"\[([\d,]*)\]", sent[1]):
            sizes.append(int(np.prod([int(n) for n in shape.split(",") if n])))
    return sizes


def make_runs(devices_per_run: int) -> Runs:
    """Compiled runs, each on so many devices."""
    program = make_program(dataclasses.replace(CONFIG, devices_per_run=devices_per_run))
    return Runs(Compiler(program), Placement.choose(program))


def compare_agents() -> None:
    """Trains on one device per run and on two, and goes from one to two on the way."""
    whole, divided = make_runs(1), make_runs(2)
    assert divided.placement.mesh.devices.shape == (2, 2)
    replay = divided.get(lambda state: state.replay.steps.blocks)
    sizes = sizes_sent(divided.compiled.advance.as_text(), divided.placement.mesh)
    assert 0 < max(sizes) < replay.size // DEVICES, "the replay stays where it is"

    snapshots = []
    for runs in (whole, divided):
        runs.advance(BEFORE_UPDATES)
        snapshots.append(runs.snapshot())
    # Every environment and every random action is the same one.
    for name in ("environment", "replay", "key"):
        pair = [jax.tree.leaves(getattr(snapshot.state, name)) for snapshot in snapshots]
        for one, other in zip(*pair, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)

    for runs in (whole, divided):
        runs.advance(ALL - BEFORE_UPDATES)
    expected = learned(whole)
    assert (expected[0].updates > 0).all()
    assert_near(learned(divided), expected)
    assert_near(divided.evaluate(), whole.evaluate())
    assert_near(divided.diagnose(), whole.diagnose())
    assert_same_everywhere(divided._states[0])
    divided = Runs(divided.compiler, divided.placement, snapshots[0])
    divided.advance(ALL - BEFORE_UPDATES)
    assert_near(learned(divided), expected)


def learned(runs: Runs) -> Any:
    """What depends on everything before, without what is nothing but rounding."""
    state = runs.snapshot().state
    moments = (state.observation_moments, state.reward_scale.moments)
    high = [(each.mean.high, each.squares.high, each.count) for each in moments]
    return state.agent, state.environment.observation, state.replay, state.progress, high


def assert_same_everywhere(state: RunState) -> None:
    """All devices that hold the same numbers of a run hold them bit for bit."""
    for leaf in jax.tree.leaves((state.agent, state.observation_moments, state.progress.updates)):
        shards: dict[str, np.ndarray] = {}
        for shard in leaf.addressable_shards:
            first = shards.setdefault(str(shard.index), np.asarray(shard.data))
            np.testing.assert_array_equal(first, shard.data)
        assert len(shards) < len(leaf.addressable_shards)


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"num_environments": 2}, "--num-environments 2 is no multiple of 4 .*: give 4"),
        ({"num_evaluation_episodes": 6}, "--num-evaluation-episodes 6 is no multiple of 4"),
        ({"replay": ReplayConfig(capacity=320, batch_size=10)}, "--replay.batch-size 10 is no"),
        ({"devices_per_run": 0}, "--devices-per-run is 0"),
    ],
)
def test_what_cannot_be_divided_is_refused(changes, advice):
    config = dataclasses.replace(CONFIG, **{"devices_per_run": 4} | changes)
    with pytest.raises(ConfigError, match=advice) as refused:
        resolve(config)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("count", [16, 4])
def test_devices_that_are_not_there_are_refused(monkeypatch, count):
    monkeypatch.setattr(jax, "local_devices", lambda: [object()] * 6)
    advice = "not divide the 6 device.* give one of 1, 2, 3, 6"
    with pytest.raises(ConfigError, match=advice) as refused:
        make_mesh(1, count)
    assert "\n" not in str(refused.value)


def test_a_function_for_any_device_is_of_whole_runs():
    with pytest.raises(ConfigError, match="give devices_per_run=1"):
        make_train(dataclasses.replace(CONFIG, devices_per_run=2))


def test_memory_of_a_device(monkeypatch):
    """A device holds a part of the replay, and everything that is learned."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    agent = SimbaV2(critic_hidden_dim=256, num_critics=2)
    replay = ReplayConfig(capacity=8000, batch_size=256)
    whole = make_program(dataclasses.replace(CONFIG, agent=agent, replay=replay))
    divided = make_program(dataclasses.replace(whole.config, devices_per_run=4))
    one, four = memory.bytes_per_run(whole), memory.bytes_per_run(divided)
    assert one["replay"] == four["replay"]
    assert 4 * one["parameters"] == four["parameters"]
    # What four devices need together is what they share of it each.
    needed = sum(four.values()) / 4
    monkeypatch.setattr(memory, "_available_bytes", lambda: int(needed * 1.01))
    assert memory.check_memory(divided, 4, 1, 1) == sum(four.values())
    with pytest.raises(ConfigError):
        memory.check_memory(whole, 1, 1, 1)
    with pytest.raises(ConfigError, match="give --num-seeds 2 or"):
        memory.check_memory(divided, 8, 3, 3)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", DEVICES)
    for name in sys.argv[1:]:
        globals()[name]()

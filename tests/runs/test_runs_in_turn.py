"""Runs side by side and in turn."""

import dataclasses
from unittest import mock

import jax
import numpy as np
import pytest

from purejax_simba.config import Config, ReplayConfig
from purejax_simba.defaults import resolve
from purejax_simba.runs import devices
from purejax_simba.runs.compiling import Compiler
from purejax_simba.runs.devices import join_runs, make_mesh, runs_at_a_time, split_runs
from purejax_simba.runs.runs import Runs
from purejax_simba.training import make_program
from tests.helpers import tiny

RUNS = 4
CONFIG = Config(
    task="gymnax/Pendulum-v1",
    num_seeds=RUNS,
    total_env_steps=80,
    evaluation_interval=40,
    num_evaluation_episodes=2,
    episode_length=20,
    learning_starts=30,
    diagnostics="none",
    agent=dataclasses.replace(tiny.AGENT, num_critics=1),
    replay=ReplayConfig(capacity=60, batch_size=16),
)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_groups_come_back_in_order(size):
    tree = {"a": np.arange(8.0).reshape(4, 2), "b": np.arange(4)}
    groups = split_runs(tree, size, make_mesh(size))
    assert len(groups) == 4 // size
    jax.tree.map(np.testing.assert_array_equal, join_runs(jax.device_get(groups), 4), tree)


def test_every_run_has_the_key_and_the_numbers_of_its_seed():
    configs = [
        resolve(dataclasses.replace(CONFIG, seed=seed, num_seeds=count, discount=discount))
        for seed, count, discount in ((5, 2, 0.9), (40, 1, 0.8))
    ]
    inputs = devices.make_inputs(configs, action_size=1)
    expected = [jax.random.key_data(jax.random.key(seed)) for seed in (5, 6, 40)]
    np.testing.assert_array_equal(jax.random.key_data(inputs.keys), np.stack(expected))
    np.testing.assert_allclose(inputs.hyperparameters.discount, [0.9, 0.9, 0.8])


@pytest.mark.slow
def test_in_turn_is_side_by_side():
    """On two devices, which only a process of its own can have."""
    tiny.run_module("tests.runs.test_runs_in_turn")


def compare_groups() -> None:
    """Trains in groups of four and of two runs."""
    assert jax.local_device_count() == 2
    results = []
    for at_a_time in (RUNS, RUNS // 2):
        program = make_program(CONFIG)
        with mock.patch.object(devices, "runs_at_a_time", lambda *_, n=at_a_time: n):
            chosen = devices.Placement.choose(program)
        trained = Runs(Compiler(program), chosen)
        trained.advance(25)
        trained.advance(30)
        state = trained.get(lambda state: (state.agent.actor, state.agent.updates, state.progress))
        results.append((state, trained.evaluate()))
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        # Only rounding differs.
        one, other = (np.nan_to_num(np.asarray(leaf, np.float64)) for leaf in (one, other))
        assert np.linalg.norm(one - other) <= 1e-3 * max(1e-2, np.linalg.norm(other))
    assert len(np.unique(results[0][1].avg_return)) == RUNS, "the seeds are different runs"


def test_only_small_networks_go_side_by_side():
    mesh = make_mesh(1)
    assert runs_at_a_time(8, mesh, 256, 128) == 1
    assert runs_at_a_time(8, mesh, 256, 512) == 1
    assert runs_at_a_time(8, mesh, 128, 64) == 8


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 2)
    compare_groups()

"""Runs side by side and in turn."""

import jax
import numpy as np
import pytest

from purejax_simba.config import AgentConfig, Config, ReplayConfig
from purejax_simba.parallel import join_runs, make_mesh, runs_at_a_time, split_runs
from purejax_simba.runs import Runs
from purejax_simba.training import make_program

RUNS = 4
CONFIG = Config(
    task="gymnax/Pendulum-v1",
    num_seeds=RUNS,
    total_env_steps=80,
    evaluation_interval=40,
    num_evaluation_episodes=2,
    episode_length=20,
    learning_starts=30,
    agent=AgentConfig(
        actor_hidden_dim=8, critic_hidden_dim=8, critic_num_blocks=1, num_bins=11, num_critics=1
    ),
    replay=ReplayConfig(capacity=60, batch_size=16),
)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_groups_come_back_in_order(size):
    tree = {"a": np.arange(8.0).reshape(4, 2), "b": np.arange(4)}
    groups = split_runs(tree, size, make_mesh(size))
    assert len(groups) == 4 // size
    jax.tree.map(np.testing.assert_array_equal, join_runs(jax.device_get(groups)), tree)


def test_in_turn_is_side_by_side(monkeypatch):
    results = []
    for at_a_time in (RUNS, 1):
        monkeypatch.setattr("purejax_simba.runs.runs_at_a_time", lambda *_, n=at_a_time: n)
        runs = Runs(make_program(CONFIG))
        runs.compile()
        runs.start()
        runs.advance(25)
        runs.advance(30)
        state = runs.get(lambda state: (state.agent.actor, state.agent.updates, state.progress))
        results.append((state, runs.evaluate()))
    # Only rounding differs between one run and several.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *results)
    returns = results[0][1].avg_return
    assert len(np.unique(returns)) == RUNS, "the seeds are different runs"


def test_only_small_networks_go_side_by_side():
    mesh = make_mesh(1)
    assert runs_at_a_time(8, mesh, 256, 128) == 1
    assert runs_at_a_time(8, mesh, 256, 512) == 1
    assert runs_at_a_time(8, mesh, 128, 64) == 8

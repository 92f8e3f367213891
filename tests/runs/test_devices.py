"""Runs on several devices: the numbers of one, whatever the counts, and no talk between devices."""

import dataclasses
import re
import sys
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest

from purejax_simba.config import Config
from purejax_simba.runs import devices
from purejax_simba.runs.runs import Runs, Snapshot
from purejax_simba.training import make_program
from tests.helpers import tiny

DEVICES = 8
CONFIG = Config(
    task="gymnax/Pendulum-v1",
    num_seeds=13,
    total_env_steps=80,
    evaluation_interval=40,
    num_evaluation_episodes=2,
    episode_length=20,
    learning_starts=30,
    diagnostics="none",
    agent=dataclasses.replace(tiny.AGENT, num_critics=1),
)
COLLECTIVES = re.compile("all-reduce|all-gather|all-to-all|collective|reduce-scatter")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["compare_counts", "compare_moves"])
def test_on_eight_devices(name):
    """In a process of its own, which alone can have so many."""
    tiny.run_module("tests.runs.test_devices", name)


def make_runs(num_seeds: int, devices: int) -> Runs:
    """Compiled runs on so many devices at most."""
    config = dataclasses.replace(CONFIG, num_seeds=num_seeds)
    some = jax.local_devices()[:devices]
    with mock.patch.object(jax, "local_devices", lambda: some):
        made = Runs(make_program(config))
    made.compile()
    return made


def assert_near(one: Any, other: Any) -> None:
    """Equal but for rounding, which grows with the updates."""
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        a, b = (np.nan_to_num(np.asarray(leaf, np.float64)) for leaf in (a, b))
        assert a.shape == b.shape
        assert np.linalg.norm(a - b) <= 1e-3 * max(1e-2, np.linalg.norm(b))


def learned(snapshot: Snapshot) -> Any:
    """What depends on everything before."""
    state = snapshot.state
    return state.agent.actor, state.agent.updates, state.progress, state.replay.reward


def compare_counts() -> None:
    """6, 8 and 13 runs on 8 devices against 13 on one."""
    alone = make_runs(13, 1)
    alone.start()
    alone.advance(45)
    expected = learned(alone.snapshot())
    for count, used in ((6, 6), (8, 8), (13, 7)):
        made = make_runs(count, DEVICES)
        assert made.mesh.size == used
        assert not COLLECTIVES.search(made.compiled.advance.as_text())
        made.start()
        made.advance(45)
        first = jax.tree.map(lambda leaf, n=count: leaf[:n], expected)
        assert_near(learned(made.snapshot()), first)
        assert made.evaluate().avg_return.shape == (count,)


def compare_moves() -> None:
    """A run that moves from 4 to 2 devices and to 1, and one that stays."""
    stays = make_runs(5, 4)
    stays.start()
    stays.advance(20)
    moving = stays.snapshot()
    stays.advance(30)
    for used in (2, 1):
        there = make_runs(5, used)
        there.restore(moving)
        there.advance(15)
        moving = there.snapshot()
    assert int(moving.counters.interactions) == int(stays.counters.interactions) == 50
    assert_near(learned(moving), learned(stays.snapshot()))


@pytest.mark.parametrize(
    ("count", "limit", "expected"), [(6, 8, 6), (8, 8, 8), (13, 8, 7), (64, 8, 8), (3, 2, 2)]
)
def test_no_device_has_more_runs_than_it_must(count, limit, expected):
    assert devices._devices_for(count, limit) == expected


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", DEVICES)
    globals()[sys.argv[1]]()

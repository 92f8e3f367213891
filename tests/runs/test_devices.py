"""Runs on several devices: the numbers of one, whatever the counts, and no talk between devices."""

import dataclasses
import sys
from typing import Any
from unittest import mock

import jax
import pytest

from purejax_simba.config import Config
from purejax_simba.runs import devices
from purejax_simba.runs.compiling import Compiler
from purejax_simba.runs.devices import Placement
from purejax_simba.runs.runs import Runs, Snapshot
from purejax_simba.training import make_program
from tests.helpers import tiny
from tests.helpers.several_devices import COLLECTIVES, assert_near

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


def test_who_has_no_home_keeps_no_programs(monkeypatch):
    """A user whom the system does not know, as in containers."""
    config = mock.Mock(jax_compilation_cache_dir=None)
    monkeypatch.setattr(devices.jax, "config", config)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    with mock.patch("pwd.getpwuid", side_effect=KeyError):
        devices.use_compilation_cache()
    config.update.assert_not_called()
    devices.use_compilation_cache()
    name, place = config.update.call_args_list[0].args
    assert name == "jax_compilation_cache_dir" and "/.cache/purejax_simba/" in place


@pytest.mark.slow
@pytest.mark.parametrize("name", ["compare_counts", "compare_moves"])
def test_on_eight_devices(name):
    """In a process of its own, which alone can have so many."""
    tiny.run_module("tests.runs.test_devices", name)


def make_runs(num_seeds: int, devices: int, snapshot: Snapshot | None = None) -> Runs:
    """Runs on so many devices at most, where the snapshot was taken."""
    config = dataclasses.replace(CONFIG, num_seeds=num_seeds)
    some = jax.local_devices()[:devices]
    program = make_program(config)
    with mock.patch.object(jax, "local_devices", lambda: some):
        placement = Placement.choose(program)
    return Runs(Compiler(program), placement, snapshot)


def learned(snapshot: Snapshot) -> Any:
    """What depends on everything before."""
    state = snapshot.state
    return state.agent.actor, state.agent.updates, state.progress, state.replay.steps


def compare_counts() -> None:
    """6, 8 and 13 runs on 8 devices against 13 on one."""
    alone = make_runs(13, 1)
    alone.advance(45)
    expected = learned(alone.snapshot())
    for count, used in ((6, 6), (8, 8), (13, 7)):
        made = make_runs(count, DEVICES)
        assert made.placement.mesh.size == used
        assert not COLLECTIVES.search(made.compiled.advance.as_text())
        made.advance(45)
        first = jax.tree.map(lambda leaf, n=count: leaf[:n], expected)
        assert_near(learned(made.snapshot()), first)
        assert made.evaluate().avg_return.shape == (count,)


def compare_moves() -> None:
    """A run that moves from 4 to 2 devices and to 1, and one that stays."""
    stays = make_runs(5, 4)
    stays.advance(20)
    moving = stays.snapshot()
    stays.advance(30)
    for used in (2, 1):
        there = make_runs(5, used, moving)
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

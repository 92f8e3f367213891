"""The estimate of memory, and what is said where it is not enough."""

import json
import os
import subprocess
import sys

import jax
import pytest

from purejax_simba.agents import registry
from purejax_simba.agents.registry import agent_settings
from purejax_simba.agents.simba_v2 import SimbaV2
from purejax_simba.config import CheckpointConfig, Config, ConfigError, ReplayConfig
from purejax_simba.runs import memory
from purejax_simba.training import make_program
from tests.helpers.examples import slow_if_in

GIB = memory.GIB


def _config(**settings) -> Config:
    return Config(task="gymnax/Pendulum-v1", agent=SimbaV2(critic_hidden_dim=128), **settings)


@pytest.mark.parametrize(
    ("gib", "advice"), [(0.5, "give --num-seeds"), (0.001, "give a smaller --replay.capacity")]
)
def test_what_does_not_fit_is_refused_with_advice(monkeypatch, gib, advice):
    monkeypatch.setattr(memory, "_available_bytes", lambda: int(gib * GIB))
    program = make_program(_config(num_seeds=1000))
    with pytest.raises(ConfigError, match=advice) as refused:
        memory.check_memory(program, 1, 1000)
    assert "1,000 seeds need" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("at_a_time", [None, 2])
def test_the_number_of_seeds_advised_fits(monkeypatch, at_a_time):
    monkeypatch.setattr(memory, "_available_bytes", lambda: GIB // 2)
    with pytest.raises(ConfigError) as refused:
        memory.check_memory(make_program(_config(num_seeds=1000)), 1, at_a_time or 1000)
    seeds = int(str(refused.value).split("--num-seeds ")[1].split()[0])
    memory.check_memory(make_program(_config(num_seeds=seeds)), 1, at_a_time or seeds)
    seeds += 1
    with pytest.raises(ConfigError):
        memory.check_memory(make_program(_config(num_seeds=seeds)), 1, at_a_time or seeds)


def test_processes_share_what_the_runs_need(monkeypatch):
    monkeypatch.setattr(memory, "_available_bytes", lambda: GIB // 2)
    program = make_program(_config(num_seeds=1000))
    alone, shared = (_advised(program, processes) for processes in (1, 4))
    assert shared == 4 * alone
    memory.check_memory(program, 1, alone, shared, 4)


def _advised(program, processes: int) -> int:
    with pytest.raises(ConfigError) as refused:
        memory.check_memory(program, 1, 1000 // processes, num_processes=processes)
    return int(str(refused.value).split("--num-seeds ")[1].split()[0])


def test_groups_of_runs_that_are_filled_up_take_the_room_of_whole_ones(monkeypatch):
    monkeypatch.setattr(memory, "runs_at_a_time", lambda runs, *_: min(runs, 4))
    program = make_program(_config(num_seeds=1))
    sizes = memory.bytes_per_run(program)
    working = sizes.pop("updates")
    kept = sum(sizes.values())
    # Five would take the room of eight.
    for places, fits in ((4, 4), (6, 4), (7, 4), (8, 8)):
        assert memory.runs_that_fit(program, 20, places * kept + 4 * working) == fits
    assert memory.runs_that_fit(program, 20, 3 * kept + 3 * working) == 3
    assert memory.runs_that_fit(program, 20, kept + working - 1) == 0


LARGE = "--critic-hidden-dim 512 --actor-hidden-dim 128"
SMALL = "--critic-hidden-dim 128 --actor-hidden-dim 64"
# Other agents' networks have other layers, and more critics; pairs of quantiles; two batches.
OTHERS = ("--agent redq", f"--agent bro {SMALL}", "--agent flash_sac")
CHECKED = (f"{SMALL} --runs 10", f"{LARGE} --runs 2")
CHECKED += tuple(f"{agent} --replay-capacity 100000" for agent in OTHERS)


@pytest.mark.parametrize("options", slow_if_in(CHECKED, (SMALL, LARGE, *CHECKED)))
def test_the_estimate_is_near_what_the_compiler_needs(options):
    """Compiled as commands do; tests/benchmarks/test_targets.py does it for accelerators."""
    words = f"-m benchmarks.memory --tasks gymnax/Pendulum-v1 {options}"
    environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
    ended = subprocess.run(
        [sys.executable, *words.split()], env=environment, capture_output=True, text=True
    )
    assert json.loads(ended.stdout)["estimate_over_compiled"] == pytest.approx(1, abs=0.1)


def test_a_checkpoint_needs_room_for_a_copy():
    def sizes(**settings) -> dict[str, int]:
        checkpoint = CheckpointConfig(**settings)
        return memory.bytes_per_run(make_program(_config(checkpoint=checkpoint)))

    whole, small, none = sizes(), sizes(replay=False), sizes(interval=0)
    state = sum(none[name] for name in ("replay", "parameters", "optimizer", "environment"))
    assert whole["checkpoint"] == state
    assert small["checkpoint"] == state - none["replay"]
    assert none["checkpoint"] == 0


def test_priorities_count_as_replay():
    def size(**settings) -> int:
        config = _config(replay=ReplayConfig(capacity=200_000, **settings))
        return memory.bytes_per_run(make_program(config))["replay"]

    more = size(prioritized=True) - size()
    assert 4 * 200_000 < more < 1.02 * 4 * 200_000


@pytest.mark.parametrize("name", registry.AGENTS)
def test_networks_and_optimisers_of_every_agent_count(name):
    program = make_program(Config(task="gymnax/Pendulum-v1", agent=agent_settings(name)))
    sizes = memory.bytes_per_run(program)
    agent = jax.eval_shape(program.agent.init, jax.random.key(0), program.hyperparameters())
    # But for the temperature and the count of updates.
    everything = memory.tree_bytes(agent)
    assert 0 <= everything - sizes["parameters"] - sizes["optimizer"] < 100

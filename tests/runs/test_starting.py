"""Beginning with networks of an earlier run, and beginning some of them anew."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from purejax_simba.agents.registry import agent_settings
from purejax_simba.agents.settings import AgentSettings
from purejax_simba.agents.simba_v2 import SimbaV2
from purejax_simba.config import Config, ConfigError, ReplayConfig, StartConfig
from purejax_simba.defaults import resolve
from purejax_simba.runs import experiment
from purejax_simba.runs.checkpoint import (
    STATE_DIRECTORY,
    CheckpointWriter,
    Notes,
    named_leaves,
    read_newest,
)
from purejax_simba.runs.compiling import Compiler
from purejax_simba.runs.devices import Placement
from purejax_simba.runs.jobs import Job
from purejax_simba.runs.result_files import write_config
from purejax_simba.runs.runs import Runs, snapshot_shapes
from purejax_simba.runs.schedule import Schedule
from purejax_simba.runs.session import first_configs
from purejax_simba.runs.starting import _begin_anew, check_lasting, check_parts, from_earlier_run
from purejax_simba.training import make_program

CONFIG = Config(
    task="gymnax/Pendulum-v1",
    num_seeds=2,
    total_env_steps=80,
    evaluation_interval=40,
    num_evaluation_episodes=2,
    episode_length=20,
    learning_starts=20,
    diagnostics="none",
    agent=agent_settings("sac", actor_hidden_dim=8, critic_hidden_dim=8),
    replay=ReplayConfig(batch_size=8),
)


def _arrays(directory: Path) -> dict[str, np.ndarray]:
    return read_newest(directory / STATE_DIRECTORY).arrays


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Path:
    """A run to begin from."""
    output = str(tmp_path_factory.mktemp("first"))
    return experiment.train(dataclasses.replace(CONFIG, output=output))


def _read(start: StartConfig, **changes) -> dict[str, np.ndarray]:
    config = dataclasses.replace(CONFIG, start=start, **changes)
    program = make_program(config)
    job = Job.of_all_seeds(program.config)
    plan = Schedule.of([job])
    configs = first_configs([job], plan)
    return from_earlier_run(program, Placement.choose(program, configs), [job], configs)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"parts": ("actor",), "normalizers": False}, {"actor"}),
        ({"parts": ("critic",), "normalizers": False}, {"critic", "target_critic"}),
        (
            {"parts": ("temperature",), "normalizers": False, "optimizers": True},
            {"log_temperature", "temperature_optimizer"},
        ),
        ({"parts": ()}, {"observation_moments", "reward_scale"}),
    ],
)
def test_what_is_named_is_taken(first, choice, expected):
    saved = _arrays(first)
    whole = {
        name
        for name in saved
        if name.removeprefix("state.").removeprefix("agent.").partition(".")[0] in expected
    }
    # But for the returns of episodes that are not gone on with.
    whole.discard("state.reward_scale.discounted_return")
    taken = _read(StartConfig(run=str(first), **choice))
    assert set(taken) == whole
    for name, array in taken.items():
        np.testing.assert_array_equal(array, saved[name], err_msg=name)


def _write(directory: Path, agent: AgentSettings, diverged_at: tuple[int, int] = (-1, -1)) -> None:
    """A run whose first seed is zeros, and whose second is ones."""
    program = make_program(dataclasses.replace(CONFIG, agent=agent))
    shapes = named_leaves(snapshot_shapes(program, Placement.choose(program).count))
    arrays = {leaf: np.zeros(shape.shape, shape.dtype) for leaf, shape in shapes.items()}
    for leaf, array in arrays.items():
        if leaf.startswith("state."):
            array[1] = 1
    arrays["state.progress.diverged_at"][:] = diverged_at
    with CheckpointWriter(directory / STATE_DIRECTORY, keep=1) as writer:
        notes: Notes = {"interactions": 40, "replay": False, "metrics_bytes": [0], "num_seeds": [2]}
        writer.save(40, arrays, notes)
    write_config(directory, program.config)


@pytest.mark.parametrize(("name", "own"), [("bro", "exploration"), ("td3", "target_actor")])
def test_an_actor_comes_with_what_belongs_to_it(tmp_path, name, own):
    agent = agent_settings(name, actor_hidden_dim=8, critic_hidden_dim=8)
    _write(tmp_path, agent)
    start = StartConfig(run=str(tmp_path), parts=("actor",), normalizers=False)
    taken = _read(start, agent=agent)
    assert {leaf.split(".")[2] for leaf in taken} == {"actor", own}


def test_networks_are_those_of_the_numbers_that_they_were_made_for(tmp_path):
    """With another scale the same parameters are another function."""
    sizes = {"actor_hidden_dim": 8, "critic_hidden_dim": 8, "critic_num_blocks": 1}
    _write(tmp_path, agent_settings("simba_v2", alpha_scale=1.0, **sizes))
    start, usual = StartConfig(run=str(tmp_path)), agent_settings("simba_v2", **sizes)
    assert _read(start, agent=dataclasses.replace(usual, alpha_scale=1.0, learning_rate=1e-5))
    with pytest.raises(ConfigError, match=r"alpha-scale 1\.0, and its default is"):
        _read(start, agent=usual)
    assert _read(dataclasses.replace(start, parts=("temperature",)), agent=usual)


@pytest.mark.parametrize(
    ("changes", "parts", "said"),
    [
        ({"normalize_observations": True}, ("actor",), "--normalize-observations False, and True"),
        ({"normalize_rewards": True}, ("critic",), "--normalize-rewards False, and True"),
        ({"normalize_rewards": True}, ("actor",), ""),
    ],
)
def test_networks_are_those_of_what_is_measured_in_the_same_units(first, changes, parts, said):
    start = StartConfig(run=str(first), parts=parts)
    if not said:
        assert _read(start, **changes)
        return
    with pytest.raises(ConfigError, match=said):
        _read(start, **changes)


def test_nothing_is_taken_from_a_seed_that_diverged(tmp_path, capsys):
    agent = agent_settings("sac", actor_hidden_dim=8, critic_hidden_dim=8)
    _write(tmp_path, agent, diverged_at=(-1, 30))
    arrays = _read(StartConfig(run=str(tmp_path)), num_seeds=3)
    kernel = arrays["state.agent.actor.output.kernel"]
    assert kernel[:, 0, 0].tolist() == [0.0, 0.0, 0.0], "those of the first"
    assert "1 seed of" in capsys.readouterr().err
    _write(tmp_path, agent, diverged_at=(20, 30))
    with pytest.raises(ConfigError, match="all of its seeds diverged"):
        _read(StartConfig(run=str(tmp_path)))


def test_more_seeds_take_the_runs_again(first):
    taken = _read(StartConfig(run=str(first)), num_seeds=3)
    saved = _arrays(first)
    assert taken
    for name, array in taken.items():
        np.testing.assert_array_equal(array, saved[name][[0, 1, 0]], err_msg=name)


@pytest.mark.slow
def test_a_run_begins_with_what_it_takes(first, tmp_path):
    start = StartConfig(run=str(first), optimizers=True)
    steps = {"total_env_steps": 40, "learning_starts": 40}
    config = dataclasses.replace(CONFIG, start=start, output=str(tmp_path), seed=7, **steps)
    ours, theirs = _arrays(experiment.train(config)), _arrays(first)
    # The one update comes with the last transition.
    assert ours["state.agent.updates"].tolist() == [1, 1]
    count = "state.agent.actor_optimizer.count"
    assert ours[count].tolist() == (theirs[count] + 1).tolist()
    for network in ("actor", "critic.mlp", "target_critic.mlp"):
        name = f"state.agent.{network}.output.bias"
        assert np.abs(ours[name] - theirs[name]).max() < 1e-3
    # Statistics go on from those of the first run.
    count = "state.observation_moments.count"
    assert ours[count].tolist() == (theirs[count] + 40).tolist()


@pytest.mark.slow
def test_parts_begin_anew_on_command(first, tmp_path):
    before = _arrays(first)
    config = dataclasses.replace(CONFIG, output=str(tmp_path), total_env_steps=120)
    resumed = experiment.resume(first, config, reset=("critic",))
    after = _arrays(resumed)
    assert before["state.agent.critic_optimizer.count"].tolist() == [61, 61]
    assert after["state.agent.critic_optimizer.count"].tolist() == [40, 40]
    assert after["state.agent.actor_optimizer.count"].tolist() == [101, 101]
    kernel = "state.agent.critic.mlp.hidden_0.kernel"
    # Forty steps of 3e-4 at most are no way to get there.
    assert np.abs(after[kernel] - before[kernel]).max() > 0.1
    assert after["state.agent.updates"].tolist() == [101, 101]


def test_nothing_begins_anew_at_the_end_of_a_run(first):
    with pytest.raises(ConfigError, match="give more env steps"):
        experiment.resume(first, reset=("actor",))


def test_what_cannot_be_begun_from_is_refused(first, tmp_path):
    with pytest.raises(ConfigError, match="nothing to go on from"):
        _read(StartConfig(run=str(tmp_path)))
    other = dataclasses.replace(CONFIG.agent, critic_hidden_dim=16)
    with pytest.raises(ConfigError, match="give the same agent and sizes"):
        _read(StartConfig(run=str(first)), agent=other)
    assert _read(StartConfig(run=str(first), parts=("actor",)), agent=other)


def test_parts_that_an_agent_does_not_have_are_refused(first):
    td3 = agent_settings("td3", actor_hidden_dim=8, critic_hidden_dim=8)
    missing = "temperature: the state of td3 has no log_temperature: give parts that it has"
    with pytest.raises(ConfigError, match=f"--start.parts {missing}"):
        _read(StartConfig(run=str(first), parts=("temperature",)), agent=td3)
    program = make_program(dataclasses.replace(CONFIG, agent=td3))
    check_parts(program, StartConfig.parts, "--start.parts", needs_all=False)
    for needs_all in (False, True):  # where all of those that are asked for are missing
        with pytest.raises(ConfigError, match=f"--reset {missing}"):
            check_parts(program, ("temperature",), "--reset", needs_all)


def test_what_a_schedule_begins_with_counts(tmp_path):
    """For the run that is begun from, and for the one that begins."""
    run, path = tmp_path / "run", tmp_path / "schedule.json"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"agent": {"value_range": 5.0}}))
    path.write_text(json.dumps([{"env_step": 0, "agent.value_range": 7.0}]))
    start = StartConfig(run=str(run))
    own = resolve(dataclasses.replace(CONFIG, agent=SimbaV2(value_range=5.0), schedule=str(path)))
    scheduled = Schedule.of([Job.of_all_seeds(own)]).first
    check_lasting(start, [own])
    with pytest.raises(ConfigError, match=r"made with .* 5\.0, and 7\.0 is asked for"):
        check_lasting(start, scheduled)
    shutil.copy(path, run)
    check_lasting(start, scheduled)
    with pytest.raises(ConfigError, match=r"made with .* 7\.0, and 5\.0 is asked for"):
        check_lasting(start, [own])


@pytest.mark.slow
@pytest.mark.parametrize("part", ["actor", "critic"])
def test_an_agent_that_holds_a_key_begins_anew(part, tmp_path):
    agent = agent_settings("flash_sac", actor_hidden_dim=8, critic_hidden_dim=8)
    program = make_program(dataclasses.replace(CONFIG, agent=agent))
    runs = Runs(Compiler(program), Placement.choose(program))
    agents = []
    for parts in ((), (part,)):
        _begin_anew(runs, parts, interactions=40)
        agents.append(named_leaves({"agent": runs.snapshot(with_replay=False).state.agent}))
    before, after = agents
    changed = {name.split(".")[1] for name in after if (after[name] != before[name]).any()}
    assert changed == {part, {"actor": "exploration", "critic": "target_critic"}[part]}


@pytest.mark.slow
def test_a_seed_that_diverged_keeps_its_policy_where_others_begin_anew(tmp_path):
    program = make_program(CONFIG)
    runs = Runs(Compiler(program), Placement.choose(program))
    runs.replace({"state.progress.diverged_at": np.array([-1, 30], np.int32)})
    before = runs.get(lambda state: state.agent.actor)["output"]["kernel"]
    _begin_anew(runs, ("actor",), interactions=40)
    after = runs.get(lambda state: state.agent.actor)["output"]["kernel"]
    np.testing.assert_array_equal(after[1], before[1])
    assert (after[0] != before[0]).any()

"""What is not given fits what is: only given values can contradict each other."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

import envs
from envs import TimeLimit
from purejax_simba.agents.registry import agent_settings
from purejax_simba.agents.settings import Recipe
from purejax_simba.agents.simba_v2 import SimbaV2
from purejax_simba.commands import sweep, train
from purejax_simba.config import Config, ConfigError, OfflineConfig, ReplayConfig
from purejax_simba.defaults import resolve
from purejax_simba.names import from_nested
from purejax_simba.sweep.grouping import resolve_all
from purejax_simba.sweep.options import make_sweep
from tests.helpers.counter import Counter

TASK = "gymnax/Pendulum-v1"


def _resolve(**given: Any) -> Config:
    environment: Any = SimpleNamespace(episode_length=200, action_size=1)
    config = resolve(Config(given.pop("task", TASK), **given), environment)
    assert resolve(config, environment) == config
    return config


def _schedule(**given: Any) -> tuple[int | None, int | None, int | None]:
    config = _resolve(**given)
    assert config.interactions % config.interactions_per_evaluation == 0
    return config.total_env_steps, config.evaluation_interval, config.learning_starts


@pytest.mark.parametrize(
    ("given", "schedule"),
    [
        ({}, (1_000_000, 100_000, 5_000)),
        ({"total_env_steps": 6_000}, (6_000, 600, 3_000)),
        ({"total_env_steps": 10_000}, (10_000, 1_000, 5_000)),
        ({"total_env_steps": 500_000}, (500_000, 50_000, 5_000)),
        ({"total_env_steps": 3_000_000}, (3_000_000, 100_000, 5_000)),
        # Of what divides 2 x 3 x 7 x 7 x 17, 357 (a 14th) and 714 (a 7th) are nearest to a tenth.
        ({"total_env_steps": 4_998}, (4_998, 357, 2_499)),
        # A prime number: at the beginning and at the end.
        ({"total_env_steps": 6_007}, (6_007, 6_007, 3_003)),
        ({"total_env_steps": 1}, (1, 1, 1)),
        ({"evaluation_interval": 30_000}, (990_000, 30_000, 5_000)),
        ({"evaluation_interval": 2_000_000}, (2_000_000, 2_000_000, 5_000)),
        ({"num_environments": 3, "action_repeat": 2}, (999_960, 99_996, 5_000)),
        ({"action_repeat": 2, "total_env_steps": 6_000}, (6_000, 600, 1_500)),
        ({"num_environments": 4, "total_env_steps": 6_000}, (6_000, 600, 3_000)),
        # Evaluating takes as long as an episode, however many environments there are.
        ({"num_environments": 1_000, "total_env_steps": 9_000_000}, (9_000_000, 900_000, 5_000)),
        ({"learning_starts": 10, "total_env_steps": 6_000}, (6_000, 600, 10)),
        ({"replay": ReplayConfig(capacity=1_000)}, (1_000_000, 100_000, 1_000)),
        # A recipe is no number that was given.
        (
            {"total_env_steps": 6_000, "recipe": "paper", "agent": agent_settings("td3")},
            (6_000, 600, 3_000),
        ),
    ],
)
def test_a_schedule_fits_what_is_given(given, schedule):
    assert _schedule(**given) == schedule


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ({"total_env_steps": 6_000, "evaluation_interval": 2_500}, "6000 is no multiple of 2500"),
        ({"total_env_steps": 4_000, "learning_starts": 5_000}, "no update in the 4000 transitions"),
        ({"total_env_steps": 6_001, "action_repeat": 2}, "6001 is no multiple of 2: give 6000"),
        ({"total_env_steps": 1_000_003}, "1000003 cannot be divided .*: give 1000000"),
        ({"total_env_steps": 10**12}, "total-env-steps makes more than 2,147,483,647"),
        ({"total_env_steps": 10**30}, "total-env-steps is 1000.*: give a number that a"),
        ({"offline": OfflineConfig("x.hdf5", epochs=10**30, transitions=9)}, "epochs is 1000"),
        ({"num_environments": 3, "replay": ReplayConfig(capacity=1000)}, "no multiple of --num-en"),
    ],
)
def test_given_values_that_contradict_each_other_are_refused(given, advice):
    with pytest.raises(ConfigError, match=advice):
        _resolve(**given)


def test_the_replay_and_the_resets_of_an_agent_fit_the_environments():
    config = _resolve(num_environments=7, agent=agent_settings("bro"))
    assert config.replay.capacity == 999_999
    assert config.agent.reset_env_steps[:3] == (14_994, 49_994, 249_998)
    with pytest.raises(ConfigError, match=r"--agent\.reset-env-steps 15000 is no multiple of 7"):
        _resolve(num_environments=7, agent=agent_settings("bro", reset_env_steps=(15_000,)))


@pytest.mark.parametrize("name", ["redq", "droq"])
@pytest.mark.parametrize(
    ("ratio", "environments", "delay"),
    [(None, 1, 20), (1.0, 1, 1), (4.0, 1, 4), (0.5, 8, 4), (0.5, 1, 1), (40.0, 1, 20)],
)
def test_redq_updates_its_policy_once_a_step_or_after_twenty(name, ratio, environments, delay):
    """As its code does, whatever is given for the critics (`redq_sac.py`, `train`)."""
    given = {"update_to_data_ratio": ratio, "num_environments": environments}
    assert _resolve(agent=agent_settings(name), **given).agent.policy_delay == delay
    assert _resolve(agent=agent_settings(name, policy_delay=7), **given).agent.policy_delay == 7


def test_a_discount_follows_from_the_limit_that_ends_episodes(monkeypatch):
    """The lower one, of an environment that is registered with another."""
    monkeypatch.setattr("envs.registry._specs", dict(envs.registry._specs))
    for name, limit in {"lower": 1_000, "own": None}.items():
        envs.register(
            f"mine/{name}", lambda physics: TimeLimit(Counter(), 250), episode_length=limit
        )
        assert resolve(Config(f"mine/{name}")).discount == pytest.approx(1 - 5 / 250)


@pytest.mark.parametrize(
    ("name", "rates"),
    [("simba_v2", {1e-3: 5e-5, 1e-5: 1e-5}), ("flash_sac", {1e-3: 1.5e-4, 1e-5: 1e-5})],
)
def test_a_learning_rate_does_not_rise_by_itself(name, rates):
    for first, last in rates.items():
        agent = _resolve(agent=agent_settings(name, learning_rate=first)).agent
        assert agent.learning_rate_end == last


def test_a_name_that_no_setting_has_is_refused_in_a_recipe():
    class Misspelt(SimbaV2):
        """Would be trained with other numbers than its author wrote."""

        name = "misspelt"
        shared = Recipe({"update_to_data_ration": 1.0})

    with pytest.raises(ConfigError, match=r"recipe of misspelt .*: did you mean update_to_data_r"):
        _resolve(agent=Misspelt(name="misspelt"))


def test_the_command_line_and_files_follow_the_same_rule():
    config = train.parse(["--task", TASK, "--total-env-steps", "6000"]).config
    assert config == Config(TASK, total_env_steps=6_000)
    assert from_nested({"task": TASK, "total_env_steps": 6_000}) == config


def test_each_trial_of_a_sweep_has_a_schedule_of_its_own():
    words = f"--task {TASK} --num-seeds 1 --grid total-env-steps=2000,6000".split()
    trials = make_sweep(sweep.parse(words).options).trials()
    resolved = resolve_all([trial.config for trial in trials])
    assert [config.evaluation_interval for config in resolved] == [200, 600]
    assert [config.learning_starts for config in resolved] == [1_000, 3_000]


@pytest.mark.parametrize(("epochs", "interval"), [(100, 10), (7, 1), (35, 5), (13, 1)])
def test_runs_on_a_dataset_are_evaluated_ten_times_too(epochs, interval):
    config = _resolve(offline=OfflineConfig("x.hdf5", epochs=epochs, transitions=900))
    assert config.offline.evaluation_interval == interval
    # What counts environment steps is as ever in the file, and says nothing.
    written = dataclasses.replace(config, total_env_steps=1_000_000)
    assert config == written
    with pytest.raises(ConfigError, match="--total-env-steps is of no use with --offline"):
        _resolve(total_env_steps=6_000, offline=config.offline)


@pytest.mark.parametrize("interval", [None, 10])
def test_files_of_runs_in_an_environment_have_nothing_that_needs_a_dataset(interval):
    """Also those of earlier versions, which wrote 10 epochs between evaluations into all."""
    resolved = _resolve()
    offline = dataclasses.replace(resolved.offline, evaluation_interval=interval)
    written = dataclasses.replace(resolved, offline=offline)
    assert resolve(from_nested(dataclasses.asdict(written))) == written
    offline = dataclasses.replace(offline, evaluation_interval=11)
    with pytest.raises(ConfigError, match="interval is of no use without --offline: give both"):
        _resolve(offline=offline)


def test_target_networks_of_td3_move_with_its_policy():
    """The paper's d is both."""
    for given, expected in (({}, 2), ({"policy_delay": 4}, 4), ({"target_update_interval": 3}, 3)):
        agent = _resolve(agent=agent_settings("td3", **given)).agent
        assert agent.target_update_interval == expected
    assert _resolve(agent=agent_settings("sac", policy_delay=4)).agent.target_update_interval == 1

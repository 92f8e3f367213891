"""The recipe of each agent's own paper beside the one that all agents share."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from purejax_simba import defaults
from purejax_simba.agents import registry
from purejax_simba.agents.registry import agent_settings
from purejax_simba.agents.simba_v2 import SimbaV2
from purejax_simba.commands import train
from purejax_simba.config import Config, ConfigError, OfflineConfig, TemperatureConfig
from purejax_simba.defaults import hyperparameters, make_environment, not_in_recipe, resolve
from purejax_simba.runs import result_files, session
from purejax_simba.sweep.axes import parse_axis
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.grouping import resolve_all

ACTIONS = {
    "mujoco/Hopper-v4": 3,
    "mujoco/HalfCheetah-v4": 6,
    "mujoco/Walker2d-v4": 6,
    "mujoco/Ant-v4": 8,
    "mujoco/Humanoid-v4": 17,
    "dmc/dog-run": 38,
}
# Discount, transitions before the first update, updates per transition, batch, capacity, critics.
PAPERS: dict[str, tuple] = {
    "sac": (0.99, 10_000, 1, 256, 1_000_000, 2),
    "td3": (0.99, 25_000, 1, 256, 1_000_000, 2),
    "redq": (0.99, 5_000, 20, 256, 1_000_000, 10),
    "droq": (0.99, 5_000, 20, 256, 1_000_000, 2),
    "crossq": (0.99, 5_000, 1, 256, 1_000_000, 2),
    "bro": (0.99, 2_500, 10, 128, 1_000_000, 2),
    "flash_sac": (0.99, 10_000, 1, 512, 1_000_000, 2),
}
# Target entropies, as MBPO has them and after SAC's and BRO's rules.
MBPO = {"Hopper-v4": -1, "HalfCheetah-v4": -3, "Walker2d-v4": -3, "Ant-v4": -4, "Humanoid-v4": -2}
MINUS_ACTIONS = {task: -count for task, count in ACTIONS.items()}
MINUS_HALF = {task: -count / 2 for task, count in ACTIONS.items()}
OF_MBPO = MINUS_HALF | {f"mujoco/{name}": nats for name, nats in MBPO.items()}
ENTROPIES = {
    "sac": MINUS_ACTIONS,
    "redq": OF_MBPO,
    "droq": OF_MBPO,
    "crossq": MINUS_ACTIONS,
    "bro": MINUS_HALF,
    # The entropy of a Gaussian of standard deviation 0.15 per action, as its golden traces have it.
    "flash_sac": {task: -1.4345443550436259 / 3 * count for task, count in ACTIONS.items()},
}
# Of each agent whatever the recipe: widths and blocks or layers of actor and critics, learning
# rate, updates of the critics per one of the policy, weight of new critics in their average.
NETWORKS: dict[str, tuple] = {
    "simba_v2": (128, 1, 512, 2, 1e-4, 1, 0.005),
    "simba": (128, 1, 512, 2, 1e-4, 1, 0.005),
    "sac": (256, 2, 256, 2, 3e-4, 1, 0.005),
    "td3": (256, 2, 256, 2, 3e-4, 2, 0.005),
    "redq": (256, 2, 256, 2, 3e-4, 20, 0.005),
    "droq": (256, 2, 256, 2, 3e-4, 20, 0.005),
    "crossq": (256, 2, 2048, 2, 1e-3, 3, None),
    "bro": (256, 1, 512, 2, 3e-4, 1, 0.005),
    "flash_sac": (128, 2, 256, 2, 3e-4, 2, 0.01),
}
OWN: dict[str, dict[str, Any]] = {
    "simba_v2": {"learning_rate_end": 5e-5, "num_bins": 101, "shift": 3.0},
    "simba": {"weight_decay": 1e-2},
    "td3": {
        "exploration_noise": 0.1,
        "target_noise": 0.2,
        "target_noise_clip": 0.5,
        "target_update_interval": 2,
    },
    "flash_sac": {"learning_rate_end": 1.5e-4, "num_bins": 101, "repeat_exponent": 2.0},
    "bro": {
        "weight_decay": 1e-4,
        "num_bins": 100,
        "reset_env_steps": tuple(1000 * n for n in (15, 50, 250, 500, 750, 1000, 1500, 2000)),
    },
}
DROPOUT = {"Hopper-v4": 0.0001, "Walker2d-v4": 0.005, "Ant-v4": 0.01, "Humanoid-v4": 0.1}


def _resolve(task: str, name: str, **changes: Any) -> Config:
    environment: Any = SimpleNamespace(episode_length=1000, action_size=ACTIONS.get(task, 2))
    return resolve(Config(task, agent=agent_settings(name), **changes), environment)


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("task", ACTIONS)
def test_every_agent_has_its_papers_numbers(task, name):
    config = _resolve(task, name, recipe="paper")
    found = (
        config.discount,
        config.learning_starts,
        config.updates_per_interaction,
        config.batch_size,
        config.replay.capacity,
        config.agent.num_critics,
    )
    assert found == PAPERS[name]
    assert (config.action_repeat, config.steps_per_interaction) == (1, 1)
    numbers = hyperparameters(config, ACTIONS[task])
    if name in ENTROPIES:
        expected = ENTROPIES[name][task]
        np.testing.assert_allclose(float(numbers.target_entropy), expected, rtol=1e-6)
    if name == "droq":
        rate = DROPOUT.get(task.rpartition("/")[2], 0.01)
        np.testing.assert_allclose(float(numbers.dropout_rate), rate, rtol=1e-6)


def test_flash_sac_has_another_discount_on_myosuite():
    discounts = {"myosuite/myo-pose-hard": 0.95, "humanoid_bench/h1-walk": 0.99}
    for task, discount in discounts.items():
        config = defaults.with_recipe(
            Config(task, agent=agent_settings("flash_sac"), recipe="paper")
        )
        assert (config.discount, config.num_evaluation_episodes) == (discount, 50)


def test_flash_sac_has_another_discount_on_playgrounds_tasks():
    for task, discount in {
        "G1JoystickRoughTerrain": 0.97,
        "T1JoystickFlatTerrain-randomized": 0.97,
        "CheetahRun": 0.99,
    }.items():
        config = Config(f"playground/{task}", agent=agent_settings("flash_sac"), recipe="parallel")
        assert defaults.with_recipe(config).discount == discount


def test_flash_sac_has_a_recipe_for_many_environments():
    config = _resolve("dmc/cheetah-run", "flash_sac", recipe="parallel")
    assert config.num_environments == 1024
    assert config.updates_per_interaction == 2
    assert (config.batch_size, config.learning_starts) == (2048, 100_000)
    assert config.total_env_steps == 50_000_896
    assert config.interactions * config.updates_per_interaction == 97_658
    assert config.experiment == "flash_sac_parallel"
    numbers = {"num_environments": 2048, "total_env_steps": 20_480_000}
    given = _resolve("dmc/cheetah-run", "flash_sac", recipe="parallel", **numbers)
    assert given.num_environments == 2048
    # An episode takes as many interactions as with one environment, and so does an evaluation.
    assert config.interactions_per_evaluation == config.interactions // 11


@pytest.mark.parametrize(
    ("given", "length", "capacity"),
    [
        ({"num_environments": 2048}, 24_414 * 2048, 10_240_000),
        ({"num_environments": 1000, "action_repeat": 2}, 50_000_000, 10_240_000),
        ({"num_environments": 3000}, 16_666 * 3000, 3413 * 3000),
        ({"evaluation_interval": 1_024_000}, 48 * 1_024_000, 10_240_000),
    ],
)
def test_a_recipe_for_many_environments_fits_what_is_given(given, length, capacity):
    config = _resolve("dmc/cheetah-run", "flash_sac", recipe="parallel", **given)
    assert (config.total_env_steps, config.replay.capacity) == (length, capacity)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_agent_has_its_papers_networks_and_rates(name):
    agent: Any = _resolve("mujoco/Ant-v4", name).agent
    found = (
        agent.actor_hidden_dim,
        agent.actor_num_blocks,
        agent.critic_hidden_dim,
        agent.critic_num_blocks,
        agent.learning_rate,
        agent.policy_delay,
        getattr(agent, "tau", None),
    )
    assert found == NETWORKS[name]
    expected = {"learning_rate_end": agent.learning_rate, "reset_env_steps": (), "value_range": 5.0}
    expected |= OWN.get(name, {})
    assert {setting: getattr(agent, setting) for setting in expected} == expected
    assert (agent.behaviour_cloning_weight, agent.learning_rate_decay) == (0.0, 1.0)
    assert agent.reset_updates == ()
    if name not in ("td3", "crossq"):
        assert agent.target_update_interval == 1


@pytest.mark.parametrize("name", [name for name in registry.AGENTS if name != "random"])
@pytest.mark.parametrize(("task", "repeat", "discount"), [("dog-run", 2, 0.995), ("", 1, 0.995)])
def test_the_shared_recipe_is_the_default_and_the_same_for_all(name, task, repeat, discount):
    task = f"dmc/{task}" if task else "mujoco/Humanoid-v4"
    config = _resolve(task, name, episode_length=1000 * repeat)
    assert config == _resolve(task, name, episode_length=1000 * repeat, recipe="shared")
    assert (config.action_repeat, config.discount) == (repeat, discount)
    assert (config.learning_starts, config.experiment) == (5_000, name)


@pytest.mark.parametrize("name", ["simba_v2", "simba"])
@pytest.mark.parametrize("task", ["dmc/dog-run", "mujoco/Ant-v4", "myosuite/myo-reach"])
def test_the_shared_recipe_is_the_one_of_simba_v2s_paper(task, name):
    paper, shared = (_resolve(task, name, recipe=r, experiment="x") for r in ("paper", "shared"))
    assert Config(**{**vars(paper), "recipe": "shared"}) == shared
    assert not not_in_recipe(paper)


def test_what_is_given_wins():
    config = _resolve(
        "mujoco/Hopper-v4",
        "redq",
        recipe="paper",
        discount=0.9,
        action_repeat=2,
        learning_starts=77,
        temperature=TemperatureConfig(target_entropy_coefficient=-0.7),
    )
    assert (config.discount, config.action_repeat, config.learning_starts) == (0.9, 2, 77)
    assert config.temperature.target_entropy_coefficient == -0.7
    assert resolve(config) == config


def test_single_tasks_are_known_in_other_suites_and_versions():
    for task in ("gymnasium/Hopper-v5", "envpool/Hopper-v4"):
        environment: Any = SimpleNamespace(episode_length=1000, action_size=3)
        config = resolve(Config(task, recipe="paper", agent=agent_settings("redq")), environment)
        assert config.temperature.target_entropy_coefficient == -1 / 3
    environment = SimpleNamespace(episode_length=1000, action_size=2)
    config = Config("gymnasium/Swimmer-v4", recipe="paper", agent=agent_settings("crossq"))
    assert resolve(config, environment).discount == 0.9999


def test_what_a_paper_has_for_other_tasks_only_is_said():
    said = not_in_recipe(_resolve("dmc/dog-run", "droq", recipe="paper"))
    for part in ("droq", "dmc/dog-run", "Humanoid", "target-entropy-coefficient -0.5", "rate 0.01"):
        assert part in said
    assert "\n" not in said
    for task, name, recipe in (
        ("mujoco/Hopper-v4", "droq", "paper"),
        ("dmc/dog-run", "droq", "shared"),
        ("dmc/dog-run", "crossq", "paper"),
        ("dmc/dog-run", "bro", "paper"),
    ):
        assert not not_in_recipe(_resolve(task, name, recipe=recipe))


def test_a_run_says_so_before_it_is_compiled():
    said: list[str] = []
    setup: Any = SimpleNamespace(
        config=_resolve("dmc/dog-run", "redq", recipe="paper"),
        jobs=[None],
        memory=0,
        compiler=SimpleNamespace(
            program=SimpleNamespace(environment=SimpleNamespace(engine="mujoco")),
            expectation=lambda _: "compiled before",
            has_compiled=lambda _: True,
            compile=lambda _: said.append("done"),
        ),
        placement=SimpleNamespace(count=1, mesh=SimpleNamespace(size=1)),
    )
    session.compile_program(setup, SimpleNamespace(say=said.append))
    assert said[1:] == [not_in_recipe(setup.config), "done"]


def test_the_files_of_a_run_name_the_recipe(tmp_path):
    config = _resolve("dmc/dog-run", "bro", recipe="paper", output=str(tmp_path))
    directory = result_files.run_directory(config)
    assert directory == tmp_path / "bro_paper" / "dmc" / "dog-run"
    result_files.create_run_directory(config)
    assert json.loads((directory / "config.json").read_text())["recipe"] == "paper"
    environment: Any = SimpleNamespace(episode_length=1000, action_size=38)
    assert resolve(result_files.read_config(directory), environment) == config
    sweep = Sweep(
        Config("dmc/dog-run", recipe="paper", agent=agent_settings("bro")), ("dmc/dog-run",)
    )
    assert sweep.config.experiment == "bro_paper"


def test_environments_have_the_action_repeat_of_the_recipe():
    for recipe, length in (("shared", 500), ("paper", 1000)):
        config = Config("dmc/cheetah-run", recipe=recipe, agent=agent_settings("bro"))
        assert make_environment(config).episode_length == length
    config = Config("dmc/cheetah-run", agent=agent_settings("bro"))
    trials = Sweep(config, (config.task,), (parse_axis("grid", "recipe=shared,paper"),)).trials()
    resolved = resolve_all([trial.config for trial in trials])
    assert [each.action_repeat for each in resolved] == [2, 1]
    assert [each.discount for each in resolved] == [0.99, 0.99]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agent": agent_settings("random")}, "--recipe paper: random has no such recipe: drop it"),
        ({"recipe": "papers"}, "--recipe is 'papers': choose from shared, paper"),
        ({"offline": OfflineConfig("x.hdf5", transitions=500)}, "--recipe is of no use with"),
    ],
)
def test_what_has_no_recipe_is_refused(changes, message):
    environment: Any = SimpleNamespace(episode_length=200, action_size=1)
    config = Config(**{"task": "gymnax/Pendulum-v1", "recipe": "paper", **changes})
    with pytest.raises(ConfigError, match=message) as refused:
        resolve(config, environment)
    assert "\n" not in str(refused.value)


def test_values_from_a_file_are_among_the_choices():
    environment: Any = SimpleNamespace(episode_length=200, action_size=1)
    wrong: Any = SimbaV2(input_projection="none")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"--agent\.input-projection is 'none': choose from "):
        resolve(Config("gymnax/Pendulum-v1", agent=wrong), environment)


def test_help_shows_the_recipe_that_is_named(capsys):
    for recipe, expected in {
        "shared": "half of it. (default: 5000)",
        "paper": "(default: 25000)",
    }.items():
        with pytest.raises(SystemExit):
            train.parse(["--agent.name", "td3", "--recipe", recipe, "--help"])
        shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert expected in shown

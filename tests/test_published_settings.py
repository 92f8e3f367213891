"""What is resolved for each of the 57 tasks, against the published configuration.

The numbers are those of the published `configs/env/*.yaml`, `configs/online_rl.yaml`,
`configs/buffer/*.yaml` and `configs/agent/*.yaml`.
"""

from typing import Any, NamedTuple

import pytest

import envs
from envs import ActionRepeat, Environment
from purejax_simba.agents.registry import agent_settings
from purejax_simba.agents.simba_v2 import SimbaV2
from purejax_simba.config import Config
from purejax_simba.defaults import hyperparameters, resolve
from tests.helpers.examples import mark_others


class Suite(NamedTuple):
    """`action_repeat`, `max_episode_steps` and `episodic` of a file in `configs/env`."""

    action_repeat: int
    episode_length: int
    episodic: bool


SUITES = {
    "dmc": Suite(2, 1000, False),
    "mujoco": Suite(1, 1000, True),
    "myosuite": Suite(2, 100, False),
    "humanoid_bench": Suite(2, 1000, True),
}
DMC_ACTIONS = {
    "acrobot": 1,
    "ball_in_cup": 2,
    "cartpole": 1,
    "cheetah": 6,
    "finger": 2,
    "fish": 5,
    "hopper": 4,
    "pendulum": 1,
    "quadruped": 12,
    "reacher": 2,
    "walker": 6,
    "dog": 38,
    "humanoid": 21,
}
MUJOCO_ACTIONS = {
    "HalfCheetah-v4": 6,
    "Hopper-v4": 3,
    "Walker2d-v4": 6,
    "Ant-v4": 8,
    "Humanoid-v4": 17,
}
MYOHAND_ACTIONS = 39
H1_ACTIONS = 19
# Limits of MyoSuite's own below the published one, in steps.
OWN_LIMITS = {
    "myosuite/myo-obj-hold": 75,
    "myosuite/myo-obj-hold-hard": 75,
    "myosuite/myo-pen-twirl": 50,
    "myosuite/myo-pen-twirl-hard": 50,
}
TASKS = envs.tasks("all")
ONE_PER_ROBOT = (
    "dmc/acrobot-swingup",
    "dmc/ball_in_cup-catch",
    "dmc/cartpole-swingup",
    "dmc/cheetah-run",
    "dmc/finger-spin",
    "dmc/fish-swim",
    "dmc/hopper-hop",
    "dmc/pendulum-swingup",
    "dmc/quadruped-walk",
    "dmc/reacher-easy",
    "dmc/walker-run",
    "dmc/dog-walk",
    "dmc/humanoid-run",
    *(f"mujoco/{name}" for name in MUJOCO_ACTIONS),
    "humanoid_bench/h1-walk",
)


def _action_size(task: str) -> int:
    family, _, name = task.partition("/")
    if family == "dmc":
        return DMC_ACTIONS[name.partition("-")[0]]
    if family == "mujoco":
        return MUJOCO_ACTIONS[name]
    return {"myosuite": MYOHAND_ACTIONS, "humanoid_bench": H1_ACTIONS}[family]


def _stub(steps: int, action_size: int, action_repeat: int = 1) -> Any:
    """What resolving asks an environment for, with time limit and action repeat as `envs.make` has
    them; the package of the task may not be installed."""
    environment = Environment()
    environment.episode_length = steps
    environment.action_size, environment.observation_size = action_size, 1
    return ActionRepeat(environment, action_repeat) if action_repeat > 1 else environment


def _environment(task: str) -> Any:
    suite = SUITES[task.partition("/")[0]]
    steps = min(suite.episode_length, OWN_LIMITS.get(task, suite.episode_length))
    return _stub(steps, _action_size(task), suite.action_repeat)


def _discount(suite: Suite) -> float:
    fifth = suite.episode_length / suite.action_repeat / 5
    return max(min((fifth - 1) / fifth, 0.995), 0.95)


def test_the_suites_have_as_many_tasks_as_published():
    counts = [sum(task.startswith(f"{family}/") for task in TASKS) for family in SUITES]
    assert counts == [21 + 7, 5, 10, 14]


@pytest.mark.parametrize("agent", ["simba_v2", "simba"])
@pytest.mark.parametrize("task", TASKS)
def test_every_task_gets_the_published_settings(task, agent):
    environment = _environment(task)
    config = resolve(Config(task, agent=agent_settings(agent)), environment)
    suite = SUITES[task.partition("/")[0]]
    assert config.agent.num_critics == (2 if suite.episodic else 1)
    assert config.action_repeat == suite.action_repeat
    # Or MyoSuite's own, which holds before it.
    assert config.episode_length in (suite.episode_length, OWN_LIMITS.get(task))
    assert config.discount == pytest.approx(_discount(suite), rel=1e-12)
    assert config.updates_per_interaction == suite.action_repeat
    assert config.steps_per_interaction == suite.action_repeat
    assert (config.batch_size, config.replay.capacity) == (256, 1_000_000)
    assert (config.learning_starts, config.total_env_steps) == (5_000, 1_000_000)
    assert (config.num_environments, config.num_evaluation_episodes) == (1, 10)
    numbers = hyperparameters(config, environment.action_size)
    assert float(numbers.target_entropy) == -0.5 * _action_size(task)
    # All updates: every interaction of the run has its own.
    assert float(numbers.learning_rate_decay_updates) == 1_000_000


def test_the_discounts_are_these():
    """Worked out by hand: 1000 and 500 interactions give 0.995 and 0.99, and 50 the least, 0.95."""
    discounts = {family: round(_discount(suite), 6) for family, suite in SUITES.items()}
    assert discounts == {"dmc": 0.99, "mujoco": 0.995, "myosuite": 0.95, "humanoid_bench": 0.99}


def test_the_discount_follows_from_the_limit_divided_by_the_action_repeat():
    # 167 interactions, of which the last is one step: L is 333 / 2 as published, not 167.
    config = resolve(Config("dmc/cheetah-run", episode_length=333), _stub(333, 6, 2))
    assert config.discount == pytest.approx(1.0 - 5.0 / (333 / 2), rel=1e-12)


@pytest.mark.parametrize(
    "task", mark_others(pytest.mark.slow, set(ONE_PER_ROBOT) - {"dmc/dog-walk"}, ONE_PER_ROBOT)
)
def test_environments_are_what_the_table_says(task):
    environment = envs.make(task)
    assert environment.action_size == _action_size(task)
    assert environment.episode_length == _environment(task).episode_length


@pytest.mark.parametrize(
    ("task", "critics"),
    [
        ("gymnax/Pendulum-v1", 1),
        ("gymnax/MountainCarContinuous-v0", 2),
        ("gymnasium/HalfCheetah-v4", 2),
    ],
)
def test_beyond_the_suites_there_are_two_critics_where_episodes_can_terminate(task, critics):
    assert resolve(Config(task), _stub(200, 1)).agent.num_critics == critics


def test_what_is_given_stays():
    given = SimbaV2(num_critics=1)
    config = resolve(Config("mujoco/Ant-v4", agent=given), _environment("mujoco/Ant-v4"))
    assert config.agent.num_critics == 1

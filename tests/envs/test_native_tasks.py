"""Every native task: what a random policy earns, and that it trains."""

import warnings

import gymnasium
import numpy as np
import pytest
from scipy import stats

import envs
from purejax_simba.report import published
from tests.helpers import tiny
from tests.helpers.examples import slow_if_in
from tests.helpers.originals import need_dm_control
from tests.returns import returns

# What the published results count as zero: below any return in DeepMind Control, and the mean
# return of a random policy, of an unknown number of episodes, in the others.
LOW = published.normalization_scores().low
# (MyoSuite is compared in its own folder: not everyone can install it.)
TASKS = tuple(task for task in envs.tasks("all") if not task.startswith("myosuite/"))
# Rounds of equal length, episodes that end early, many contacts, scenes beside the robot.
EXAMPLES = (
    "dmc/cheetah-run",
    "dmc/dog-run",
    "dmc/fish-swim",
    "dmc/reacher-easy",
    "mujoco/Hopper-v4",
    "mujoco/Humanoid-v4",
    "humanoid_bench/h1-maze",
    "humanoid_bench/h1-reach",
)
EPISODES = 64
EPISODES_OF_LARGE_ROBOTS = 16  # whose simulation takes milliseconds
EPISODES_OF_THE_ORIGINAL = 10
SIGNIFICANCE = 1e-4


def random_returns_of_dm_control(task_id: str) -> np.ndarray:
    """Of a random policy in the original, with the action repeat of the benchmark."""
    need_dm_control()
    from dm_control import suite

    domain, task = task_id.removeprefix("dmc/").split("-")
    environment = suite.load(domain, task, task_kwargs={"random": 0})
    specification = environment.action_spec()
    random = np.random.default_rng(0)
    returns = []
    for _ in range(EPISODES_OF_THE_ORIGINAL):
        timestep = environment.reset()
        total = 0.0
        while not timestep.last():
            action = random.uniform(specification.minimum, specification.maximum)
            for _ in range(envs.spec(task_id).action_repeat):
                timestep = environment.step(action)
                total += timestep.reward
        returns.append(total)
    return np.array(returns)


def random_returns_of_gymnasium(task_id: str) -> np.ndarray:
    """Of a random policy in the original."""
    with warnings.catch_warnings(action="ignore"):  # that there is a version 5
        environment = gymnasium.make(task_id.removeprefix("mujoco/"))
    environment.reset(seed=0)
    environment.action_space.seed(0)
    returns = []
    for _ in range(EPISODES):
        environment.reset()
        total, ended = 0.0, False
        while not ended:
            step = environment.step(environment.action_space.sample())
            _, reward, terminated, truncated, _ = step
            total, ended = total + float(reward), terminated or truncated
        returns.append(total)
    return np.array(returns)


def test_all_published_tasks_are_there():
    assert set(TASKS) == {task for task in LOW.index if not task.startswith("myosuite/")}


# HumanoidBench's original cannot be installed beside this package, see `tests.returns`, and the
# published column is not what a random policy earns on its H1.
@pytest.mark.parametrize(
    "task_id", slow_if_in(EXAMPLES, [task for task in TASKS if "humanoid_bench" not in task])
)
def test_a_random_policy_earns_what_it_does_in_the_original(task_id):
    large = envs.spec(task_id).suite == "dmc_hard"
    episodes = EPISODES_OF_LARGE_ROBOTS if large else EPISODES
    ours = returns(envs.make(task_id, "mujoco"), episodes)
    assert np.isfinite(ours).all()
    if task_id.startswith("dmc/"):
        theirs = random_returns_of_dm_control(task_id)
        assert LOW[task_id] <= ours.min()
    else:
        assert abs(ours.mean() - LOW[task_id]) < 2 * ours.std(), (ours.mean(), ours.std())
        theirs = random_returns_of_gymnasium(task_id)
    # Tasks that a random policy never solves only differ by rounding.
    rounded = np.round(ours, 3), np.round(theirs, 3)
    assert stats.ks_2samp(*rounded).pvalue > SIGNIFICANCE, (ours.mean(), theirs.mean())


@pytest.mark.parametrize("task_id", slow_if_in(EXAMPLES, TASKS))
def test_trains(task_id, tmp_path):
    rows = tiny.train(task_id, tmp_path, physics="mujoco")
    for metric in ("avg_return", "critic_loss"):
        values = [float(row["value"]) for row in rows if row["metric"] == metric]
        assert len(values) >= 2 * 2
        assert np.isfinite(values).all()

"""A population that is trained interval by interval, from Python."""

import dataclasses
import re
import sys

import jax
import numpy as np
import pytest
from jax import monitoring

from purejax_simba import (
    Config,
    ConfigError,
    OfflineConfig,
    Population,
    ReplayConfig,
    StartConfig,
    make_train,
)
from purejax_simba.data.normalisation import Pair
from purejax_simba.runs.compiling import Compiler
from purejax_simba.runs.devices import Placement
from purejax_simba.runs.runs import Runs
from purejax_simba.training import make_program
from tests.helpers import linear, tiny
from tests.helpers.pages import file_block
from tests.helpers.several_devices import assert_near

CONFIG = Config(
    task="gymnax/Pendulum-v1",
    num_seeds=4,
    total_env_steps=120,
    evaluation_interval=40,
    num_evaluation_episodes=2,
    episode_length=20,
    learning_starts=30,
    diagnostics="none",
    agent=dataclasses.replace(tiny.AGENT, num_critics=1),
    replay=ReplayConfig(batch_size=16),
)
RATES = [1e-4, 1e-3, 1e-2, 1e-1]


@pytest.fixture(scope="module")
def population():
    with linear.agents():
        yield Population(CONFIG)


@pytest.mark.slow
def test_a_step_is_an_interval_of_every_member(population):
    """The numbers of runs as the command line has them, of the same seeds and hyperparameters."""
    numbers = population.hyperparameters({"agent.learning-rate": RATES, "agent.tau": 0.1})
    state = population.reset(range(5, 9), numbers)
    metrics = []
    for _ in range(3):
        state, measured = population.step(state, numbers)
        metrics.append(measured)
    assert int(state.counters.interactions) == 120
    assert np.isfinite(metrics[-1]["critic_loss"]).all() and not metrics[-1]["diverged"].any()
    configs = [
        dataclasses.replace(
            population.config,
            num_seeds=1,
            seed=5 + member,
            agent=dataclasses.replace(population.config.agent, learning_rate=rate, tau=0.1),
        )
        for member, rate in enumerate(RATES)
    ]
    with linear.agents():
        program = make_program(CONFIG)
    runs = Runs(Compiler(program), Placement.choose(program, configs))
    for measured in metrics:
        runs.advance(40)
        assert_near(measured["avg_return"], runs.evaluate().avg_return)
    assert_near(state.members.agent.actor, runs.get(lambda state: state.agent.actor))
    assert len(np.unique(metrics[-1]["avg_return"])) == 4


def test_nothing_is_compiled_again_when_hyperparameters_change(population):
    state = population.reset()
    settings = ({"agent.learning_rate": RATES, "discount": 0.9}, {"agent.tau": [0.1, 0.2, 0.3, 1]})
    compiled: list[str] = []

    def listen(event: str, _: float, fun_name: str = "", **__: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(fun_name)

    state, _ = population.step(state, population.hyperparameters(settings[0]))
    state = population.inherit(state, [1, 1, 2, 3])
    monitoring.register_event_duration_secs_listener(listen)
    try:
        for numbers in settings:
            state, _ = population.step(state, population.hyperparameters(numbers))
        population.inherit(state, [0, 0, 0, 0])
    finally:
        monitoring.unregister_event_duration_listener(listen)
    assert compiled == []


@pytest.mark.parametrize("with_replay", [False, True])
def test_members_go_on_from_others(population, with_replay):
    parents = [2, 1, 2, 2]
    state, _ = population.step(population.reset(), population.hyperparameters())
    before = _plain(state)
    after = _plain(population.inherit(state, parents, with_replay))
    taken = {"agent", "observation_moments"}
    if with_replay:
        taken = set(vars(before)) - {"key", "evaluation_key"}
    for name, leaves in vars(before).items():
        rows = parents if name in taken else [0, 1, 2, 3]
        if with_replay or name not in ("reward_scale", "progress"):
            expected = jax.tree.map(lambda leaf, rows=rows: leaf[rows], leaves)
            if name == "environment":  # whose next episodes are its own
                expected = expected.replace(key=leaves.key)
                assert len({key.tobytes() for key in leaves.key}) == 4
            jax.tree.map(np.testing.assert_array_equal, getattr(after, name), expected)
    if not with_replay:
        scale = after.reward_scale
        np.testing.assert_array_equal(scale.largest, before.reward_scale.largest[parents])
        own = before.reward_scale.discounted_return
        np.testing.assert_array_equal(scale.discounted_return, own)
        np.testing.assert_array_equal(after.progress.last_return, before.progress.last_return)
    assert not np.array_equal(before.agent.actor[0], before.agent.actor[2])


def _plain(state):
    """Members as numpy arrays, random keys as their words."""

    def plain(leaf):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    return jax.tree.map(plain, state.members)


def test_a_member_that_diverged_lives_on_as_another(population):
    state, _ = population.step(population.reset(), population.hyperparameters())
    nan = state.members.observation_moments.mean.high.at[3].set(np.nan)
    moments = state.members.observation_moments
    moments = moments.replace(mean=Pair(nan, moments.mean.low))
    state = state._replace(members=state.members.replace(observation_moments=moments))
    state, metrics = population.step(state, population.hyperparameters())
    np.testing.assert_array_equal(metrics["diverged"], [False, False, False, True])
    state = population.inherit(state, [0, 1, 2, 0])
    _, metrics = population.step(state, population.hyperparameters())
    assert not metrics["diverged"].any() and np.isfinite(metrics["avg_return"]).all()


def test_what_cannot_be_is_refused(population, monkeypatch):
    for settings, message in (
        ({"agent.critic_hidden_dim": 8}, "agent.critic_hidden_dim is no number that members"),
        ({"agent.learning_rat": 1e-3}, "did you mean agent.learning_rate"),
        ({"agent.learning_rate": [1e-3, 1e-4]}, "has 2 values: give one, or 4"),
        ({"agent.learning_rate": -1.0}, "--agent.learning-rate is -1.0"),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            population.hyperparameters(settings)
    started = dataclasses.replace(population.config, start=StartConfig(run="earlier"))
    with pytest.raises(ConfigError, match=r"begins with new networks: drop start\.run"):
        Population(started)
    with pytest.raises(ConfigError, match="begins with new networks: train"):
        make_train(started)
    with pytest.raises(ConfigError, match="acts in an environment: train"):
        make_train(Config(offline=OfflineConfig("mine.hdf5")))
    with pytest.raises(ConfigError, match="give num_seeds=2"):
        population.reset([1, 2])
    with pytest.raises(ConfigError, match="a parent for each of 4"):
        population.inherit(population.reset(), [0, 1, 2, 4])
    monkeypatch.setattr(population.program.environment, "elsewhere", True)
    with pytest.raises(ConfigError, match="worker processes do not pass: drop with_replay"):
        population.inherit(population.reset(), [0, 1, 2, 3], with_replay=True)


@pytest.mark.slow
def test_the_example_is_short_and_works(monkeypatch, capsys):
    """With a hundredth of its steps."""
    text = file_block("bandit.py")
    assert len(text.splitlines()) < 40
    fewer = re.sub(r"(steps|interval|starts)=(\d+)_?(\d*)00,", r"\1=\2\3,", text)
    assert fewer != text
    with linear.agents():
        exec(compile(fewer, "bandit.py", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"learning rate 1e-0{power}" for power in (5, 4, 3, 2)
    ]


@pytest.mark.slow
def test_on_two_devices():
    """In a process of its own, which alone can have so many."""
    tiny.run_module("tests.runs.test_population")


def compare_devices() -> None:
    """Four members on two devices, and three on one: two do not divide them."""
    with linear.agents():
        for count, used in ((4, 2), (3, 1)):
            population = Population(dataclasses.replace(CONFIG, num_seeds=count))
            assert population._mesh.size == used
            numbers = population.hyperparameters({"agent.learning_rate": RATES[:count]})
            state, _ = population.step(population.reset(), numbers)
            state = population.inherit(state, [count - 1] * count)
            actor = np.asarray(state.members.agent.actor)
            assert (actor == actor[-1]).all()
            state, metrics = population.step(state, numbers)
            assert len(np.unique(metrics["avg_return"])) == count


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 2)
    sys.exit(compare_devices())

"""Agents beside SimbaV2: what is particular to each, against formulas in numpy."""

import dataclasses
import functools
import json
import re
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba.agents import flash_sac, registry, sac
from purejax_simba.agents.agent import (
    Agent,
    AgentState,
    Batch,
    HyperParameters,
    Noise,
    UpdateMetrics,
)
from purejax_simba.agents.registry import agent_settings
from purejax_simba.commands import train
from purejax_simba.config import Config, ConfigError, ReplayConfig, TemperatureConfig
from purejax_simba.defaults import hyperparameters, resolve, with_agent_defaults
from purejax_simba.run_state import Counters
from purejax_simba.runs.result_files import read_config
from purejax_simba.sweep.axes import parse_axis
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.grouping import group
from purejax_simba.training import make_program, make_train
from tests.helpers.examples import slow_if_in
from tests.helpers.stored import stored

OBSERVATION, ACTION, BATCH = 5, 2, 6
TAU, DISCOUNT = 0.1, 0.9
SMALL = {
    "actor_hidden_dim": 8,
    "critic_hidden_dim": 8,
    "actor_num_blocks": 2,
    "critic_num_blocks": 2,
    "tau": TAU,
    "learning_rate": 1e-2,
}


def _make(**settings: typing.Any) -> tuple[Agent, HyperParameters]:
    config = Config(
        action_repeat=1,
        discount=DISCOUNT,
        total_env_steps=1_000_000,
        agent=agent_settings(**{**SMALL, **settings}),
    )
    config = with_agent_defaults(config)
    return registry.make(OBSERVATION, ACTION, config.agent), hyperparameters(config, ACTION)


@functools.cache
def _data() -> tuple[Batch, Noise]:
    generator = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape).astype(np.float32)

    batch = Batch(
        observation=draw(BATCH, OBSERVATION),
        action=np.tanh(draw(BATCH, ACTION)),
        reward=draw(BATCH),
        discount=np.array([DISCOUNT] * (BATCH - 1) + [0.0], np.float32),
        next_observation=draw(BATCH, OBSERVATION),
    )
    # Large, so that some of it is clipped.
    return batch, Noise(draw(BATCH, ACTION), 3.0 * draw(BATCH, ACTION), jax.random.key(1))


def _mlp(params: dict, *inputs: np.ndarray) -> np.ndarray:
    x = np.concatenate(inputs, axis=-1).astype(np.float64)
    for layer in ("hidden_0", "hidden_1"):
        weights = params[layer]
        x = np.maximum(x @ np.asarray(weights["kernel"], np.float64) + weights["bias"], 0.0)
    return x @ np.asarray(params["output"]["kernel"], np.float64) + params["output"]["bias"]


def _values(critics: dict, observation: np.ndarray, action: np.ndarray) -> np.ndarray:
    """`(critics, B)`."""
    return np.stack(
        [
            _mlp(jax.tree.map(lambda leaf, i=i: leaf[i], critics["mlp"]), observation, action)[:, 0]
            for i in range(2)
        ]
    )


Trace = list[tuple[AgentState, UpdateMetrics]]


def _updates(agent: Agent, numbers: HyperParameters, count: int) -> Trace:
    """The state before the first update, and after each."""
    state = jax.jit(agent.init)(jax.random.key(0), numbers)
    batch, noise = _data()
    update = jax.jit(agent.update)
    trace: Trace = [(state, None)]  # type: ignore[list-item]
    for number in range(count):
        state, metrics, _ = update(trace[-1][0], batch, noise, numbers, jnp.int32(number))
        trace.append((state, metrics))
    return trace


def _assert_equal(one: typing.Any, other: typing.Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def _assert_moved(one: typing.Any, other: typing.Any) -> None:
    moved = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True)]
    assert max(moved) > 1e-5


def test_every_name_is_an_agent():
    assert all(agent.settings.name == name for name, agent in registry.AGENTS.items())


@pytest.mark.parametrize("name", registry.AGENTS)
def test_defaults_fill_in_every_setting_that_shapes_the_agent(name):
    config = resolve(Config(task="gymnax/Pendulum-v1", agent=agent_settings(name)))
    agent = registry.make(OBSERVATION, ACTION, config.agent)
    numbers = hyperparameters(config, ACTION)
    state = jax.eval_shape(agent.init, jax.random.key(0), numbers)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))
    assert resolve(config) == config


@pytest.mark.parametrize("name", [name for name in registry.AGENTS if name != "random"])
def test_there_are_as_many_critics_as_given(name):
    config = Config(task="gymnax/Pendulum-v1", agent=agent_settings(name, num_critics=3))
    config = resolve(config)
    agent = registry.make(OBSERVATION, ACTION, config.agent)
    numbers = hyperparameters(config, ACTION)
    state = jax.eval_shape(agent.init, jax.random.key(0), numbers)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(state.critic)} == {3}


@pytest.fixture(scope="module")
def td3() -> Trace:
    return _updates(*_make(name="td3"), 2)


def test_td3_target_is_smoothed_by_clipped_noise(td3):
    (state, _), (_, metrics), _ = td3
    batch, noise = _data()
    step = np.clip(0.2 * noise.next_action, -0.5, 0.5)
    assert (np.abs(step) == 0.5).any() and (np.abs(step) < 0.5).any()
    action = np.tanh(_mlp(state.target_actor, batch.next_observation))
    action = np.clip(action + step, -1.0, 1.0)
    value = _values(state.target_critic, batch.next_observation, action).min(0)
    target = batch.reward + batch.discount * value
    error = _values(state.critic, batch.observation, batch.action) - target
    np.testing.assert_allclose(metrics.critic_loss, (error**2).mean(1).sum(), rtol=1e-5)


def test_td3_actor_and_targets_wait_for_every_second_update(td3):
    (start, _), (first, first_metrics), (second, _) = td3
    _assert_moved(start.critic, first.critic)
    for name in ("actor", "target_actor", "target_critic", "actor_optimizer"):
        _assert_equal(getattr(start, name), getattr(first, name))
        _assert_moved(getattr(first, name), getattr(second, name))
    assert first_metrics.actor_loss == 0.0
    assert int(second.updates) == 2


def test_td3_actor_maximises_the_first_critic(td3):
    _, (first, _), (second, metrics) = td3
    batch, _ = _data()
    action = np.tanh(_mlp(first.actor, batch.observation))
    value = _values(second.critic, batch.observation, action)[0].mean()
    # The mean over the two updates is the loss.
    np.testing.assert_allclose(metrics.actor_loss / 2, -value, rtol=1e-5)


def test_td3_targets_are_moving_averages(td3):
    _, (first, _), (second, _) = td3
    for new, target in (("actor", "target_actor"), ("critic", "target_critic")):
        expected = jax.tree.map(
            lambda x, y: TAU * x + (1 - TAU) * y, getattr(second, new), getattr(first, target)
        )
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7),
            getattr(second, target),
            expected,
        )


def test_td3_actions_of_the_target_stay_within_bounds(td3):
    agent, numbers = _make(name="td3")
    state, (batch, noise) = td3[0][0], _data()
    output = state.target_actor["output"]
    near = output | {"bias": output["bias"] + 2.0}
    state = dataclasses.replace(state, target_actor=state.target_actor | {"output": near})
    action = np.tanh(_mlp(state.target_actor, batch.next_observation))
    action += np.clip(0.2 * noise.next_action, -0.5, 0.5)
    assert (action > 1.0).any()
    action = np.clip(action, -1.0, 1.0)
    value = _values(state.target_critic, batch.next_observation, action).min(0)
    error = _values(state.critic, batch.observation, batch.action)
    error = error - (batch.reward + batch.discount * value)
    loss, _ = agent.actor_critic.critic_loss(state.critic, state, batch, noise, numbers)
    np.testing.assert_allclose(loss, (error**2).mean(1).sum(), rtol=1e-5)


def test_td3_actor_is_pulled_towards_the_actions_of_a_dataset(td3):
    agent, numbers = _make(name="td3", behaviour_cloning_weight=0.3)
    state, (batch, noise) = td3[0][0], _data()
    action = np.tanh(_mlp(state.actor, batch.observation))
    value = _values(state.critic, batch.observation, action)[0]
    pull = 0.3 * np.abs(value).mean() * ((action - batch.action) ** 2).mean()
    loss, _ = agent.actor_critic.actor_loss(state.actor, state, batch, noise, numbers)
    np.testing.assert_allclose(loss, pull - value.mean(), rtol=1e-4)


def test_td3_has_no_entropy_and_nothing_to_tune(td3):
    (state, _), *_, (_, metrics) = td3
    assert not hasattr(state, "log_temperature")
    assert metrics.entropy == metrics.temperature == metrics.temperature_loss == 0.0


def test_td3_explores_with_clipped_noise_and_is_evaluated_without(td3):
    agent, numbers = _make(name="td3")
    state, (batch, noise) = td3[0][0], _data()
    action = np.tanh(_mlp(state.actor, batch.observation))
    np.testing.assert_allclose(
        agent.act(state.actor, batch.observation, noise.key, numbers), action, rtol=1e-5
    )
    np.testing.assert_allclose(
        agent.explore(state, batch.observation, 10 * noise.action, numbers),
        np.clip(action + noise.action, -1, 1),
        rtol=1e-5,
        atol=1e-7,
    )


def test_sac_losses_are_those_of_the_paper():
    agent, numbers = _make(name="sac")
    (state, _), (after, metrics) = _updates(agent, numbers, 1)
    batch, noise = _data()

    def sample(params: dict, x: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, log_std = np.split(_mlp(params, x), 2, axis=-1)
        pre_tanh = mean + np.exp(log_std) * noise
        gaussian = -0.5 * noise**2 - log_std - 0.5 * np.log(2 * np.pi)
        return np.tanh(pre_tanh), (gaussian - np.log1p(-(np.tanh(pre_tanh) ** 2))).sum(-1)

    next_action, log_density = sample(state.actor, batch.next_observation, noise.next_action)
    value = _values(state.target_critic, batch.next_observation, next_action).min(0)
    target = batch.reward + batch.discount * (value - log_density)  # the temperature starts at 1
    error = _values(state.critic, batch.observation, batch.action) - target
    np.testing.assert_allclose(metrics.critic_loss, (error**2).mean(1).sum(), rtol=1e-4)

    action, log_density = sample(state.actor, batch.observation, noise.action)
    value = _values(after.critic, batch.observation, action).min(0)
    np.testing.assert_allclose(metrics.actor_loss, (log_density - value).mean(), rtol=1e-4)
    np.testing.assert_allclose(
        metrics.temperature_loss, -log_density.mean() - -ACTION, rtol=1e-4, atol=1e-5
    )
    # The first step of Adam is as long as the learning rate.
    expected = -1e-2 * np.sign(metrics.temperature_loss)
    np.testing.assert_allclose(after.log_temperature, expected, rtol=1e-4)


def test_plain_policies_have_bounded_standard_deviations():
    output = np.float32([[5.0, -6.0, 25.0, -30.0], [0.5, 1.5, 1.9, -19.0]])
    mean, log_std = sac.split_output(output)
    np.testing.assert_array_equal(mean, output[:, :2])
    np.testing.assert_array_equal(log_std, np.float32([[2.0, -20.0], [1.9, -19.0]]))


def test_random_actions_are_uniform_in_training_and_evaluation():
    agent = registry.make(OBSERVATION, ACTION, agent_settings("random"))
    noise = jax.random.normal(jax.random.key(2), (20_000, ACTION))
    observation = jnp.zeros((20_000, OBSERVATION))
    for drawn in (
        agent.explore(None, observation, noise, None),
        agent.act({}, observation, jax.random.key(3), None),
    ):
        assert drawn.shape == noise.shape
        quantiles = np.quantile(drawn, [0.1, 0.5, 0.9], axis=0)
        np.testing.assert_allclose(quantiles.T, [[-0.8, 0, 0.8]] * ACTION, atol=0.03)
        assert abs(np.corrcoef(np.asarray(drawn).T)[0, 1]) < 0.03


@pytest.mark.slow
def test_nothing_is_learned_from_random_actions():
    config = Config(
        task="gymnax/Pendulum-v1",
        total_env_steps=40,
        evaluation_interval=20,
        learning_starts=5,
        num_evaluation_episodes=4,
        episode_length=20,
        agent=agent_settings("random"),
    )
    program = make_program(config)
    numbers = program.hyperparameters()
    state = program.init(jax.random.key(0), numbers)
    counters, state = jax.jit(program.advance)(Counters.create(), state, numbers, jnp.int32(20))
    assert int(state.agent.updates) == 0
    actions = stored(state.replay).action[1:21, 0, 0]
    assert len(set(actions.tolist())) == 20
    # Evaluation draws actions too: episodes from the same start differ.
    evaluate = jax.jit(program.evaluate)
    returns = [
        float(evaluate(counters, state.replace(evaluation_key=jax.random.key(i)), numbers)[0])  # type: ignore[attr-defined]
        for i in range(2)
    ]
    assert returns[0] != returns[1]


@pytest.mark.parametrize(
    "agent, temperature, message",
    [
        ({"name": "sac", "shift": 2.0}, {}, "--agent.shift 2.0 is of no use to --agent.name sac"),
        ({"name": "td3"}, {"initial": 0.1}, "--temperature.initial 0.1 is of no use"),
        ({"name": "simba_v2", "target_noise": 0.1}, {}, "--agent.target-noise 0.1 is of no use"),
        ({"name": "random", "tau": 0.1}, {}, "--agent.tau 0.1 is of no use"),
        ({"name": "dqn"}, {}, "choose from simba_v2, "),
    ],
)
def test_settings_of_other_agents_are_refused(agent, temperature, message):
    with pytest.raises(ConfigError, match=message):
        resolve(
            Config(
                task="gymnax/Pendulum-v1",
                agent=agent_settings(**agent),
                temperature=TemperatureConfig(**temperature),
            )
        )


def test_agents_are_chosen_by_flag_by_file_and_by_axis(tmp_path):
    given = train.parse(
        ["--agent.name", "sac", "--agent.tau", "0.1", "--no-normalize-observations"]
    )
    assert given.config.agent == agent_settings("sac", tau=0.1)
    assert given.config.normalize_observations is False
    path = tmp_path / "config.json"
    path.write_text('{"task": "gymnax/Pendulum-v1", "agent": {"name": "td3"}}')
    config = train.parse(["--config", str(path), "--agent.target-noise", "0.3"]).config
    assert resolve(config).agent.target_noise == 0.3
    assert resolve(config).agent.policy_delay == 2

    axes = (parse_axis("grid", "agent.name=simba_v2,td3,random"),)
    base = Config(task="gymnax/Pendulum-v1")
    trials = Sweep(base, (base.task,), (*axes, parse_axis("grid", "discount=0.9,0.8"))).trials()
    configs = [resolve(trial.config) for trial in trials]
    assert [config.agent.name for config in configs[::2]] == ["simba_v2", "td3", "random"]
    assert group(configs) == [[0, 1], [2, 3], [4, 5]]


def test_help_shows_the_settings_of_the_agent_that_is_named(capsys):
    for agent, expected in {"simba_v2": "(default: 512)", "td3": "(default: 256)"}.items():
        with pytest.raises(SystemExit):
            train.parse(["--agent.name", agent, "--help"])
        shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert f"Width of each critic. {expected}" in shown


def test_help_says_of_which_agents_another_than_the_smallest_value_counts(capsys):
    with pytest.raises(SystemExit):
        train.parse(["--help-all"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    others = shown.partition("the smallest value counts. ")[2].partition(" simba_v2, simba: as")[0]
    named = {name for name in registry.AGENTS if name in re.findall(r"\w+", others)}
    assert named - {"random"} == {"bro", "droq", "redq", "td3"}  # a pair is


def test_help_says_which_learning_rate_follows_the_optimisers_of_an_earlier_run(capsys):
    """That of FlashSAC, which is at its end after a whole run."""
    agent, numbers = _make(name="flash_sac", learning_rate_end=1e-3)
    steps = agent.init(jax.random.key(0), numbers).actor_optimizer.count + 1_000_000
    np.testing.assert_allclose(flash_sac.learning_rate(steps, numbers), 1e-3, rtol=1e-6)
    with pytest.raises(SystemExit):
        train.parse(["--help-all"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    own = shown.partition("Take the state of their optimisers too. ")[2]
    assert own.startswith("The learning rate of flash_sac follows their steps: after a run as long")


def test_configurations_of_earlier_versions_are_simba_v2(tmp_path):
    # As written before there were other agents: every setting of SimbaV2, and no name.
    old = {
        "task": "gymnax/Pendulum-v1",
        "action_repeat": 1,
        "episode_length": 200,
        "update_to_data_ratio": 1.0,
        "discount": 0.975,
        "normalize_observations": True,
        "normalize_rewards": True,
        "agent": {
            "actor_hidden_dim": 128,
            "actor_num_blocks": 1,
            "critic_hidden_dim": 512,
            "critic_num_blocks": 2,
            "num_critics": 1,
            "num_bins": 101,
            "value_range": 5.0,
            "shift": 3.0,
            "scaler_init": None,
            "scaler_scale": None,
            "alpha_init": None,
            "alpha_scale": None,
            "learning_rate": 1e-4,
            "learning_rate_end": 5e-5,
            "tau": 0.005,
            "behaviour_cloning_weight": 0.0,
        },
        "temperature": {"initial": 0.01, "target_entropy_coefficient": -0.5},
        "replay": {"capacity": 1000000, "batch_size": 256, "n_step": 1},
        "experiment": "simba_v2",
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(old))
    assert resolve(read_config(tmp_path)) == resolve(Config(task="gymnax/Pendulum-v1"))


LEARNING: dict[str, tuple[dict[str, typing.Any], int | None]] = {
    "simba_v2": ({}, None),
    "simba": ({}, None),
    "sac": ({}, None),
    # Its targets move only at every second update, and the run is short.
    "td3": ({"tau": 0.02}, None),
    "redq": ({"policy_delay": 2, "num_critics": 5}, 2),
    "droq": ({"policy_delay": 2}, 2),
    "crossq": ({}, None),
    "bro": ({"num_bins": 20}, 2),
    "flash_sac": ({}, None),
}


@pytest.mark.optimised
@pytest.mark.parametrize("name", slow_if_in(("simba_v2", "sac", "td3", "crossq"), LEARNING))
def test_agents_learn_to_swing_up_a_pendulum(name):
    """From returns of about -1200 to above -400 with small networks; solved is about -150."""
    own, ratio = LEARNING[name]
    settings = {"actor_hidden_dim": 32, "critic_hidden_dim": 32, "learning_rate": 1e-3} | own
    config = Config(
        task="gymnax/Pendulum-v1",
        total_env_steps=6000 // (ratio or 1),
        evaluation_interval=6000 // (ratio or 1),
        learning_starts=500,
        update_to_data_ratio=ratio,
        agent=agent_settings(name, **settings),
        replay=ReplayConfig(batch_size=64),
        diagnostics="none",
    )
    run = make_train(config)
    numbers = make_program(config).hyperparameters()
    keys = jax.vmap(jax.random.key)(jnp.arange(4))
    _, reports = jax.jit(jax.vmap(run, in_axes=(0, None)))(keys, numbers)
    before, after = np.asarray(reports.evaluation.avg_return).T
    assert before.mean() < -700
    assert after.mean() > -400

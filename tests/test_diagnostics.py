"""Every diagnostic against a computation in numpy of its own."""

import dataclasses
import functools
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba.agents import registry
from purejax_simba.agents.agent import Agent, Batch, HyperParameters, Noise
from purejax_simba.agents.observed import Observed, look
from purejax_simba.agents.registry import agent_settings
from purejax_simba.config import Config, ReplayConfig
from purejax_simba.diagnostics import diagnose, network_metrics, rank_metrics, value_metrics
from purejax_simba.program import Program
from purejax_simba.run_state import Counters
from purejax_simba.training import make_program
from tests.helpers import linear, tiny
from tests.helpers.examples import mark_others

LEARNERS = [name for name in registry.AGENTS if name != "random"]
OBSERVATION, ACTION, BATCH = 3, 1, 24
CONFIG = Config(
    task="gymnax/Pendulum-v1",
    total_env_steps=80,
    evaluation_interval=40,
    learning_starts=50,
    agent=tiny.AGENT,
    replay=ReplayConfig(capacity=60, batch_size=16),
)


@functools.cache
def numbers() -> HyperParameters:
    with jax.ensure_compile_time_eval():  # who asks first may be tracing
        return make_program(CONFIG).hyperparameters()


def _draw(seed: int) -> tuple[Batch, Noise]:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    batch = Batch(
        observation=normal(BATCH, OBSERVATION),
        action=np.tanh(normal(BATCH, ACTION)),
        reward=normal(BATCH),
        discount=np.where(rng.random(BATCH) < 0.2, 0.0, 0.9).astype(np.float32),
        next_observation=normal(BATCH, OBSERVATION),
    )
    return batch, Noise(normal(BATCH, ACTION), normal(BATCH, ACTION))


def _diagnose_two(agent: Agent, states: Any, data: Any, per_module: bool) -> list[dict]:
    """Two runs at once; their metrics."""

    def one(state: Any, data: Any) -> dict:
        return diagnose(agent, state, *data, numbers(), per_module)

    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *data)
    metrics = jax.device_get(jax.jit(jax.vmap(one))(states, both))
    return [{name: value[run] for name, value in metrics.items()} for run in (0, 1)]


def _numpy(tree: Any, run: int) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf[run], np.float64), tree)


# Gradients: linear networks, whose losses are written down here and differentiated numerically.


def _linear_agent() -> Agent:
    def init_actor(key: jax.Array) -> dict:
        mean, std = 0.5 * jax.random.normal(key, (2, OBSERVATION, ACTION))
        return {"mean": {"kernel": mean, "bias": jnp.zeros(ACTION)}, "std": {"kernel": std}}

    def actor(params: dict, observation: jax.Array, _: Any) -> tuple[jax.Array, jax.Array]:
        mean = observation @ params["mean"]["kernel"] + params["mean"]["bias"]
        return mean, observation @ params["std"]["kernel"]

    def init_critic(key: jax.Array) -> dict:
        return {"value": {"kernel": jax.random.normal(key, (OBSERVATION + ACTION, 1))}}

    def critic(params: dict, observation: jax.Array, action: jax.Array, _: Any) -> jax.Array:
        return jnp.concatenate([observation, action], -1) @ params["value"]["kernel"]

    return linear.soft_actor_critic(init_actor, init_critic, actor, critic, num_critics=2)


def _sample(actor: dict, observation: np.ndarray, noise: np.ndarray) -> tuple:
    mean = observation @ actor["mean"]["kernel"] + actor["mean"]["bias"]
    log_std = observation @ actor["std"]["kernel"]
    action = np.tanh(mean + np.exp(log_std) * noise)
    gaussian = -0.5 * noise**2 - 0.5 * np.log(2 * np.pi) - log_std
    return action, (gaussian - np.log(1 - action**2)).sum(-1)


def _values(critic: dict, observation: np.ndarray, action: np.ndarray) -> np.ndarray:
    return np.concatenate([observation, action], -1) @ critic["value"]["kernel"][..., 0].T


def _actor_loss(actor: dict, state: Any, batch: Batch, noise: Noise) -> float:
    action, log_density = _sample(actor, batch.observation, noise.action)
    value = _values(state.critic, batch.observation, action).min(-1)
    return (np.exp(state.log_temperature) * log_density - value).mean()


def _critic_loss(critic: dict, state: Any, batch: Batch, noise: Noise) -> float:
    action, log_density = _sample(state.actor, batch.next_observation, noise.next_action)
    value = _values(state.target_critic, batch.next_observation, action).min(-1)
    target = batch.reward + batch.discount * (value - np.exp(state.log_temperature) * log_density)
    errors = _values(critic, batch.observation, batch.action) - target[:, None]
    return (errors**2).mean(0).sum()


def _slopes(loss: Any, params: dict, *arguments: Any) -> dict:
    """Central differences."""

    def slope(leaf: np.ndarray) -> np.ndarray:
        slopes = np.zeros_like(leaf)
        for index in np.ndindex(leaf.shape):
            before = leaf[index]
            leaf[index] = before + 1e-6
            above = loss(params, *arguments)
            leaf[index] = before - 1e-6
            slopes[index] = (above - loss(params, *arguments)) / 2e-6
            leaf[index] = before
        return slopes

    return jax.tree.map(slope, params)


def _norms(params: list[np.ndarray], slopes: list[np.ndarray]) -> dict[str, float]:
    counts = np.array([leaf.size for leaf in params])
    sizes = np.array([np.linalg.norm(leaf) for leaf in params])
    steep = np.array([np.linalg.norm(leaf) for leaf in slopes])
    moving = sizes > 0
    rates = steep[moving] / sizes[moving]
    return {
        "parameter_norm": np.linalg.norm(np.concatenate([leaf.ravel() for leaf in params])),
        "gradient_norm": np.linalg.norm(np.concatenate([leaf.ravel() for leaf in slopes])),
        "weighted_parameter_norm": np.sqrt(np.average(sizes**2, weights=counts)),
        "weighted_gradient_norm": np.sqrt(np.average(steep**2, weights=counts)),
        "effective_learning_rate": np.average(rates, weights=counts[moving]),
    }


def test_norms_gradients_and_effective_learning_rates():
    agent = _linear_agent()
    keys = jax.random.split(jax.random.key(3), 2)
    states = jax.jit(jax.vmap(agent.init, (0, None)))(keys, numbers())
    # Such an agent's target critics are others than its critics.
    states = states.replace(target_critic=jax.tree.map(lambda x: 0.8 * x, states.critic))
    data = [_draw(0), _draw(1)]
    for run, metrics in enumerate(_diagnose_two(agent, states, data, per_module=True)):
        state = _numpy(states, run)
        batch, noise = data[run]
        slopes = _slopes(_actor_loss, state.actor, state, batch, noise)
        expected = _norms(jax.tree.leaves(state.actor), jax.tree.leaves(slopes))
        assert {name: metrics[f"actor/{name}"] for name in expected} == pytest.approx(
            expected, rel=1e-4
        )
        for module in ("mean", "std"):
            own = _norms(*(list(tree[module].values()) for tree in (state.actor, slopes)))
            found = {name: metrics[f"actor/{module}/{name}"] for name in own}
            assert found == pytest.approx(own, rel=1e-4)
        slopes = _slopes(_critic_loss, state.critic, state, batch, noise)
        kernels, steep = state.critic["value"]["kernel"], slopes["value"]["kernel"]
        of_each = [_norms([k], [s]) for k, s in zip(kernels, steep, strict=True)]
        for name in expected:
            mean = np.mean([norms[name] for norms in of_each])
            assert metrics[f"critic/{name}"] == pytest.approx(mean, rel=1e-4), name


# What networks are like inside.


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


class _Inside:
    """Features, activations and learnable vectors, in the order of computation."""

    def __init__(self) -> None:
        self.features: dict[str, np.ndarray] = {}
        self.activations: dict[str, np.ndarray] = {}
        self.scalers: dict[str, np.ndarray] = {}
        self.alphas: dict[str, np.ndarray] = {}
        self.output = np.zeros(())


def _simba_v2(params: dict, x: np.ndarray, scales: Any, head: str) -> _Inside:
    """Section 4.1 of arXiv 2502.15280."""
    inside = _Inside()

    def linear(module: str, kernel: str, x: np.ndarray, tree: dict, ratio: float) -> np.ndarray:
        inside.scalers[module] = tree["scaler"] * ratio
        return (x @ tree[kernel]) * inside.scalers[module]

    ratio = float(scales.scaler_init / scales.scaler_scale)
    tree = params["encoder"]["embedder"]
    x = _unit(np.concatenate([x, np.full((len(x), 1), scales.shift)], -1))
    x = _unit(linear("encoder/embedder", "kernel", x, tree, ratio))
    inside.features["encoder/embedder"] = x
    name, tree = "encoder/block_0", params["encoder"]["block_0"]
    h = np.maximum(linear(name, "kernel_in", x, tree, ratio), 0.0) + 1e-8
    inside.activations[name] = h
    inside.alphas[name] = tree["alpha"] * float(scales.alpha_init / scales.alpha_scale)
    x = _unit(x + inside.alphas[name] * (_unit(h @ tree["kernel_out"]) - x))
    inside.features[name] = x
    heads = ("mean", "log_std") if head == "mean" else (head,)
    for head in heads:
        h = linear(head, "kernel_in", x, params[head], 1.0)
        inside.output = h @ params[head]["kernel_out"] + params[head]["bias"]
    return inside


def _layer_norm(x: np.ndarray, tree: dict) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return scaled * tree["scale"] + tree["bias"]


def _simba(params: dict, x: np.ndarray) -> _Inside:
    """Section 4 of arXiv 2410.09754."""
    inside, tree = _Inside(), params["encoder"]
    x = x @ tree["embedder"]["kernel"] + tree["embedder"]["bias"]
    inside.features["encoder/embedder"] = x
    block = tree["block_0"]
    h = _layer_norm(x, block["norm"]) @ block["dense_in"]["kernel"] + block["dense_in"]["bias"]
    h = inside.activations["encoder/block_0"] = np.maximum(h, 0.0)
    x = x + h @ block["dense_out"]["kernel"] + block["dense_out"]["bias"]
    inside.features["encoder/block_0"] = x
    inside.features["encoder/norm"] = _layer_norm(x, tree["norm"])
    return inside


def _observed(inside: _Inside) -> dict[str, float]:
    features, activations = list(inside.features.values()), list(inside.activations.values())
    metrics: dict[str, float] = {}
    if features:
        norms = [np.linalg.norm(x, axis=-1) for x in features]
        widths = [x.shape[-1] for x in features]
        squares = [(norm**2).mean() for norm in norms]
        metrics["feature_norm"] = sum(norm.mean() for norm in norms)
        metrics["weighted_feature_norm"] = np.sqrt(np.average(squares, weights=widths))
    if activations:
        sizes = [np.abs(h).mean(0) for h in activations]
        dormant = np.concatenate([size / size.mean() <= 0.1 for size in sizes])
        metrics["dormant_ratio"] = dormant.mean()
    for name, vectors in (("scaler", inside.scalers), ("alpha", inside.alphas)):
        if vectors:
            together = np.concatenate(list(vectors.values()))
            metrics |= {f"{name}_mean": together.mean(), f"{name}_std": together.std()}
    return metrics


def _ranks(feature: np.ndarray) -> dict[str, float]:
    values = np.linalg.svd(feature, compute_uv=False)
    share = values / values.sum()
    most = next(k for k in range(1, len(share) + 1) if share[:k].sum() >= 0.99)
    return {"effective_rank": np.exp(-(share * np.log(share)).sum()), "srank": most}


def _check(metrics: dict, inside: _Inside) -> None:
    """Those of the network, and those of its modules where they are there."""

    def compare(where: str, expected: dict[str, float]) -> None:
        found = {name: metrics[where + name] for name in expected}
        assert found == pytest.approx(expected, rel=1e-4), where

    compare("", _observed(inside))
    compare("", _ranks(list(inside.features.values())[-1]))
    for module in inside.features:
        if f"{module}/feature_norm" in metrics:
            part = _Inside()
            for name in ("features", "activations", "scalers", "alphas"):
                of_all = getattr(inside, name)
                setattr(part, name, {m: x for m, x in of_all.items() if m == module})
            compare(f"{module}/", _observed(part))


def _look_at_two(network: Any, params: Any, *inputs: Any, per_module: bool) -> list[dict]:
    """Metrics of a network with the parameters of two runs, and of what it returns."""

    def one(params: Any, *inputs: Any) -> dict:
        output, observed = look(network, params, *inputs, numbers())
        metrics = network_metrics(params, params, observed, per_module)
        return metrics | (
            value_metrics(output) if output[0].shape == (tiny.AGENT.num_bins,) else {}
        )

    metrics = jax.device_get(jax.jit(jax.vmap(one))(params, *inputs))
    return [{name: value[run] for name, value in metrics.items()} for run in (0, 1)]


def _params(program: Program, name: str) -> Any:
    """Of the actors or first critics of two runs, whose vectors are not as they began.

    Some of their neurons are dormant.
    """

    def disturb(path: tuple, leaf: jax.Array) -> jax.Array:
        key = jax.random.key(zlib.crc32(str(path).encode()))
        leaf = leaf * jax.random.uniform(key, leaf.shape, minval=0.5, maxval=1.5)
        if path[-1].key in ("kernel", "bias") and "dense_in" in str(path):
            return leaf.at[..., :3].set(0.0)
        return leaf.at[..., :3].set(1e-3) if path[-1].key == "scaler" else leaf

    keys = jax.random.split(jax.random.key(5), 2)
    state = jax.jit(jax.vmap(program.agent.init, (0, None)))(keys, program.hyperparameters())
    params = getattr(state, name)
    if name == "critic":
        params = jax.tree.map(lambda leaf: leaf[:, 0], params)
    return jax.tree_util.tree_map_with_path(disturb, params)


def _inputs() -> tuple[np.ndarray, np.ndarray]:
    first, second = _draw(0)[0], _draw(1)[0]
    return (
        np.stack([first.observation, second.observation]),
        np.stack([first.action, second.action]),
    )


def test_features_neurons_vectors_and_values_of_simba_v2():
    program = make_program(CONFIG)
    agent = program.agent
    params, (observations, actions) = _params(program, "critic"), _inputs()
    found = _look_at_two(agent.actor_critic.critic, params, observations, actions, per_module=True)
    for run, metrics in enumerate(found):
        x = np.concatenate([observations[run], actions[run]], -1)
        inside = _simba_v2(_numpy(params, run), x, numbers().critic, "value")
        _check(metrics, inside)
        assert "encoder/block_0/alpha_mean" in metrics
        assert metrics["weighted_feature_norm"] == pytest.approx(1.0, rel=1e-5)
        assert 0 < metrics["dormant_ratio"] < 1
        weights = np.exp(inside.output)
        probability = weights / weights.sum(-1, keepdims=True)
        assert [metrics[name] for name in ("value_mass_low", "value_mass_high")] == pytest.approx(
            [probability[:, 0].mean(), probability[:, -1].mean()], rel=1e-4
        )
        entropy = -(probability * np.log(probability)).sum(-1).mean()
        assert metrics["value_entropy"] == pytest.approx(entropy, rel=1e-4)


@pytest.mark.slow
def test_both_heads_of_an_actor_count():
    program = make_program(CONFIG)
    agent = program.agent
    params, (observations, _) = _params(program, "actor"), _inputs()
    for run, metrics in enumerate(
        _look_at_two(agent.actor_critic.actor, params, observations, per_module=False)
    ):
        inside = _simba_v2(_numpy(params, run), observations[run], numbers().actor, "mean")
        assert list(inside.scalers)[-2:] == ["mean", "log_std"]
        _check(metrics, inside)


@pytest.mark.slow
def test_features_and_neurons_of_simba():
    sizes = {"actor_hidden_dim": 8, "critic_hidden_dim": 8, "critic_num_blocks": 1}
    settings = agent_settings("simba", **sizes, num_critics=2)
    program = make_program(dataclasses.replace(CONFIG, agent=settings))
    agent = program.agent
    params, (observations, actions) = _params(program, "critic"), _inputs()
    found = _look_at_two(agent.actor_critic.critic, params, observations, actions, per_module=True)
    for run, metrics in enumerate(found):
        x = np.concatenate([observations[run], actions[run]], -1)
        _check(metrics, _simba(_numpy(params, run), x))
        assert metrics["dormant_ratio"] > 0
        assert not any("scaler" in name for name in metrics)


def test_neurons_of_a_layer_that_is_dead_are_all_dormant():
    dead = Observed("activation", "layer", jnp.zeros((BATCH, 6)))
    alive = Observed("activation", "layer", jnp.ones((BATCH, 2)))
    metrics = network_metrics({}, {}, [dead, alive], per_module=False)
    assert metrics["dormant_ratio"] == 6 / 8


def test_the_denominator_of_rewards_follows_from_the_bound_of_returns():
    with linear.agents():
        program = make_program(CONFIG)
    state = jax.jit(program.init)(jax.random.key(0), program.hyperparameters())
    scale = state.reward_scale.replace(largest=jnp.float32(70.0))
    state, diagnose_run = state.replace(reward_scale=scale), jax.jit(program.diagnose)
    # Without a transition there is nothing to say. The prior of returns has a deviation of 1.
    counters = Counters.create().replace(interactions=jnp.int32(1))
    for bound, expected in ((7.0, 10.0), (np.inf, 1.0)):
        bounded = program.hyperparameters().replace(return_bound=jnp.float32(bound))
        metrics = diagnose_run(counters, state, bounded)
        np.testing.assert_allclose(metrics["reward_denominator"], expected, rtol=1e-5)


@pytest.mark.parametrize("broken", [np.nan, np.inf, 0.0])
def test_what_has_no_rank_is_left_out(broken):
    features = np.stack([np.full((4, 3), broken), np.eye(4, 3)]).astype(np.float32)
    ranks = jax.vmap(rank_metrics)(features)
    for name in ("effective_rank", "srank"):
        assert ranks[name].tolist() == [pytest.approx(np.nan, nan_ok=True), pytest.approx(3.0)]


@pytest.mark.parametrize("name", mark_others(pytest.mark.slow, ("simba_v2", "sac"), LEARNERS))
def test_every_agent_has_them(name):
    """Traced only."""
    config = Config(task="gymnax/Pendulum-v1", agent=agent_settings(name))
    program = make_program(config)
    state = jax.eval_shape(program.init, jax.random.key(0), program.hyperparameters())
    arguments = (Counters.create(), state, program.hyperparameters())
    metrics = jax.eval_shape(program.diagnose, *arguments)
    expected = {
        "parameter_norm",
        "effective_learning_rate",
        "feature_norm",
        "dormant_ratio",
        "srank",
    }
    wanted = {f"{network}/{metric}" for network in ("actor", "critic") for metric in expected}
    assert wanted <= metrics.keys()
    assert {metric.shape for metric in metrics.values()} == {()}

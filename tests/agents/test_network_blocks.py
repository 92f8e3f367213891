"""Layers of the agents SimbaV2 is compared with, against numpy."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba.agents import bro, crossq
from purejax_simba.agents.crossq import BatchRenorm
from purejax_simba.agents.layers import Dense, matmul
from purejax_simba.agents.mlp import dropout

ROWS, FEATURES = 6, 3


def _init(module: nn.Module, *inputs: np.ndarray, **options: Any) -> dict:
    return jax.jit(lambda key: module.init(key, *inputs, **options))(jax.random.key(0))


def _apply(module: nn.Module, variables: dict, *inputs: np.ndarray, **options: Any) -> Any:
    return jax.jit(lambda variables: module.apply(variables, *inputs, **options))(variables)


def _draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _norm(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def test_dense_and_its_gradients_against_numpy():
    x, upstream = _draw(0, 2, ROWS, 4), _draw(1, 2, ROWS, FEATURES)
    layer = Dense(FEATURES)
    params = _init(layer, x)["params"]
    assert set(_init(Dense(FEATURES, use_bias=False), x)["params"]) == {"kernel"}
    params = {"kernel": params["kernel"], "bias": jnp.asarray(_draw(2, FEATURES))}

    def loss(params: dict, x: jax.Array) -> jax.Array:
        return (layer.apply({"params": params}, x) * upstream).sum()

    kernel = np.asarray(params["kernel"])
    np.testing.assert_allclose(
        _apply(layer, {"params": params}, x), x @ kernel + params["bias"], rtol=1e-5, atol=1e-6
    )
    gradient, x_gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, x)
    np.testing.assert_allclose(x_gradient, upstream @ kernel.T, rtol=1e-5, atol=1e-6)
    expected = np.einsum("abn,abm->nm", x, upstream)
    np.testing.assert_allclose(gradient["kernel"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient["bias"], upstream.sum((0, 1)), rtol=1e-5, atol=1e-6)


def _renormalised(x: np.ndarray, stats: dict, params: dict, warm_up: int) -> tuple[np.ndarray, ...]:
    """Arrays after one training batch, written as arXiv 1702.03275 has it, in float64."""
    x = x.astype(np.float64)
    mean = x.sum(0) / len(x)
    variance = ((x - mean) ** 2).sum(0) / len(x)
    std, running_std = np.sqrt(variance + 1e-3), np.sqrt(stats["variance"] + 1e-3)
    r, d = np.ones(FEATURES), np.zeros(FEATURES)
    if stats["batches"] >= warm_up:
        r = np.minimum(np.maximum(std / running_std, 1 / 3), 3)
        d = np.minimum(np.maximum((mean - stats["mean"]) / running_std, -5), 5)
    y = params["scale"] * ((x - mean) / std * r + d) + params["bias"]
    new_mean = 0.99 * stats["mean"] + 0.01 * mean
    return y, new_mean, 0.99 * stats["variance"] + 0.01 * variance, r, d


@pytest.mark.parametrize("batches", [4, 5], ids=["warming up", "warm"])
def test_batch_renormalisation_against_numpy(batches):
    # One feature like its running statistics, one clipped below in r, one above in r and d.
    x = _draw(3, ROWS, FEATURES) * np.float32([1.0, 0.01, 40.0]) + np.float32([0.5, 0.0, 90.0])
    stats = {
        "mean": np.float32([0.1, 0.2, 0.3]),
        "variance": np.float32([1.2, 1.0, 0.5]),
        "batches": np.float32(batches),
    }
    params = {"scale": np.float32([0.5, 1.0, 2.0]), "bias": np.float32([0.1, -0.2, 0.3])}
    layer = BatchRenorm(warm_up=5)
    variables = {"params": params, "batch_stats": stats}
    y, changed = _apply(layer, variables, x, train=True, mutable=["batch_stats"])
    expected, mean, variance, r, d = _renormalised(x, stats, params, 5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(changed["batch_stats"]["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(changed["batch_stats"]["variance"], variance, rtol=1e-5)
    assert int(changed["batch_stats"]["batches"]) == batches + 1
    if batches >= 5:
        np.testing.assert_allclose(r[1:], [1 / 3, 3])
        assert 0.3 < r[0] < 3
        assert abs(d[0]) < 5
        assert d[2] == 5


def test_no_gradient_passes_through_the_corrections():
    x = _draw(4, ROWS, FEATURES)
    stats = {
        "mean": np.full(FEATURES, 0.3, np.float32),
        "variance": np.full(FEATURES, 2.0, np.float32),
        "batches": np.float32(9),
    }
    params = {"scale": np.ones(FEATURES, np.float32), "bias": np.zeros(FEATURES, np.float32)}
    upstream = _draw(5, ROWS, FEATURES).astype(np.float64)
    _, _, _, r, d = _renormalised(x, stats, params, 0)

    def loss(x: np.ndarray) -> float:
        std = np.sqrt(x.var(0) + 1e-3)
        return float((upstream * ((x - x.mean(0)) / std * r + d)).sum())

    def ours(x: jax.Array) -> jax.Array:
        variables = {"params": params, "batch_stats": stats}
        layer = BatchRenorm(warm_up=0)
        y, _ = layer.apply(variables, x, train=True, mutable=["batch_stats"])
        return (y * upstream).sum()

    gradient = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        step = np.zeros(x.shape)
        step[index] = 1e-5
        gradient[index] = (loss(x + step) - loss(x - step)) / 2e-5
    np.testing.assert_allclose(jax.jit(jax.grad(ours))(x), gradient, rtol=1e-3, atol=1e-4)


def test_batch_renormalisation_in_use_takes_the_running_statistics():
    x = _draw(6, ROWS, FEATURES)
    layer = BatchRenorm()
    variables = _init(layer, x, train=True)
    start = variables["batch_stats"]
    np.testing.assert_array_equal(start["mean"], np.zeros(FEATURES))
    np.testing.assert_array_equal(start["variance"], np.ones(FEATURES))
    assert int(start["batches"]) == 0
    stats = start | {"mean": jnp.float32([1, 2, 3]), "variance": jnp.float32([4, 9, 16])}
    y = _apply(layer, {"params": variables["params"], "batch_stats": stats}, x, train=False)
    expected = (x - [1, 2, 3]) / np.sqrt(np.array([4, 9, 16]) + 1e-3)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_crossq_critic_against_numpy():
    observation, action = _draw(11, ROWS, 5), _draw(12, ROWS, 2)
    critic = crossq.Critic(hidden_dim=8, num_layers=2)
    variables = _init(critic, observation, action, train=True)
    params = variables["params"]["network"]

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ np.asarray(params[name]["kernel"], np.float64) + params[name]["bias"]

    def norm(x: np.ndarray) -> np.ndarray:
        return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3)

    x = norm(np.concatenate([observation, action], -1))
    for layer in ("hidden_0", "hidden_1"):
        x = norm(np.maximum(linear(layer, x), 0))
    ours, changed = _apply(
        critic, variables, observation, action, train=True, mutable="batch_stats"
    )
    np.testing.assert_allclose(ours, linear("output", x), rtol=1e-3, atol=1e-4)
    counts = [leaf["batches"] for leaf in changed["batch_stats"]["network"].values()]
    np.testing.assert_array_equal(counts, [1, 1, 1])


@pytest.mark.parametrize("shape", [(500, 7, 9), (31501,)], ids=["even", "odd"])
def test_dropout_drops_independently_at_its_rate(shape):
    rate = 0.1
    x = np.full(shape, 2.0, np.float32)
    draw = jax.jit(lambda key: dropout(key, x, rate))
    masks = [np.asarray(draw(jax.random.key(seed))) == 0 for seed in (0, 1)]
    size = masks[0].size
    for mask in masks:
        assert abs(mask.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / size)
    both = (masks[0] & masks[1]).mean()
    neighbours = (masks[0].ravel()[1:] & masks[0].ravel()[:-1]).mean()
    for together in (both, neighbours):
        assert abs(together - rate**2) < 5 * np.sqrt(rate**2 * (1 - rate**2) / size)
    kept = np.asarray(draw(jax.random.key(0)))[~masks[0]]
    np.testing.assert_allclose(kept, 2.0 / (1 - rate), rtol=1e-4)


def test_dropout_at_rate_zero_changes_nothing():
    x = _draw(13, 64, 64)
    np.testing.assert_array_equal(dropout(jax.random.key(0), x, 0.0), x)


def _bronet(params: dict, x: np.ndarray, blocks: int) -> np.ndarray:
    def linear(layer: dict, x: np.ndarray) -> np.ndarray:
        return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)

    x = np.maximum(_norm(linear(params["embedder"], x)), 0)
    for index in range(blocks):
        block = params[f"block_{index}"]
        h = np.maximum(_norm(linear(block["dense_in"], x)), 0)
        x = x + _norm(linear(block["dense_out"], h))
    return x


def test_bronet_against_numpy():
    observation, action = _draw(7, ROWS, 5), _draw(8, ROWS, 2)
    critic = bro.Critic(4, bro.Encoder(8, 2), bro._dense)
    params = _init(critic, observation, action)["params"]
    x = _bronet(params["encoder"], np.concatenate([observation, action], -1), 2)
    expected = x @ np.asarray(params["value"]["kernel"])
    np.testing.assert_allclose(
        _apply(critic, {"params": params}, observation, action), expected, rtol=1e-4, atol=1e-4
    )
    for layer in (params["encoder"]["embedder"], params["encoder"]["block_1"]["dense_in"]):
        kernel = np.asarray(layer["kernel"])
        short = kernel if kernel.shape[0] <= kernel.shape[1] else kernel.T
        np.testing.assert_allclose(short @ short.T, 2 * np.eye(len(short)), atol=1e-5)


def test_bronet_actors_against_numpy():
    observation, mean = _draw(9, ROWS, 5), _draw(10, ROWS, 2)
    actor = bro.Actor(2, bro.Encoder(8, 1), bro._dense)
    params = _init(actor, observation)["params"]
    x = _bronet(params["encoder"], observation, 1)
    ours = _apply(actor, {"params": params}, observation)
    np.testing.assert_allclose(ours[0], x @ params["mean"]["kernel"], rtol=1e-4, atol=1e-4)
    raw = x @ np.asarray(params["log_std"]["kernel"])
    np.testing.assert_allclose(ours[1], -4 + 6 * np.tanh(raw), rtol=1e-4, atol=1e-4)

    optimistic = bro.OptimisticActor(action_size=2, hidden_dim=8, num_blocks=1)
    params = _init(optimistic, observation, mean)["params"]
    x = _bronet(params["encoder"], np.concatenate([observation, mean], -1), 1)
    shift = _apply(optimistic, {"params": params}, observation, mean)
    np.testing.assert_allclose(shift, x @ params["shift"]["kernel"], rtol=1e-4, atol=1e-4)
    assert set(params["shift"]) == {"kernel"}
    assert np.abs(shift).max() < 0.2


@pytest.mark.parametrize("inputs", [3, 1024])
def test_gradients_of_matrix_products_are_those_of_plain_ones(inputs):
    """The rows of the wide one are transposed in another way."""
    draw = np.random.default_rng(0).standard_normal
    x, kernel = draw((2, 1, 256, inputs)), draw((2, inputs, 5))

    def gradients(multiply) -> tuple[jax.Array, jax.Array]:
        def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return (jnp.cos(multiply(x, kernel)) ** 2).sum()

        return jax.jit(jax.vmap(jax.grad(loss, (0, 1))))(jnp.float32(x), jnp.float32(kernel))

    for ours, theirs in zip(gradients(matmul), gradients(jnp.matmul), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)

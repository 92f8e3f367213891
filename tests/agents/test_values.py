"""Value representations against loops in float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba.agents import values
from purejax_simba.agents.values import Bootstrap, CategoricalValue, QuantileValue, ScalarValue

BATCH, BINS, RANGE = 16, 21, 5.0
FORMS = [values._project_scatter, values._project_dense]
TARGET = jax.jit(CategoricalValue.target, static_argnums=0)


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def _project(probabilities: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Algorithm 1 of arXiv 1707.06887, atom by atom."""
    projected = np.zeros(probabilities.shape)
    for row in range(probabilities.shape[0]):
        for atom in range(probabilities.shape[1]):
            where, mass = position[row, atom], probabilities[row, atom]
            lower, upper = int(np.floor(where)), int(np.ceil(where))
            if lower == upper:
                projected[row, lower] += mass
            else:
                projected[row, lower] += mass * (upper - where)
                projected[row, upper] += mass * (where - lower)
    return projected


def _positions(kind: str) -> np.ndarray:
    generator = np.random.default_rng(1)
    shape = (BATCH, BINS)
    if kind == "between bins":
        return generator.uniform(0, BINS - 1, shape).astype(np.float32)
    if kind == "exactly on bins":
        return generator.integers(0, BINS, shape).astype(np.float32)
    if kind == "lowest bin":
        return np.zeros(shape, np.float32)
    if kind == "highest bin":
        return np.full(shape, BINS - 1, np.float32)
    # A hair away from a bin, on either side and inside the range.
    bins = generator.integers(1, BINS - 1, shape).astype(np.float32)
    return np.nextafter(bins, generator.choice([-np.inf, np.inf], shape)).astype(np.float32)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize(
    "kind",
    ["between bins", "exactly on bins", "lowest bin", "highest bin", "a hair away from bins"],
)
def test_projection_is_that_of_a_loop_over_atoms(form, kind):
    probabilities = _softmax(np.random.default_rng(0).normal(size=(BATCH, BINS)) * 2)
    position = _positions(kind)
    ours = np.asarray(form(jnp.asarray(probabilities, jnp.float32), position), np.float64)
    theirs = _project(probabilities, position.astype(np.float64))
    # Positions of up to BINS have a float32 rounding of up to BINS * 2**-24.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=BINS * 2.0**-24)
    np.testing.assert_allclose(ours.sum(1), 1.0, atol=1e-6)
    np.testing.assert_allclose(
        ours @ np.arange(BINS), (probabilities * position).sum(1), rtol=1e-6, atol=1e-6
    )


def test_errors_are_those_that_transitions_are_prioritised_by():
    generator = np.random.default_rng(3)
    outputs = generator.normal(size=(2, BATCH, BINS)).astype(np.float32)
    target = _softmax(generator.normal(size=(BATCH, BINS)) * 3).astype(np.float32)
    target[0], target[1] = np.eye(BINS)[3], _softmax(outputs[0, 1])
    probability = _softmax(outputs.astype(np.float64))
    divergence = (target * np.log(np.maximum(target, 1e-30) / probability)).sum(-1)
    error = CategoricalValue(BINS).error(outputs, target)
    np.testing.assert_allclose(error, divergence, rtol=1e-4, atol=1e-6)
    assert (error >= 0.0).all()
    error = ScalarValue().error(outputs[..., :1], target[:, 0])
    np.testing.assert_allclose(error, np.abs(outputs[..., 0] - target[:, 0]))
    value = QuantileValue(BINS)
    np.testing.assert_array_equal(value.error(outputs, target), value.loss(outputs, target))


def test_project_chooses_a_form_that_works_under_jit_and_vmap():
    generator = np.random.default_rng(2)
    probabilities = _softmax(generator.normal(size=(3, BATCH, BINS)))
    position = generator.uniform(0, BINS - 1, probabilities.shape).astype(np.float32)
    project = jax.jit(jax.vmap(values.project))
    ours = project(jnp.asarray(probabilities, jnp.float32), position)
    for run in range(3):
        theirs = _project(probabilities[run], position[run].astype(np.float64))
        np.testing.assert_allclose(ours[run], theirs, atol=BINS * 2.0**-24)


def _bootstrap(seed: int, spread: float) -> tuple[np.ndarray, Bootstrap]:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(BATCH, BINS)).astype(np.float32)
    bootstrap = Bootstrap(
        reward=(spread * generator.normal(size=BATCH)).astype(np.float32),
        discount=np.where(generator.random(BATCH) < 0.3, 0.0, 0.97).astype(np.float32),
        entropy_cost=(0.1 * generator.normal(size=BATCH)).astype(np.float32),
    )
    return logits, bootstrap


@pytest.mark.parametrize("spread", [0.5, 8.0], ids=["inside the range", "beyond the range"])
def test_categorical_target_against_numpy(spread):
    logits, bootstrap = _bootstrap(3, spread)
    ours = TARGET(CategoricalValue(BINS), logits, bootstrap, jnp.float32(RANGE))
    reward, discount, cost = (np.asarray(x, np.float64)[:, None] for x in bootstrap)
    atoms = np.linspace(-RANGE, RANGE, BINS)
    moved = np.clip(reward + discount * (atoms - cost), -RANGE, RANGE)
    theirs = _project(_softmax(logits.astype(np.float64)), (moved + RANGE) / (atoms[1] - atoms[0]))
    np.testing.assert_allclose(ours, theirs, atol=4 * BINS * 2.0**-24)
    np.testing.assert_allclose(np.asarray(ours, np.float64).sum(1), 1.0, atol=1e-6)


def test_after_a_termination_the_target_is_the_reward_alone():
    logits, bootstrap = _bootstrap(4, 1.0)
    reward = np.linspace(-7, 7, BATCH).astype(np.float32)
    ended = bootstrap._replace(reward=reward, discount=np.zeros(BATCH, np.float32))
    value = CategoricalValue(BINS)
    target = np.asarray(TARGET(value, logits, ended, jnp.float32(RANGE)))
    assert ((target > 1e-6).sum(1) <= 2).all()
    atoms = np.linspace(-RANGE, RANGE, BINS)
    np.testing.assert_allclose(target @ atoms, np.clip(reward, -RANGE, RANGE), atol=1e-5)
    np.testing.assert_allclose(target[0], np.eye(BINS)[0], atol=1e-6)
    np.testing.assert_allclose(target[-1], np.eye(BINS)[-1], atol=1e-6)
    scalar = ScalarValue().target(jnp.ones((BATCH, 1)), ended, jnp.float32(RANGE))
    np.testing.assert_array_equal(scalar, reward)


def test_categorical_mean_and_loss_against_numpy():
    generator = np.random.default_rng(5)
    logits = generator.normal(size=(2, BATCH, BINS)) * 3
    target = _softmax(generator.normal(size=(BATCH, BINS)))
    value = CategoricalValue(BINS)
    output = jnp.asarray(logits, jnp.float32)
    loss = value.loss(output, jnp.asarray(target, jnp.float32))
    np.testing.assert_allclose(loss, -(target * np.log(_softmax(logits))).sum(-1), rtol=1e-5)
    mean = value.mean(output, jnp.float32(RANGE))
    expected = _softmax(logits) @ np.linspace(-RANGE, RANGE, BINS)
    np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-5)
    assert value.outputs == BINS
    np.testing.assert_allclose(value.bins(jnp.float32(2.0)), np.linspace(-2, 2, BINS), atol=1e-6)


def test_categorical_loss_is_finite_where_logits_are_extreme():
    output = jnp.zeros((1, BINS)).at[0, 0].set(1e4)
    target = jnp.zeros((1, BINS)).at[0, -1].set(1.0)
    np.testing.assert_allclose(CategoricalValue(BINS).loss(output, target), [1e4])


def test_scalar_value_against_numpy():
    generator = np.random.default_rng(6)
    output = generator.normal(size=(BATCH, 1))
    target = generator.normal(size=BATCH)
    value = ScalarValue()
    ours = jnp.asarray(output, jnp.float32)
    np.testing.assert_array_equal(value.mean(ours, jnp.float32(RANGE)), ours[:, 0])
    loss = value.loss(ours, jnp.asarray(target, jnp.float32))
    np.testing.assert_allclose(loss, (output[:, 0] - target) ** 2, rtol=1e-4, atol=1e-6)
    _, bootstrap = _bootstrap(7, 1.0)
    reward, discount, cost = (np.asarray(x, np.float64) for x in bootstrap)
    moved = value.target(ours, bootstrap, jnp.float32(RANGE))
    expected = reward + discount * (output[:, 0] - cost)
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-6)
    assert value.outputs == 1


def test_quantile_loss_is_a_double_sum():
    critics, quantiles = 2, 7
    generator = np.random.default_rng(8)
    output = generator.normal(size=(critics, BATCH, quantiles)) * 2
    target = generator.normal(size=(BATCH, quantiles)) * 2
    target[0, 0] = output[0, 0, 0]
    loss, gradient = np.zeros((critics, BATCH)), np.zeros(output.shape)
    for critic, row in np.ndindex(critics, BATCH):
        for i in range(quantiles):
            level = (2 * i + 1) / (2 * quantiles)
            for j in range(quantiles):
                error = target[row, j] - output[critic, row, i]
                weight = abs(level - (1.0 if error < 0 else 0.0)) / quantiles
                near = abs(error) <= 1.0
                loss[critic, row] += weight * (0.5 * error**2 if near else abs(error) - 0.5)
                gradient[critic, row, i] -= weight * (error if near else np.sign(error))
    value = QuantileValue(quantiles)
    arrays = jnp.asarray(output, jnp.float32), jnp.asarray(target, jnp.float32)
    np.testing.assert_allclose(value.loss(*arrays), loss, rtol=1e-5)
    ours = jax.grad(lambda *arrays: value.loss(*arrays).sum())(*arrays)
    np.testing.assert_allclose(ours, gradient, rtol=1e-5, atol=1e-6)


def test_quantile_loss_is_least_at_the_quantiles_of_the_target():
    # Far apart, so that the rounded corner of the loss (one wide) does not matter.
    target = 1e4 * np.arange(9.0, dtype=np.float32)[None]
    value = QuantileValue(3)
    best = jnp.asarray(np.quantile(target, [1 / 6, 1 / 2, 5 / 6], method="inverted_cdf")[None])
    for quantile in range(3):
        for shift in (-5e3, 5e3):
            assert value.loss(best, target) < value.loss(best.at[:, quantile].add(shift), target)


def test_quantile_mean_and_target_against_numpy():
    generator = np.random.default_rng(9)
    output = generator.normal(size=(BATCH, 5)).astype(np.float32)
    value = QuantileValue(5)
    mean = value.mean(jnp.asarray(output), jnp.float32(RANGE))
    np.testing.assert_allclose(mean, output.mean(-1), rtol=1e-5, atol=1e-6)
    _, bootstrap = _bootstrap(10, 1.0)
    ours = value.target(jnp.asarray(output), bootstrap, jnp.float32(RANGE))
    for row in range(BATCH):
        reward, discount, cost = (float(x[row]) for x in bootstrap)
        theirs = reward + discount * (output[row].astype(np.float64) - cost)
        np.testing.assert_allclose(ours[row], theirs, rtol=1e-5, atol=1e-5)
    assert value.outputs == 5

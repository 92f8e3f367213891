"""The sum tree against an array of priorities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from purejax_simba.data import priorities
from purejax_simba.data.priorities import WIDTH, Priorities

# Several groups, the last of them and its last block not full.
SIZE = 2 * WIDTH**2 + 3 * WIDTH + 5


def _put(tree: Priorities, index: np.ndarray, value: np.ndarray) -> Priorities:
    return jax.jit(Priorities.put)(tree, index.astype(np.int32), value.astype(np.float32))


def _draw(tree: Priorities, keys: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    draw = jax.jit(lambda key: jax.vmap(lambda k: tree.draw(k, count))(jax.random.split(key, keys)))
    index, probability = draw(jax.random.key(0))
    return np.asarray(index).ravel(), np.asarray(probability).ravel()


def _few(count: int) -> tuple[Priorities, np.ndarray]:
    """A tree in which so many of all entries are not zero, and its entries."""
    generator = np.random.default_rng(count)
    index = generator.choice(SIZE, count, replace=False)
    index[:3] = 0, WIDTH**2, SIZE - 1
    values = np.zeros(SIZE, np.float32)
    values[index] = 0.3 + generator.gamma(1.0, 2.0, count)
    return _put(Priorities.create(SIZE), index, values[index]), values


def _assert_consistent(tree: Priorities, values: np.ndarray) -> None:
    stored = np.asarray(tree.values).ravel()
    np.testing.assert_array_equal(stored[: len(values)], values)
    assert not stored[len(values) :].any()
    blocks = np.asarray(tree.values, np.float64).sum(1)
    sums = np.asarray(tree.sums).ravel()
    np.testing.assert_allclose(sums[: len(blocks)], blocks, rtol=1e-6)
    assert not sums[len(blocks) :].any()
    groups = np.asarray(tree.sums, np.float64).sum(1)
    np.testing.assert_allclose(tree.totals, groups, rtol=1e-6)


def test_entries_and_sums_after_many_changes():
    generator = np.random.default_rng(0)
    tree, values, largest = Priorities.create(SIZE), np.zeros(SIZE, np.float32), 0.0
    _assert_consistent(tree, values)
    for _ in range(50):
        # Few places, so that many are there several times.
        index = generator.integers(0, SIZE, 8)[generator.integers(0, 8, 32)]
        value = np.float32(generator.gamma(1.0, 1e4 ** generator.normal(), 32))
        value[generator.random(32) < 0.2] = 0.0
        tree = _put(tree, index, value)
        values[index] = 0.0
        np.maximum.at(values, index, value)
        largest = max(largest, value.max())
        _assert_consistent(tree, values)
        assert tree.largest == tree.of_new == np.float32(largest)
    assert Priorities.create(SIZE).of_new == 1.0


def test_draws_are_in_proportion_to_priorities():
    tree, values = _few(40)
    expected = values / values.sum(dtype=np.float64)
    index, probability = _draw(tree, keys=5_000, count=1)
    np.testing.assert_allclose(probability, expected[index], rtol=1e-5)
    drawn = np.bincount(index, minlength=SIZE)
    assert not drawn[values == 0.0].any()
    often = len(index) * expected[values > 0.0]
    drawn = drawn[values > 0.0]
    assert ((drawn - often) ** 2 / often).sum() < stats.chi2.ppf(0.999, len(often) - 1)


def test_a_batch_has_a_draw_from_every_part_of_the_total():
    tree, values = _few(300)
    count = 4096
    index, _ = _draw(tree, keys=1, count=count)
    often = count * values.astype(np.float64) / values.sum(dtype=np.float64)
    assert np.abs(np.bincount(index, minlength=SIZE) - often).max() < 2.01
    assert (np.diff(index) >= 0).all()


@pytest.mark.slow
def test_of_tens_of_millions_each_entry_is_drawn_as_often_as_it_should():
    """Float32 has a point in their total only to the nearest of every second, or fourth, entry."""
    size, classes = 2**25, 5 * 8  # by priority, and by place in a few
    values = np.resize(np.float32([0, 0.5, 1, 1.5, 2]), size)
    sums = values.reshape(-1, WIDTH, WIDTH).sum(-1)
    tree = Priorities(
        *map(jnp.asarray, (values.reshape(-1, WIDTH), sums, sums.sum(-1), values.max()))
    )
    draw = jax.jit(lambda keys: jax.lax.map(lambda key: tree.draw(key, 1_000)[0], keys))
    index = np.asarray(draw(jax.random.split(jax.random.key(0), 10))).ravel()
    drawn = np.bincount(index % classes, minlength=classes)
    expected = values[:classes] / values[:classes].sum()
    assert not drawn[expected == 0.0].any()
    often = len(index) * expected[expected > 0.0]
    drawn = drawn[expected > 0.0]
    # Less is left to chance than if all were drawn alone, as batches are spread over the total.
    assert ((drawn - often) ** 2 / often).sum() < stats.chi2.ppf(0.999, len(often) - 1)


def test_rounding_never_leads_to_an_empty_entry():
    """Points at and around all ends of entries, and outside of all of them."""
    generator = np.random.default_rng(1)
    entries = np.float32(10.0 ** generator.uniform(-4, 4, (50, WIDTH)))
    entries *= generator.random(entries.shape) < 0.3
    entries[:, 0] = entries[:, -1] = 0.0
    entries[:, 5] = 1.0

    @jax.jit
    def find(row: jax.Array, points: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        return priorities._find(jnp.broadcast_to(row, (len(points), WIDTH)), points)

    for row in entries:
        ends = np.cumsum(row, dtype=np.float32)
        around = [np.nextafter(ends, np.float32(to)) for to in (-np.inf, np.inf)]
        points = np.concatenate([ends, *around, [-1e-3, 2.0 * ends[-1]]]).astype(np.float32)
        found, entry, rest = find(row, points)
        np.testing.assert_array_equal(entry, row[found])
        assert (row[found] > 0.0).all()
        inside = np.float64(points) - np.concatenate([[0], np.cumsum(row, dtype=np.float64)])[found]
        np.testing.assert_allclose(rest, inside, rtol=1e-5, atol=1e-6 * ends[-1])
        middles = np.cumsum(row, dtype=np.float64) - 0.5 * row
        found, _, _ = find(row, middles.astype(np.float32))
        large = np.flatnonzero(row > 1e-4 * ends[-1])
        np.testing.assert_array_equal(found[large], large)


def test_runs_under_vmap_are_the_runs_alone():
    trees = [_few(count)[0] for count in (20, 30)]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    keys = jax.random.split(jax.random.key(0), 2)

    def change(tree: Priorities, key: jax.Array) -> tuple[Priorities, jax.Array]:
        index, probability = tree.draw(key, 16)
        return tree.put(index, 3.0 * probability), index

    both = jax.jit(jax.vmap(change))(together, keys)
    for run, tree in enumerate(trees):
        alone = jax.jit(change)(tree, keys[run])
        for ours, theirs in zip(jax.tree.leaves(both), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(ours[run], theirs, rtol=1e-5)


@pytest.mark.optimised
def test_changes_are_made_in_place():
    """Nothing as large as all entries is copied while runs draw and change again and again."""
    runs, size = 3, 20 * WIDTH**2

    def change(tree: Priorities, key: jax.Array) -> Priorities:
        def step(number: jax.Array, tree: Priorities) -> Priorities:
            index, probability = tree.draw(jax.random.fold_in(key, number), 8)
            return tree.put(index, 2.0 * probability)

        return jax.lax.fori_loop(0, 100, step, tree)

    tree = jax.vmap(lambda _: Priorities.create(size))(jnp.arange(runs))
    keys = jax.random.split(jax.random.key(0), runs)
    compiled = jax.jit(jax.vmap(change), donate_argnums=0).lower(tree, keys).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < tree.values.nbytes // 4

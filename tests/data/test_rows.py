"""Rows that lie side by side in blocks, as numpy has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba.data.rows import MOST_PADDING, TILE, Rows
from tests.helpers.stored import numbers

ENVIRONMENTS, COUNT = 3, 50


def _filled(width: int) -> tuple[Rows, np.ndarray]:
    expected = np.random.default_rng(width).normal(size=(COUNT, ENVIRONMENTS, width))
    expected = expected.astype(np.float32)
    rows, put = Rows.create(ENVIRONMENTS, COUNT, width), jax.jit(Rows.put)
    for number, values in enumerate(expected):
        rows = put(rows, np.int32(number), values)
    return rows, expected


@pytest.mark.parametrize("width", [1, 6, 25, 90, 128, 263])
def test_rows_are_as_they_were_put(width):
    rows, expected = _filled(width)
    np.testing.assert_array_equal(numbers(rows)[:COUNT], expected)
    generator = np.random.default_rng(0)
    row = generator.integers(COUNT, size=(20, 2))
    environment = generator.integers(ENVIRONMENTS, size=(20, 1))
    np.testing.assert_array_equal(rows.get(row, environment), expected[row, environment])
    # As a TPU takes them.
    row, environment = jnp.broadcast_arrays(row, environment)
    found = rows._get_blocks(rows.blocks, row, environment)
    np.testing.assert_array_equal(found, expected[row, environment])


@pytest.mark.parametrize("width", [6, 90])
def test_environments_put_rows_where_they_want(width):
    rows, expected = _filled(width)
    wanted, row = np.array([True, False, True]), np.array([4, 5, COUNT - 1])
    values = np.full((ENVIRONMENTS, width), np.nan, np.float32)
    changed = rows.put_where(wanted, row, values)
    expected[row[wanted], np.flatnonzero(wanted)] = np.nan
    np.testing.assert_array_equal(numbers(changed)[:COUNT], expected)


@pytest.mark.parametrize("width", [1, 6, 25, 90, 128, 263, 1000])
def test_whole_tiles_are_nearly_full(width):
    size = Rows.create(1, 1, width).blocks.shape[-1]
    assert size % TILE == 0
    assert size <= (1 + MOST_PADDING) * (size // width) * width

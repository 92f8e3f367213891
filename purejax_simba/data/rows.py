"""Rows of numbers that every device keeps in one layout, without padding or copying them.

A TPU stores arrays in tiles of 128 numbers along the last axis. Rows of 17 would be padded to 128,
or laid across, and every loop that writes rows and draws others would copy all of them from one
layout to the other. Here as many rows lie side by side as fill tiles nearly up.
"""

import functools

import jax
import jax.numpy as jnp
from flax import struct
from jax.experimental.layout import Layout, with_layout_constraint

TILE = 128
# What may be left empty, in parts of what is filled.
MOST_PADDING = 0.05


def _row_major(values: jax.Array) -> jax.Array:
    """Or a TPU takes whatever layout `values` have for all blocks, and copies them for it."""
    return with_layout_constraint(values, Layout(tuple(range(values.ndim))))


def _as_it_is(values: jax.Array) -> jax.Array:
    return values


class Rows(struct.PyTreeNode):
    """As many rows of `width` numbers for each of E environments.

    Attributes:
      blocks: `(blocks, E, tiles * TILE)` float32, each with some whole rows of an environment.
      width: of a row.
    """

    blocks: jax.Array
    width: int = struct.field(pytree_node=False)

    @classmethod
    def create(cls, num_environments: int, count: int, width: int) -> "Rows":
        """Zeros, with room for `count` rows or a few more."""
        side_by_side = 1
        while -(side_by_side * width) % TILE > MOST_PADDING * side_by_side * width:
            side_by_side += 1
        size = -(-side_by_side * width // TILE) * TILE
        return cls(jnp.zeros((-(-count // (size // width)), num_environments, size)), width)

    @property
    def _side_by_side(self) -> int:
        return self.blocks.shape[-1] // self.width

    def _place(self, row: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The block of a row, and where in it the row begins."""
        return row // self._side_by_side, row % self._side_by_side * self.width

    def put(self, row: jax.Array, values: jax.Array) -> "Rows":
        """With `values` `(E, width)` in row number `row`, `()` int32, of every environment.

        As long as `row` is not batched this stays one slice update for all runs.
        """
        block, column = self._place(row)
        values = jax.lax.platform_dependent(values[None], tpu=_row_major, default=_as_it_is)
        blocks = jax.lax.dynamic_update_slice(self.blocks, values, (block, 0, column))
        return self.replace(blocks=blocks)

    def put_where(self, wanted: jax.Array, row: jax.Array, values: jax.Array) -> "Rows":
        """With `values` `(E, width)` in rows `(E,)` where `wanted` `(E,)`."""

        block, column = self._place(row)
        # What is out of range is not written.
        block = jnp.where(wanted, block, len(self.blocks))
        columns = column[:, None] + jnp.arange(self.width)
        place = (block[:, None], jnp.arange(len(row))[:, None], columns)
        return self.replace(blocks=self.blocks.at[place].set(values, mode="drop"))

    def get(self, row: jax.Array, environment: jax.Array) -> jax.Array:
        """Rows `(..., width)` of environments, from their numbers `(...)`."""
        row, environment = jnp.broadcast_arrays(row, environment)
        return jax.lax.platform_dependent(
            self.blocks, row, environment, tpu=self._get_blocks, default=self._get_rows
        )

    def _get_rows(self, blocks: jax.Array, row: jax.Array, environment: jax.Array) -> jax.Array:
        @functools.partial(jnp.vectorize, signature="(),()->(n)")
        def get(row: jax.Array, environment: jax.Array) -> jax.Array:
            block, column = self._place(row)
            place = (block, environment, column)
            return jax.lax.dynamic_slice(blocks, place, (1, 1, self.width))[0, 0]

        return get(row, environment)

    def _get_blocks(self, blocks: jax.Array, row: jax.Array, environment: jax.Array) -> jax.Array:
        """Whole blocks, which lie in whole tiles, and the rows out of them."""
        block, column = self._place(row)
        found = blocks[block, environment]
        rows = jnp.zeros((*row.shape, self.width))
        for begin in range(0, self._side_by_side * self.width, self.width):
            here = found[..., begin : begin + self.width]
            rows = jnp.where((column == begin)[..., None], here, rows)
        return rows

"""Drawing in proportion to priorities, of which there are many and a few change at a time.

A sum tree (arXiv 1511.05952, appendix B.2.1) of three levels, wide in place of deep, so that a draw
takes few steps on a device. A sum is added up anew from what is below it whenever that changes: no
rounding gathers over the changes.
"""

import jax
import jax.numpy as jnp
from flax import struct

# Entries of a block: a cube of it should be near the size of a usual replay.
WIDTH = 64
# Into which the total is cut, about, each of them in one group. Float32 has all whole numbers up to
# twice as many; a point in the total itself it would have no finer than that, which is more than an
# entry if there are tens of millions.
STEPS = 2**23


class Priorities(struct.PyTreeNode):
    """Priorities of one run's transitions.

    Attributes:
      values: `(blocks, WIDTH)`, zero for what cannot be drawn.
      sums: `(groups, WIDTH)`, of the blocks of `values`.
      totals: `(groups,)`, of the groups of `sums`.
      largest: `()`, of all values so far; zero before the first.
    """

    values: jax.Array
    sums: jax.Array
    totals: jax.Array
    largest: jax.Array

    @classmethod
    def create(cls, size: int) -> "Priorities":
        """All zero, with room for `size` entries."""
        blocks = -(-size // WIDTH)
        groups = -(-blocks // WIDTH)
        values, sums = jnp.zeros((blocks, WIDTH)), jnp.zeros((groups, WIDTH))
        return cls(values, sums, jnp.zeros(groups), jnp.zeros(()))

    @property
    def of_new(self) -> jax.Array:
        """`()`, what is new gets: the largest so far, 1 at first (algorithm 1 of the paper)."""
        return jnp.where(self.largest > 0.0, self.largest, 1.0)

    def put(self, index: jax.Array, value: jax.Array) -> "Priorities":
        """New values `(n,)`, zero or more, at `index` `(n,)` int32.

        Where an index is there several times its largest value counts, so that the order in which
        a device writes them does not matter.
        """
        block = index // WIDTH
        group = block // WIDTH
        place = (block, index % WIDTH)
        values = self.values.at[place].set(0.0).at[place].max(value)
        sums = self.sums.at[group, block % WIDTH].set(values[block].sum(-1))
        return Priorities(
            values=values,
            sums=sums,
            totals=self.totals.at[group].set(sums[group].sum(-1)),
            largest=jnp.maximum(self.largest, value.max()),
        )

    def draw(self, key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
        """Indices `(count,)` int32, drawn with replacement, and their probabilities.

        The range of the total is cut into `count` equal parts, and a point is drawn from each. An
        index whose value is zero is never drawn, unless all are.
        """
        total = self.totals.sum()
        part, rest = jax.random.uniform(key, (2, count))
        steps = jnp.round(self.totals / total * STEPS).astype(jnp.int32)
        ends = jnp.cumsum(steps)
        step = ((jnp.arange(count) + part) / count * ends[-1]).astype(jnp.int32)
        step = jnp.minimum(step, ends[-1] - 1)
        group = jnp.sum(ends <= step[:, None], axis=-1)
        into = step - (ends - steps)[group] + rest
        points = into / steps[group] * self.totals[group]
        block, _, points = _find(self.sums[group], points)
        block += group * WIDTH
        # All that is read of the old values leads to the index. So a change at this index follows
        # the reading, and XLA makes it in place.
        place, value, _ = _find(self.values[block], points)
        return block * WIDTH + place, value / total


def importance_exponent(start: jax.Array, progress: jax.Array) -> jax.Array:
    """Beta after a part of the run, from 0 to 1; it rises linearly from `start` to 1."""
    return start + (1.0 - start) * progress.clip(0.0, 1.0)


def _find(entries: jax.Array, points: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Which entries points lie in, if entries are put end to end.

    Args:
      entries: `(n, WIDTH)`, a row for every point.
      points: `(n,)`, from 0 to the sum of the entries.

    Returns:
      Positions, the entries there, and how far into them the points are; `(n,)` each.
    """
    position = jnp.arange(WIDTH)
    # Faster than a scan, as rows are many and short.
    ends = jnp.matmul(entries, jnp.triu(jnp.ones((WIDTH, WIDTH))), precision="highest")
    # Sums are rounded: a point can seem to be in an empty entry, or beyond the last that is not.
    filled = entries > 0.0
    last = jnp.where(filled, position, 0).max(-1, keepdims=True)
    found = jnp.where(filled & (ends > points[:, None]), position, last).min(-1)
    before = jnp.where(position < found[:, None], entries, 0.0).sum(-1)
    entry = jnp.where(position == found[:, None], entries, 0.0).sum(-1)
    return found, entry, points - before

"""Running statistics of observations and returns, accurate in float32.

Sums over a million steps are kept as unevaluated pairs of float32 (high + low), so that the
statistics stay within 1e-5 of float64 even where the mean is 1000 times the standard deviation.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

EPSILON = 1e-8
PRIOR_COUNT = 1e-4
# Numbers beyond count as this: the squares of so many of them still have room in float32.
LARGEST = 1e13
# From here on older vectors count less and less, as int32 has no room for many more.
LARGEST_COUNT = 2**30


class Pair(NamedTuple):
    """A number as high + low, both float32, |low| at most half a unit in the last place of high."""

    high: jax.Array
    low: jax.Array

    def add(self, x: jax.Array) -> "Pair":
        """self + x, by Knuth's error-free sum and a renormalisation."""
        high, error = _two_sum(self.high, x)
        return Pair(*_two_sum(high, error + self.low))

    def minus_from(self, x: jax.Array) -> jax.Array:
        """x - self, exact where x is near self."""
        return (x - self.high) - self.low


def _bounded(x: jax.Array) -> jax.Array:
    """What is infinite stays so: an environment that has gone wrong is not to be hidden."""
    return jnp.where(jnp.isfinite(x), jnp.clip(x, -LARGEST, LARGEST), x)


def _two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    total = a + b
    b_part = total - a
    return total, (a - (total - b_part)) + (b - b_part)


class RunningMoments(struct.PyTreeNode):
    """Mean and variance of a stream of vectors, with a prior of mean 0, variance 1, count 1e-4.

    Attributes:
      mean: `(n,)`.
      squares: `(n,)`, sum of squared deviations from the mean, prior included.
      count: `()` int32, vectors seen, up to `LARGEST_COUNT`.
    """

    mean: Pair
    squares: Pair
    count: jax.Array

    @classmethod
    def create(cls, size: int) -> "RunningMoments":
        """Moments before the first vector."""
        zero = jnp.zeros(size, jnp.float32)
        return cls(
            mean=Pair(zero, zero),
            squares=Pair(jnp.full(size, PRIOR_COUNT, jnp.float32), zero),
            count=jnp.zeros((), jnp.int32),
        )

    def update(self, x: jax.Array, repeated_prior: bool = False) -> "RunningMoments":
        """Takes in a batch `(b, n)` (Chan et al. 1983, the parallel form of Welford's method).

        Args:
          x: the batch.
          repeated_prior: as FlashSAC's code has it, the prior counts for the mean and the variance
            of no batch, and the variance so far is counted `PRIOR_COUNT` times again at every one.
        """
        x = _bounded(x)
        before = self.count.astype(jnp.float32) + (0.0 if repeated_prior else PRIOR_COUNT)
        ratio = x.shape[0] / (before + x.shape[0])
        # Deviations are taken from the running mean first: they are small and exact.
        deviation = self.mean.minus_from(x)
        delta = deviation.mean(0)
        spread = jnp.sum((deviation - delta) ** 2, axis=0)
        added = spread + delta**2 * (before * ratio)
        after = self.count + x.shape[0]
        if repeated_prior:
            added = added + (self.squares.high + added) * (PRIOR_COUNT / after)
        excess = jnp.maximum(after - LARGEST_COUNT, 0)
        forgotten = (self.squares.high + added) * (excess / after)
        return RunningMoments(
            mean=self.mean.add(delta * ratio),
            squares=self.squares.add(added - forgotten),
            count=after - excess,
        )

    @property
    def variance(self) -> jax.Array:
        """`(n,)`."""
        return self.squares.high / (self.count.astype(jnp.float32) + PRIOR_COUNT)

    def normalise(self, x: jax.Array) -> jax.Array:
        """(x - mean) / sqrt(variance + 1e-8) for x `(..., n)`."""
        return self.mean.minus_from(_bounded(x)) / jnp.sqrt(self.variance + EPSILON)


class RewardScale(struct.PyTreeNode):
    """Scales rewards so that returns have unit variance at most and stay within [-g_max, g_max].

    SimbaV2, arXiv 2502.15280, section 4.3.

    Attributes:
      discounted_return: `(num_environments,)`, G <- r + discount * (1 - done) * G.
      moments: of G.
      largest: `()`, running maximum of |G|.
    """

    discounted_return: jax.Array
    moments: RunningMoments
    largest: jax.Array

    @classmethod
    def create(cls, num_environments: int) -> "RewardScale":
        """Scale before the first reward: 1."""
        return cls(
            discounted_return=jnp.zeros(num_environments, jnp.float32),
            moments=RunningMoments.create(1),
            largest=jnp.zeros((), jnp.float32),
        )

    def update(
        self, reward: jax.Array, done: jax.Array, discount: jax.Array, repeated_prior: bool = False
    ) -> "RewardScale":
        """Takes in one step: reward `(num_environments,)` and whether its episode ended.

        `repeated_prior` is that of `RunningMoments.update`.
        """
        discounted_return = reward + discount * jnp.where(done, 0.0, self.discounted_return)
        return RewardScale(
            discounted_return=discounted_return,
            moments=self.moments.update(discounted_return[:, None], repeated_prior),
            largest=jnp.maximum(self.largest, jnp.abs(discounted_return).max()),
        )

    def forget_episodes(self) -> "RewardScale":
        """As if every episode had just ended without another reward."""
        return self.replace(discounted_return=jnp.zeros_like(self.discounted_return))

    def environment_axes(self) -> "RewardScale":
        """Which axis of each array counts environments; -1: it belongs to all of them."""
        return jax.tree.map(lambda _: -1, self).replace(discounted_return=0)

    def denominator(self, value_range: jax.Array) -> jax.Array:
        """What rewards are divided by, `()`."""
        deviation = jnp.sqrt(self.moments.variance[0] + EPSILON)
        return jnp.maximum(deviation, self.largest / value_range)

"""How critics represent values: as a categorical distribution, as quantiles or as one number.

All follow the same interface. `output` is what a critic network returns, `(..., outputs)`; `target`
is what it is trained towards. `error` is how far an output is from it, 0 or more: what transitions
are prioritised by. Products here are in full float32, whatever networks are computed in.
"""

from typing import NamedTuple

import jax
import jax.custom_batching
import jax.numpy as jnp


class Bootstrap(NamedTuple):
    """What a one-step (or n-step) target is made of.

    Attributes:
      reward: `(B,)`, scaled, discounted and summed over the steps.
      discount: `(B,)`, discount to the power of the steps, zero after a termination.
      entropy_cost: `(B,)`, temperature * log pi of the next action.
    """

    reward: jax.Array
    discount: jax.Array
    entropy_cost: jax.Array


class CategoricalValue(NamedTuple):
    """A distribution over bins spaced evenly on [-value_range, value_range] (arXiv 1707.06887)."""

    num_bins: int

    @property
    def outputs(self) -> int:
        """Length of a critic's output."""
        return self.num_bins

    def bins(self, value_range: jax.Array) -> jax.Array:
        """Centres of the bins, `(num_bins,)`."""
        return jnp.linspace(-1.0, 1.0, self.num_bins) * value_range

    def mean(self, output: jax.Array, value_range: jax.Array) -> jax.Array:
        """Expected value, `(...)`."""
        return jnp.matmul(jax.nn.softmax(output), self.bins(value_range), precision="highest")

    def target(self, output: jax.Array, bootstrap: Bootstrap, value_range: jax.Array) -> jax.Array:
        """Distribution of the bootstrapped value projected onto the bins, `(B, num_bins)`."""
        spacing = 2.0 * value_range / (self.num_bins - 1)
        cost = bootstrap.entropy_cost[:, None]
        moved = bootstrap.reward[:, None] + bootstrap.discount[:, None] * (
            self.bins(value_range) - cost
        )
        position = (moved.clip(-value_range, value_range) + value_range) / spacing
        return project(jax.nn.softmax(output), position)

    def loss(self, output: jax.Array, target: jax.Array) -> jax.Array:
        """Cross entropy against a target distribution, `(...)`."""
        return -jnp.sum(target * jax.nn.log_softmax(output), axis=-1)

    def error(self, output: jax.Array, target: jax.Array) -> jax.Array:
        """Kullback-Leibler divergence from the target, `(...)` (Rainbow, arXiv 1710.02298)."""
        entropy = jax.scipy.special.entr(target).sum(-1)
        return jax.nn.relu(self.loss(output, target) - entropy)


class QuantileValue(NamedTuple):
    """Quantiles at the levels (i + 1/2) / num_quantiles (arXiv 1710.10044)."""

    num_quantiles: int

    @property
    def outputs(self) -> int:
        """Length of a critic's output."""
        return self.num_quantiles

    def mean(self, output: jax.Array, value_range: jax.Array) -> jax.Array:
        """Expected value, `(...)`."""
        del value_range
        return output.mean(-1)

    def target(self, output: jax.Array, bootstrap: Bootstrap, value_range: jax.Array) -> jax.Array:
        """Quantiles of the bootstrapped value, `(B, num_quantiles)`."""
        del value_range
        reward, discount, cost = (x[:, None] for x in bootstrap)
        return reward + discount * (output - cost)

    def loss(self, output: jax.Array, target: jax.Array) -> jax.Array:
        """Quantile Huber loss, `(...)`: summed over quantiles, averaged over the target's.

        Equation 10 of the paper, with kappa = 1.
        """
        levels = (jnp.arange(self.num_quantiles) + 0.5) / self.num_quantiles
        error = target[..., None, :] - output[..., :, None]
        bounded = error.clip(-1.0, 1.0)
        huber = bounded * (error - 0.5 * bounded)
        weight = jnp.where(error < 0.0, 1.0 - levels[:, None], levels[:, None])
        return (weight * huber).mean(-1).sum(-1)

    def error(self, output: jax.Array, target: jax.Array) -> jax.Array:
        """The loss, `(...)`: what is minimised, by the argument of Rainbow (arXiv 1710.02298)."""
        return self.loss(output, target)


class ScalarValue(NamedTuple):
    """The value itself, trained by squared error."""

    @property
    def outputs(self) -> int:
        """Length of a critic's output."""
        return 1

    def mean(self, output: jax.Array, value_range: jax.Array) -> jax.Array:
        """The value, `(...)`."""
        del value_range
        return output[..., 0]

    def target(self, output: jax.Array, bootstrap: Bootstrap, value_range: jax.Array) -> jax.Array:
        """Bootstrapped value, `(B,)`."""
        value = self.mean(output, value_range)
        return bootstrap.reward + bootstrap.discount * (value - bootstrap.entropy_cost)

    def loss(self, output: jax.Array, target: jax.Array) -> jax.Array:
        """Squared error, `(...)`."""
        return (output[..., 0] - target) ** 2

    def error(self, output: jax.Array, target: jax.Array) -> jax.Array:
        """Absolute temporal-difference error, `(...)` (arXiv 1511.05952)."""
        return jnp.abs(output[..., 0] - target)


Value = CategoricalValue | QuantileValue | ScalarValue


def project(probabilities: jax.Array, position: jax.Array) -> jax.Array:
    """Splits each probability between the two bins nearest to its position.

    Args:
      probabilities: `(B, bins)`.
      position: `(B, bins)`, where each probability goes, in units of bins in [0, bins - 1].

    Returns:
      `(B, bins)` with the same sums (arXiv 1707.06887, algorithm 1).
    """
    # A scatter is fastest on a CPU; accelerators prefer the dense form.
    return jax.lax.platform_dependent(
        probabilities, position, cpu=_project_scatter, default=_project_dense
    )


@jax.custom_batching.custom_vmap
def _project_scatter(probabilities: jax.Array, position: jax.Array) -> jax.Array:
    bins = probabilities.shape[-1]
    lower = jnp.clip(jnp.floor(position), 0, bins - 2).astype(jnp.int32)
    share = probabilities * (position - lower)
    index = (lower + bins * jnp.arange(len(lower))[:, None]).ravel().astype(jnp.uint32)
    zeros = jnp.zeros(probabilities.size, probabilities.dtype)
    # Unsigned indices need no test for negative ones.
    filled = zeros.at[index].add((probabilities - share).ravel(), mode="promise_in_bounds")
    filled = filled.at[index + 1].add(share.ravel(), mode="promise_in_bounds")
    return filled.reshape(probabilities.shape)


@_project_scatter.def_vmap
def _project_scatter_batched(
    axis_size: int, in_batched: list[bool], probabilities: jax.Array, position: jax.Array
) -> tuple[jax.Array, bool]:
    """More runs are more rows: a batched scatter is slower than one over flat indices."""
    arguments = (
        x if batched else jnp.broadcast_to(x, (axis_size, *x.shape))
        for x, batched in zip((probabilities, position), in_batched, strict=True)
    )
    rows = [x.reshape(-1, x.shape[-1]) for x in arguments]
    return _project_scatter(*rows).reshape(axis_size, -1, rows[0].shape[-1]), True


def _project_dense(probabilities: jax.Array, position: jax.Array) -> jax.Array:
    bins = jnp.arange(probabilities.shape[-1])
    weight = jax.nn.relu(1.0 - jnp.abs(position[..., None] - bins))
    return jnp.einsum("bi,bij->bj", probabilities, weight, precision="highest")

"""Soft indicator functions that the tasks build their rewards from."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

# Each decay takes a distance in units of the margin and the value wanted at distance 1. The
# value at the margin is a Python number, so scales are computed once, in double precision.
_Decay = Callable[[jax.Array, float], jax.Array]


def _gaussian(distance: jax.Array, value_at_1: float) -> jax.Array:
    return jnp.exp(-0.5 * (distance * math.sqrt(-2 * math.log(value_at_1))) ** 2)


def _hyperbolic(distance: jax.Array, value_at_1: float) -> jax.Array:
    return 1 / jnp.cosh(distance * math.acosh(1 / value_at_1))


def _long_tail(distance: jax.Array, value_at_1: float) -> jax.Array:
    return 1 / ((distance * math.sqrt(1 / value_at_1 - 1)) ** 2 + 1)


def _reciprocal(distance: jax.Array, value_at_1: float) -> jax.Array:
    return 1 / (jnp.abs(distance) * (1 / value_at_1 - 1) + 1)


def _cosine(distance: jax.Array, value_at_1: float) -> jax.Array:
    scaled = distance * (math.acos(2 * value_at_1 - 1) / math.pi)
    return jnp.where(jnp.abs(scaled) < 1, (1 + jnp.cos(math.pi * scaled)) / 2, 0.0)


def _linear(distance: jax.Array, value_at_1: float) -> jax.Array:
    scaled = distance * (1 - value_at_1)
    return jnp.where(jnp.abs(scaled) < 1, 1 - scaled, 0.0)


def _quadratic(distance: jax.Array, value_at_1: float) -> jax.Array:
    scaled = distance * math.sqrt(1 - value_at_1)
    return jnp.where(jnp.abs(scaled) < 1, 1 - scaled**2, 0.0)


def _tanh_squared(distance: jax.Array, value_at_1: float) -> jax.Array:
    return 1 - jnp.tanh(distance * math.atanh(math.sqrt(1 - value_at_1))) ** 2


_DECAYS: dict[str, _Decay] = {
    "gaussian": _gaussian,
    "hyperbolic": _hyperbolic,
    "long_tail": _long_tail,
    "reciprocal": _reciprocal,
    "cosine": _cosine,
    "linear": _linear,
    "quadratic": _quadratic,
    "tanh_squared": _tanh_squared,
}
_MAY_END_AT_ZERO = ("cosine", "linear", "quadratic")


def tolerance(
    x: jax.Array,
    bounds: tuple[float, float] = (0.0, 0.0),
    margin: float = 0.0,
    sigmoid: str = "gaussian",
    value_at_margin: float = 0.1,
) -> jax.Array:
    """One inside the bounds, decaying towards zero outside of them.

    Args:
      x: any shape.
      bounds: inclusive interval; either end may be infinite.
      margin: distance from the nearest bound at which the value has fallen to
        `value_at_margin`. Zero makes it a hard indicator.
      sigmoid: shape of the decay, one of gaussian, hyperbolic, long_tail, reciprocal, cosine,
        linear, quadratic, tanh_squared.
      value_at_margin: in (0, 1), and possibly 0 for cosine, linear and quadratic.

    Returns:
      Values in [0, 1] with the shape of `x`.

    Raises:
      ValueError: for bounds out of order, a negative margin, an unknown sigmoid or a value at
        the margin which that sigmoid cannot take.
    """
    lower, upper = bounds
    if lower > upper:
        raise ValueError(f"bounds {bounds} are out of order; give (lower, upper)")
    if margin < 0:
        raise ValueError(f"margin is {margin}; it must not be negative")
    in_bounds = (lower <= x) & (x <= upper)
    if margin == 0:
        return jnp.where(in_bounds, 1.0, 0.0)
    if sigmoid not in _DECAYS:
        raise ValueError(f"unknown sigmoid {sigmoid!r}; choose from {', '.join(_DECAYS)}")
    smallest_is_allowed = value_at_margin == 0 and sigmoid in _MAY_END_AT_ZERO
    if not (0 < value_at_margin < 1 or smallest_is_allowed):
        raise ValueError(f"value_at_margin {value_at_margin} is out of range for {sigmoid}")
    distance = jnp.where(x < lower, lower - x, x - upper) / margin
    return jnp.where(in_bounds, 1.0, _DECAYS[sigmoid](distance, value_at_margin))


def at_least(x: jax.Array, bound: float, margin: float, value_at_margin: float = 0.0) -> jax.Array:
    """One from a bound on, falling linearly below it to `value_at_margin`; see `tolerance`."""
    return tolerance(x, (bound, math.inf), margin, "linear", value_at_margin)

"""Network modules as functions."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def as_functions(module: nn.Module, *sizes: int) -> tuple[Callable[..., dict], Callable[..., Any]]:
    """A module that has parameters only, and needs no hyperparameters.

    Args:
      module: of the network.
      sizes: lengths of its inputs.

    Returns:
      `init(key) -> params` and `apply(params, *inputs, hyperparameters) -> output`.
    """
    inputs = [jnp.zeros((1, size)) for size in sizes]

    def init(key: jax.Array) -> dict:
        return module.init(key, *inputs)["params"]

    def apply(params: dict, *arguments: Any) -> Any:
        *inputs, _ = arguments
        return module.apply({"params": params}, *inputs)

    return init, apply

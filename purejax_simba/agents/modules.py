"""Network modules as the functions that `SoftActorCritic` is made of."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from purejax_simba.agents.hyperparameters import HyperParameters


def as_functions(
    module: nn.Module,
    *inputs: jax.Array,
    numbers: Callable[[HyperParameters], tuple[Any, ...]] = lambda hyperparameters: (),
) -> tuple[Callable[..., dict], Callable[..., Any]]:
    """A module that has parameters only, as functions that take hyperparameters.

    Args:
      module: takes inputs, and then what `numbers` returns.
      inputs: any of the right sizes.
      numbers: what the module needs of the hyperparameters; default: nothing.

    Returns:
      `init(key, hyperparameters) -> params` and
      `apply(params, *inputs, hyperparameters) -> output`.
    """

    def init(key: jax.Array, hyperparameters: HyperParameters) -> dict:
        return module.init(key, *inputs, *numbers(hyperparameters))["params"]

    def apply(params: dict, *arguments: Any) -> Any:
        *given, hyperparameters = arguments
        return module.apply({"params": params}, *given, *numbers(hyperparameters))

    return init, apply

"""What a network shows of its inside. Networks name it; nothing happens unless somebody looks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax

Kind = Literal["feature", "activation", "scaler", "alpha"]


class Observed(NamedTuple):
    """A value inside a network.

    Attributes:
      kind: `feature`, what a layer hands on; `activation`, what a nonlinearity returns; `scaler`
        and `alpha`, the learnable vectors of SimbaV2 as they are multiplied with.
      module: where it is, `encoder/block_0`.
      value: `(..., n)`.
    """

    kind: Kind
    module: str
    value: jax.Array


_list: ContextVar[list[Observed] | None] = ContextVar("observed", default=None)


def observe(module: nn.Module, value: jax.Array, *kinds: Kind, of: str = "") -> jax.Array:
    """Shows a value of a module, or `of` a module in it, to whoever looks; returns the value."""
    seen = _list.get()
    if seen is not None:
        path = "/".join([*module.path, of] if of else module.path)
        seen += [Observed(kind, path, value) for kind in kinds]
    return value


def look(network: Callable[..., Any], *arguments: Any) -> tuple[Any, list[Observed]]:
    """Calls a network; returns its output and what was observed, in the order of computation.

    The values belong to the trace in which this is called: call it inside `vmap`, not around it.
    """
    with _looking() as seen:
        return network(*arguments), seen


@contextmanager
def _looking() -> Iterator[list[Observed]]:
    seen: list[Observed] = []
    token = _list.set(seen)
    try:
        yield seen
    finally:
        _list.reset(token)

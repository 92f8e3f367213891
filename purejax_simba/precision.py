"""How exactly matrix products are computed: in networks as asked for, everywhere else in full.

Only accelerators make a difference. A product of float32 matrices there takes operands that were
rounded before, unless more is asked for: to 10 bits on NVIDIA GPUs since Ampere (TF32), to 7 on
TPUs (bfloat16). Physics, statistics, values and priorities must not lose what float32 has.
"""

import functools
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

import jax

Precision = Literal["float32", "tensorfloat32", "bfloat16"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def computed_in(
    precision: Precision, function: Callable[_Arguments, _Result]
) -> Callable[_Arguments, _Result]:
    """The function, whose matrix products have operands of this precision or a higher one.

    It holds for products that say nothing of their own precision.
    """

    @functools.wraps(function)
    def traced(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
        with jax.default_matmul_precision(precision):
            return function(*arguments, **named)

    return traced


in_full = functools.partial(computed_in, "float32")

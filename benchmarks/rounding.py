"""Runs another command with products of matrices rounded as accelerators round them.

    python -m benchmarks.rounding tensorfloat32 tests.golden tests/recorded/simba_v2_cdq.npz
    python -m benchmarks.rounding bfloat16 train --task dmc/cheetah-run --num-seeds 4

NVIDIA GPUs since Ampere keep 10 bits of the operands of a float32 product (TF32), TPUs 7 (one
pass of bfloat16), and both add up in float32. A CPU has neither. Here the operands of every
product are rounded to as many bits before it, in derivatives too, but for products that ask for
full float32 (`purejax_simba.precision`). `--everywhere` rounds those as well: what physics would
be if nobody asked.
"""

import argparse
import runpy
import sys
from typing import Any

from jax.extend import core
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import stablehlo
from jax.interpreters import mlir
from jax.lax import Precision

MANTISSA_BITS = {"float32": 23, "tensorfloat32": 10, "bfloat16": 7}
EXPONENT_BITS = 8  # of all three


def round_products(operands: str, everywhere: bool = False) -> None:
    """From now on, what this process compiles for the CPU rounds the operands of products.

    Args:
      operands: A key of `MANTISSA_BITS`.
      everywhere: Also where full float32 is asked for.
    """
    bits = MANTISSA_BITS[operands]

    def lower(
        context: mlir.LoweringRuleContext,
        left: ir.Value,
        right: ir.Value,
        *,
        dimension_numbers: Any,
        precision: Any,
        **unused: Any,
    ) -> list[ir.Value]:
        (left_contracts, right_contracts), (left_batch, right_batch) = dimension_numbers
        asked = precision if isinstance(precision, tuple) else (precision, precision)
        if everywhere or Precision.HIGHEST not in asked:
            left, right = (_rounded(operand, bits) for operand in (left, right))
        (result,) = context.avals_out
        product = stablehlo.dot_general(
            ir.RankedTensorType.get(result.shape, mlir.dtype_to_ir_type(result.dtype)),
            left,
            right,
            stablehlo.DotDimensionNumbers.get(
                lhs_batching_dimensions=list(left_batch),
                rhs_batching_dimensions=list(right_batch),
                lhs_contracting_dimensions=list(left_contracts),
                rhs_contracting_dimensions=list(right_contracts),
            ),
            precision_config=ir.ArrayAttr.get([stablehlo.PrecisionAttr.get("HIGHEST")] * 2),
        )
        return [product]

    mlir.register_lowering(core.primitives.dot_general_p, lower, platform="cpu")


def _rounded(operand: ir.Value, bits: int) -> ir.Value:
    if not isinstance(ir.RankedTensorType(operand.type).element_type, ir.F32Type):
        return operand
    number = ir.IntegerType.get_signless(32)
    return stablehlo.reduce_precision(
        operand, ir.IntegerAttr.get(number, EXPONENT_BITS), ir.IntegerAttr.get(number, bits)
    )


def main() -> None:
    """Rounds, then runs the module that is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rounding", description=__doc__)
    parser.add_argument("operands", choices=MANTISSA_BITS, help="what operands keep")
    parser.add_argument("--everywhere", action="store_true", help="also where float32 is asked for")
    parser.add_argument("module", help="what to run, as after `python -m`")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    given = parser.parse_args()
    round_products(given.operands, given.everywhere)
    sys.argv = [given.module, *given.arguments]
    runpy.run_module(given.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

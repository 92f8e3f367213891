"""The text of a compiled program is read as what the program does."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import hlo

# What a compiler writes for users.
pytestmark = pytest.mark.optimised

LARGE = 600  # so that a square of it is more than a megabyte


def compiled(function, *shapes: tuple[int, ...]) -> hlo.Loop:
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return hlo.read(jax.jit(function).lower(*arguments).compile().as_text())


def test_loops_are_nested_as_they_were_written():
    def function(x):
        def inner(_, x):
            return jnp.sin(x) @ x

        def outer(carry):
            with jax.named_scope("search"):
                x = jax.lax.fori_loop(0, 7, inner, carry[1])
            return carry[0] + x.sum(), x / x.max()

        return jax.lax.while_loop(lambda carry: carry[0] < 1e3, outer, (0.0, x))

    program = compiled(function, (8, 8))
    (outer,) = program.loops
    (inner,) = outer.loops
    assert outer.trips is None and inner.trips == 7
    assert "search" in inner.scope and "search" not in outer.scope
    assert len(inner.products) == 1 and not outer.products and not program.products
    assert {each.opcode for each in inner.operations} & {"fusion", "dot", "call", "sine"}
    assert list(program.walk()) == [program, outer, inner]


def test_the_precision_of_products_is_read():
    def function(x, y):
        return jnp.matmul(x, y, precision="highest"), jnp.matmul(y, x, precision="default")

    products = compiled(function, (32, 32), (32, 32)).products
    assert sorted(precision for _, precision in products) == ["default", "highest"]


def test_copies_of_whole_arrays_are_counted():
    transposed = compiled(lambda x: (x.T + 0.0, x), (LARGE, LARGE))
    same = compiled(lambda x: x * 2.0, (LARGE, LARGE))
    assert transposed.copied >= 4 * LARGE**2 and not same.copied


def test_what_is_done_only_sometimes_stands_apart():
    def function(flag, x):
        return jax.lax.cond(flag[0] > 0, lambda x: jnp.linalg.norm(x @ x) * x, lambda x: x, x)

    program = compiled(function, (1,), (64, 64))
    assert not program.products and not program.loops
    assert sum(len(branch.products) for branch in program.branches) == 1


def test_sizes_are_those_of_the_result():
    instruction = hlo.Instruction("(f32[10,2]{1,0}, pred[3], bf16[4,4])", "fusion", "")
    assert instruction.bytes == 80 + 3 + 32


def test_what_only_goes_to_fast_memory_is_no_copy_of_an_array():
    here, there = "f32[1,512,2048]{2,1,0:T(8,128)}", "f32[1,512,2048]{2,1,0:T(8,128)S(1)}"
    other = "f32[1,512,2048]{1,2,0:T(8,128)S(1)}"
    for shapes, is_fetch in (((there, here), True), ((here, there), True), ((other, here), False)):
        shape = f"({', '.join(shapes)}, u32[]{{:S(2)}})"
        assert hlo.Instruction(shape, "copy-start", "").is_fetch == is_fetch
    assert not hlo.Instruction(there, "copy", "").is_fetch

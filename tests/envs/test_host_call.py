"""Functions on the host inside compiled programs."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.host_call import host_call, left_out


def test_nested_batches_make_one_call():
    shapes = []

    def double(rows):
        shapes.append(rows.shape)
        return np.repeat(2 * rows, 2, axis=-1)

    def run(row, factor):
        return host_call(double, row * factor, 6, jnp.float32)

    rows = jnp.arange(24.0).reshape(4, 2, 3)
    # The inner axis is the last but one, the outer one is not first, and not everything has it.
    inner = jax.vmap(run, in_axes=(0, None))
    result = jax.jit(jax.vmap(inner, in_axes=(1, None), out_axes=1))(rows, 3.0)
    np.testing.assert_array_equal(result, np.repeat(6 * np.asarray(rows), 2, axis=-1))
    assert shapes == [(8, 3)]


def test_equal_calls_are_all_made_in_order():
    """As the environments need it that are not functions of what they are given."""
    given = []

    def note(row):
        given.append(row.copy())
        return row + 1

    def body(_, row):
        return host_call(note, row, 1, jnp.float32)

    jax.block_until_ready(jax.jit(lambda row: jax.lax.fori_loop(0, 5, body, row))(jnp.zeros(1)))
    assert [row.item() for row in given] == [0, 1, 2, 3, 4]
    given.clear()
    same = jax.jit(lambda row: host_call(note, row, 1, jnp.float32) + body(0, row))
    jax.block_until_ready(same(jnp.zeros(1)))
    assert len(given) == 2


def test_outside_of_a_program():
    result = host_call(np.negative, jnp.ones(2, jnp.int32), 2, jnp.int32)
    np.testing.assert_array_equal(result, [-1, -1])


def test_what_a_function_raises_comes_out_as_it_is(caplog):
    def fail(row):
        raise LookupError("no such row")

    run = jax.jit(lambda row: host_call(fail, row, 1, jnp.float32))
    with pytest.raises(LookupError, match=r"^'?no such row"), envs.clear_errors():
        jax.block_until_ready(run(jnp.zeros(1)))
    assert not caplog.records


FAILS = """
import jax, jax.numpy as jnp, envs
from envs.host_call import host_call, left_out

def fail(row):
    raise LookupError("no such row")

run = jax.jit(lambda row: host_call(fail, row, 1, jnp.float32))
try:
    with envs.clear_errors():
        jax.block_until_ready(run(jnp.ones(1)))
except LookupError as error:
    print("caught", error)
"""


def test_an_error_that_was_caught_does_not_come_back_at_exit():
    result = subprocess.run([sys.executable, "-c", FAILS], capture_output=True, text=True)
    assert result.stdout == "caught no such row\n"
    assert "LookupError" not in result.stderr and result.returncode == 0


def test_a_result_of_the_wrong_size_is_refused():
    run = jax.jit(lambda row: host_call(lambda rows: -rows, row, 2, jnp.float32))
    with pytest.raises(jax.errors.JaxRuntimeError, match="shape"):
        jax.block_until_ready(run(jnp.zeros(1)))


def test_a_program_for_devices_that_are_not_here_is_lowered_without_its_calls():
    def fail(rows):
        raise AssertionError

    def run(row):
        return jax.vmap(lambda row: host_call(fail, row, 2, jnp.uint32))(row) + 1

    traced = jax.jit(run).trace(jnp.ones((4, 3)))
    with left_out() as functions:
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert functions == [fail] and "tensor<4x2xui32>" in text and "callback" not in text
    assert "callback" in jax.jit(run).lower(jnp.ones((4, 3))).as_text()

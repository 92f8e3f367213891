"""Rounded products: in the value and in the derivative, and not where float32 is asked for."""

import subprocess
import sys

from tests.helpers.pages import ROOT

CHECK = """
import sys
import jax, jax.numpy as jnp, numpy as np
from benchmarks.rounding import round_products

operands, everywhere = sys.argv[1:]
round_products(operands, everywhere == "everywhere")
random = np.random.default_rng(0)
a, b = (jnp.asarray(random.normal(size=(2, 8, 8)), jnp.float32) for _ in "ab")
bits = {"tensorfloat32": 10, "bfloat16": 7}[operands]

def rounded(x):
    return np.asarray(jax.lax.reduce_precision(x, 8, bits), np.float64)

def product(a, b):
    return jnp.einsum("nij,njk->nik", a, b)

exact = np.asarray(a, np.float64) @ np.asarray(b, np.float64)
np.testing.assert_allclose(product(a, b), rounded(a) @ rounded(b), atol=1e-5)
gradient = jax.grad(lambda a: product(a, b).sum())(a)
expected = np.broadcast_to(rounded(b).sum(-1)[:, None], a.shape)
np.testing.assert_allclose(gradient, expected, atol=1e-5)
with jax.default_matmul_precision("float32"):
    full = jax.jit(lambda a, b: product(a, b) * 1.0)(a, b)
np.testing.assert_allclose(full, rounded(a) @ rounded(b) if everywhere == "everywhere" else exact,
                           atol=1e-5)
assert abs(exact - rounded(a) @ rounded(b)).max() > 1e-4
"""


def _check(*words: str) -> None:
    ended = subprocess.run([sys.executable, "-c", CHECK, *words], cwd=ROOT, capture_output=True)
    assert ended.returncode == 0, ended.stderr.decode()[-2000:]


def test_operands_are_rounded_where_nothing_is_asked_for():
    _check("tensorfloat32", "asked")


def test_operands_are_rounded_everywhere():
    _check("bfloat16", "everywhere")

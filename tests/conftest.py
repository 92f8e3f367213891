"""Tests compile fast: what is optimised in generated code is rounding, and they run it briefly.

Those marked `optimised` compile as users do.
"""

import gc
import os
import resource

# Read when JAX is imported, here and in the processes that tests start.
FAST = "JAX_DISABLE_MOST_OPTIMIZATIONS"
os.environ[FAST] = "1"
MOST_KILOBYTES = 3_000_000

import jax  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def compile_as_users_do(request, monkeypatch):
    """Only for tests that are marked."""
    if request.node.get_closest_marker("optimised") is None:
        yield
        return
    monkeypatch.delenv(FAST)
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """What files of tests have compiled is not kept where it takes gigabytes."""
    yield
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > MOST_KILOBYTES:
        jax.clear_caches()
        gc.collect()

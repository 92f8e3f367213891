"""Tests compile fast: what is optimised in generated code is rounding, and they run it briefly.

Those marked `optimised` compile as users do.
"""

import gc
import os
import resource

# Read when JAX is imported, here and in the processes that tests start.
FAST = "JAX_DISABLE_MOST_OPTIMIZATIONS"
os.environ[FAST] = "1"
# Emitters of loops that take twice as long to compile, and one module of code for each program
# instead of many that are compiled side by side: both cores have tests to run.
FLAGS = ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
AS_USERS = {"xla_cpu_use_fusion_emitters": True, "xla_cpu_parallel_codegen_split_count": 32}
GIVEN = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if flag not in FLAGS]
os.environ["XLA_FLAGS"] = " ".join(FLAGS + GIVEN)
MOST_KILOBYTES = 3_000_000

import jax  # noqa: E402
import pytest  # noqa: E402
from jax._src import compiler  # noqa: E402


@pytest.fixture(autouse=True)
def compile_as_users_do(request, monkeypatch):
    """Only for tests that are marked."""
    if request.node.get_closest_marker("optimised") is None:
        yield
        return
    monkeypatch.delenv(FAST)
    monkeypatch.setenv("XLA_FLAGS", " ".join(GIVEN))
    plain = compiler.get_compile_options

    def get_compile_options(*arguments, env_options_overrides=None, **keywords):
        # XLA reads its flags once in a process.
        options = AS_USERS | (env_options_overrides or {})
        return plain(*arguments, env_options_overrides=options, **keywords)

    monkeypatch.setattr(compiler, "get_compile_options", get_compile_options)
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()
    yield
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """What files of tests have compiled is not kept where it takes gigabytes."""
    yield
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > MOST_KILOBYTES:
        jax.clear_caches()
        gc.collect()

"""Programs of a few tiny runs, advanced as one likes; comparison of what comes out."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purejax_simba.agents.agent import HyperParameters
from purejax_simba.config import Config, ReplayConfig
from purejax_simba.program import Program
from purejax_simba.run_state import Counters, RunState
from purejax_simba.training import make_program
from tests.helpers import linear, tiny

RUNS = 8
EPISODE = 20
CONFIG = Config(
    task="gymnax/Pendulum-v1",
    num_seeds=RUNS,
    total_env_steps=80,
    evaluation_interval=40,
    num_evaluation_episodes=3,
    episode_length=EPISODE,
    learning_starts=50,
    diagnostics="none",
    agent=dataclasses.replace(tiny.AGENT, num_critics=1),
    replay=ReplayConfig(capacity=60, batch_size=16),
)


class ReferenceRuns(NamedTuple):
    """A program, compiled for several runs when first called, and their inputs."""

    program: Program
    init: Any
    advance: Any
    evaluate: Any
    keys: jax.Array
    hyperparameters: HyperParameters

    def start(self) -> tuple[Counters, RunState]:
        """Counters and states before the first interaction."""
        return Counters.create(), self.init(self.keys, self.hyperparameters)

    def after(self, *chunks: int) -> tuple[Counters, RunState]:
        """Counters and states after chunks of interactions."""
        counters, state = self.start()
        for size in chunks:
            counters, state = self.advance(counters, state, self.hyperparameters, jnp.int32(size))
        return counters, state


def inputs(program: Program, count: int) -> tuple[jax.Array, HyperParameters]:
    """Keys and hyperparameters of so many runs."""
    keys = jnp.stack([jax.random.key(seed) for seed in range(count)])
    numbers = jax.tree.map(lambda x: jnp.broadcast_to(x, (count,)), program.hyperparameters())
    return keys, numbers


def make(config: Config, count: int) -> ReferenceRuns:
    """So many runs of a configuration."""
    program = make_program(config)
    return ReferenceRuns(
        program,
        jax.jit(jax.vmap(program.init)),
        jax.jit(jax.vmap(program.advance, (None, 0, 0, None), (None, 0))),
        jax.jit(jax.vmap(program.evaluate, (None, 0, 0))),
        *inputs(program, count),
    )


@functools.cache
def linear_runs(config: Config = CONFIG) -> ReferenceRuns:
    """Two runs whose agent is that of two matrices."""
    with linear.agents():
        return make(config, 2)


def assert_identical(ours: Any, theirs: Any) -> None:
    """Equal bit for bit, NaN included."""
    leaves = jax.tree.leaves_with_path(ours)
    for (path, a), b in zip(leaves, jax.tree.leaves(theirs), strict=True):
        message = jax.tree_util.keystr(path)
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert a.dtype == b.dtype, message
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=message)


def assert_close(ours: Any, theirs: Any, bound: float) -> None:
    """Equal but for rounding: the error is taken leaf by leaf in the l2 norm."""
    leaves = jax.tree.leaves_with_path(ours)
    for (path, a), b in zip(leaves, jax.tree.leaves(theirs), strict=True):
        name = jax.tree_util.keystr(path)
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        if name.endswith(".low"):
            continue  # low halves of sums hold what rounding left over
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        error = np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-3)
        assert error <= bound, (name, error)


def pick(tree: Any, runs: Any) -> Any:
    """Some of the runs."""
    return jax.tree.map(lambda x: x[runs], tree)

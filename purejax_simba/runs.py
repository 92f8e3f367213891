"""All runs of a configuration on the devices of this machine: compiled, started, advanced."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purejax_simba.evaluation import EvaluationMetrics
from purejax_simba.hyperparameters import HyperParameters
from purejax_simba.parallel import (
    RUN_AXIS,
    join_runs,
    make_mesh,
    map_runs,
    runs_at_a_time,
    split_runs,
)
from purejax_simba.training import Counters, Program, RunState


class CompiledProgram(NamedTuple):
    """A `Program` compiled for as many runs as are advanced at a time; see there."""

    init: Callable[..., RunState]
    advance: Any
    evaluate: Callable[..., EvaluationMetrics]


class Inputs(NamedTuple):
    """What makes runs different from each other, with a leading axis of runs."""

    keys: jax.Array
    hyperparameters: HyperParameters


def make_inputs(program: Program) -> Inputs:
    """Keys and hyperparameters of the configured seeds."""
    config = program.config
    seeds = np.arange(config.seed, config.seed + config.num_seeds)
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    hyperparameters = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (config.num_seeds,)), program.hyperparameters()
    )
    return Inputs(keys, hyperparameters)


def compile_program(
    program: Program, mesh: jax.sharding.Mesh, keys: jax.Array, hyperparameters: HyperParameters
) -> CompiledProgram:
    """Compiles a program for the runs of `keys` and `hyperparameters`, once and for all chunks."""
    state = jax.eval_shape(jax.vmap(program.init), keys, hyperparameters)
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(RUN_AXIS))
    state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)
    counters, interactions = Counters.create(), jnp.int32(0)
    init = map_runs(program.init, mesh, (0, 0))
    advance = map_runs(program.advance, mesh, (None, 0, 0, None), (None, 0), donate=(1,))
    evaluate_all = map_runs(program.evaluate, mesh, (None, 0, 0))
    lowered = (
        init.lower(keys, hyperparameters),
        advance.lower(counters, state, hyperparameters, interactions),
        evaluate_all.lower(counters, state, hyperparameters),
    )
    with ThreadPoolExecutor() as pool:
        return CompiledProgram(*pool.map(lambda stage: stage.compile(), lowered))


class Runs:
    """The runs of a configuration, in groups that one compiled program advances in turn.

    There is one group, except where `runs_at_a_time` says that a device is faster with one run.

    Attributes:
      mesh: the devices.
      at_a_time: the size of a group.
      inputs: of all runs.
      compiled: the program, for one group.
      counters: see `Counters`.
    """

    def __init__(self, program: Program):
        """Chooses devices and groups, before anything of the program is compiled."""
        config = program.config
        self._program = program
        self.mesh = make_mesh(config.num_seeds)
        self.at_a_time = runs_at_a_time(
            config.num_seeds, self.mesh, config.replay.batch_size, config.agent.critic_hidden_dim
        )
        self.inputs = make_inputs(program)
        self._groups = split_runs(self.inputs, self.at_a_time, self.mesh)
        self.counters = Counters.create()

    def compile(self) -> None:
        """Compiles everything that is called later."""
        self.compiled = compile_program(self._program, self.mesh, *self._groups[0])

    def start(self) -> None:
        """Puts all runs before their first interaction."""
        self._states = [self.compiled.init(*inputs) for inputs in self._groups]

    def advance(self, interactions: int) -> None:
        """Takes so many interactions in every run, and waits for them."""
        count = np.int32(interactions)
        for index, inputs in enumerate(self._groups):
            # What waits here would otherwise run beside the others.
            counters, self._states[index] = jax.block_until_ready(
                self.compiled.advance(
                    self.counters, self._states[index], inputs.hyperparameters, count
                )
            )
        self.counters = counters

    def evaluate(self) -> EvaluationMetrics:
        """Metrics of every run, `(runs,)` numpy arrays."""
        return join_runs(
            jax.device_get(self.compiled.evaluate(self.counters, state, inputs.hyperparameters))
            for state, inputs in zip(self._states, self._groups, strict=True)
        )

    def get(self, part: Callable[[RunState], Any]) -> Any:
        """A part of the state of all runs, as numpy arrays."""
        return join_runs(jax.device_get(part(state)) for state in self._states)

"""All runs of a configuration on the devices that there are: compiled, started, advanced."""

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purejax_simba.agents.hyperparameters import HyperParameters
from purejax_simba.config import Config
from purejax_simba.defaults import hyperparameters
from purejax_simba.diagnostics import Metrics
from purejax_simba.evaluation import EvaluationMetrics
from purejax_simba.program import Program
from purejax_simba.run_state import Counters, RunState, environment_axes
from purejax_simba.runs import processes
from purejax_simba.runs.checkpoint import leaf_name
from purejax_simba.runs.devices import (
    PER_RUN,
    SHARED,
    divided_runs,
    fetch,
    join_runs,
    make_mesh,
    map_runs,
    place_shared,
    runs_at_a_time,
    spans_processes,
    split_runs,
)


class CompiledProgram(NamedTuple):
    """A `Program` compiled for as many runs as are advanced at a time; see there."""

    init: Callable[..., RunState]
    advance: Any
    evaluate: Callable[..., EvaluationMetrics]
    diagnose: Callable[..., Metrics]


class Inputs(NamedTuple):
    """What makes runs different from each other, with a leading axis of runs."""

    keys: jax.Array
    hyperparameters: HyperParameters


def make_inputs(configs: Sequence[Config], action_size: int) -> Inputs:
    """Keys and hyperparameters of the seeds of all configurations, one after the other."""
    keys = [jax.random.key(seed) for config in configs for seed in config.seeds]
    numbers: list[HyperParameters] = []
    for config in configs:
        numbers += [hyperparameters(config, action_size)] * config.num_seeds
    return Inputs(jnp.stack(keys), jax.tree.map(lambda *leaves: jnp.stack(leaves), *numbers))


def compile_program(
    program: Program, mesh: jax.sharding.Mesh, keys: jax.Array, hyperparameters: HyperParameters
) -> CompiledProgram:
    """Compiles a program for the runs of `keys` and `hyperparameters`, once and for all chunks."""
    data = (SHARED,) * len(program.data)
    state = _state_shapes(program, keys, hyperparameters)
    specs = divided_runs(environment_axes(state), mesh)
    counters, interactions = Counters.create(), jnp.int32(0)
    init = map_runs(program.init, mesh, (PER_RUN, PER_RUN, *data), specs)
    advance = map_runs(
        program.advance,
        mesh,
        (SHARED, specs, PER_RUN, SHARED, *data),
        (SHARED, specs),
        donate=(1,),
    )
    evaluate_all = map_runs(program.evaluate, mesh, (SHARED, specs, PER_RUN))
    diagnose_all = map_runs(program.diagnose, mesh, (SHARED, specs, PER_RUN, *data))
    lowered = (
        init.lower(keys, hyperparameters, *program.data),
        advance.lower(counters, state, hyperparameters, interactions, *program.data),
        evaluate_all.lower(counters, state, hyperparameters),
        diagnose_all.lower(counters, state, hyperparameters, *program.data),
    )
    with ThreadPoolExecutor() as pool:
        return CompiledProgram(*pool.map(lambda stage: stage.compile(), lowered))


def _state_shapes(program: Program, keys: jax.Array, hyperparameters: HyperParameters) -> RunState:
    """Shapes of the state of the runs of `keys` and `hyperparameters`."""
    init = jax.vmap(program.init, in_axes=(0, 0, *(None for _ in program.data)))
    return jax.eval_shape(init, keys, hyperparameters, *program.data)


class Compiler:
    """Compiles a program once for every number of runs, however often they change.

    Attributes:
      program: of one run.
    """

    def __init__(self, program: Program):
        self.program = program
        self._compiled: dict[tuple[jax.sharding.Mesh, int], CompiledProgram] = {}

    def has_compiled(self, mesh: jax.sharding.Mesh, num_runs: int) -> bool:
        """Whether nothing is left to compile for so many runs."""
        return (mesh, num_runs) in self._compiled

    def compile(
        self, mesh: jax.sharding.Mesh, keys: jax.Array, hyperparameters: HyperParameters
    ) -> CompiledProgram:
        """See `compile_program`."""
        size = (mesh, len(keys))
        if size not in self._compiled:
            self._compiled[size] = compile_program(self.program, mesh, keys, hyperparameters)
        return self._compiled[size]


class Snapshot(NamedTuple):
    """Everything that changes, as numpy arrays; keys are their words.

    Attributes:
      counters: see `Counters`.
      state: `RunState` with a leading axis of runs.
    """

    counters: Counters
    state: RunState


def _raw(leaf: jax.Array) -> jax.Array:
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def _like(leaf: np.ndarray, shape: jax.ShapeDtypeStruct) -> Any:
    is_key = jax.dtypes.issubdtype(shape.dtype, jax.dtypes.prng_key)
    return jax.random.wrap_key_data(jnp.asarray(leaf)) if is_key else leaf


class Runs:
    """The runs of a program, of one configuration or more, in groups that it advances in turn.

    There is one group, except where `runs_at_a_time` says that a device is faster with one run.

    Attributes:
      count: the number of runs, in all processes together.
      num_processes: among which the runs are shared: 1 if all of them compute all runs together.
      mesh: the devices of this process, or of all if they do.
      at_a_time: the size of a group.
      inputs: of all runs.
      compiled: the program, for one group.
      counters: see `Counters`.
    """

    def __init__(
        self,
        program: Program,
        configs: Sequence[Config] = (),
        compiler: Compiler | None = None,
    ):
        """Chooses devices and groups, before anything of the program is compiled.

        Args:
          program: what all runs do.
          configs: resolved, and equal to the program's own but for hyperparameters, seeds and
            names; by default that one.
          compiler: of this program, which may have compiled it already; default: a new one.
        """
        config = program.config
        self.program = program
        self._compiler = compiler or Compiler(program)
        self.inputs = make_inputs(configs or [config], program.environment.action_size)
        self.count = len(self.inputs.keys)
        together = spans_processes(config.devices_per_run)
        self.num_processes = 1 if together else jax.process_count()
        self._share = np.arange(self.count) if together else processes.share(self.count)
        self.mesh = make_mesh(len(self._share), config.devices_per_run)
        self.at_a_time = runs_at_a_time(
            len(self._share), self.mesh, config.batch_size, config.critic_width
        )
        self._groups = self._split(self.inputs)
        self.counters = place_shared(Counters.create(), self.mesh)
        self._states: list[RunState] = []

    def compile(self) -> None:
        """Compiles everything that is called later, and places what all runs share."""
        self._data = place_shared(self.program.data, self.mesh)
        self.compiled = self._compiler.compile(self.mesh, *self._groups[0])

    def start(self) -> None:
        """Puts all runs before their first interaction."""
        self._states = [self.compiled.init(*inputs, *self._data) for inputs in self._groups]

    def advance(self, interactions: int) -> None:
        """Takes so many interactions in every run, and waits for them."""
        count = np.int32(interactions)
        for index, inputs in enumerate(self._groups):
            # What waits here would otherwise run beside the others.
            counters, self._states[index] = jax.block_until_ready(
                self.compiled.advance(
                    self.counters, self._states[index], inputs.hyperparameters, count, *self._data
                )
            )
        self.counters = counters

    def evaluate(self) -> EvaluationMetrics:
        """Metrics of every run, `(runs,)` numpy arrays."""
        return self._measure(self.compiled.evaluate)

    def diagnose(self) -> Metrics:
        """Diagnostics of every run, `(runs,)` numpy arrays by name."""
        return self._measure(self.compiled.diagnose, *self._data)

    def _measure(self, measure: Callable[..., Any], *data: Any) -> Any:
        metrics = [
            fetch(measure(self.counters, state, inputs.hyperparameters, *data))
            for state, inputs in zip(self._states, self._groups, strict=True)
        ]
        return self._join(metrics)

    def get(self, part: Callable[[RunState], Any]) -> Any:
        """A part of the state of all runs, as numpy arrays."""
        return self._join([fetch(part(state)) for state in self._states])

    def _split(self, tree: Any, specs: Any = PER_RUN) -> list[Any]:
        own = jax.tree.map(lambda leaf: leaf[self._share], tree)
        return split_runs(own, self.at_a_time, self.mesh, specs)

    def _join(self, groups: list[Any]) -> Any:
        own = join_runs(groups, len(self._share))
        return own if self.num_processes == 1 else processes.gather(own, self.count)

    def snapshot(self, with_replay: bool = True) -> Snapshot:
        """All that changes, in arrays of its own, whatever is done next."""

        def part(state: RunState) -> RunState:
            if not with_replay:
                state = state.replace(replay=None)  # type: ignore[attr-defined]
            return jax.tree.map(_raw, state)

        return Snapshot(jax.device_get(self.counters), self.get(part))

    def snapshot_shapes(self) -> Snapshot:
        """Shapes of the arrays of a snapshot."""
        state = jax.eval_shape(lambda state: jax.tree.map(_raw, state), self._state_shapes)
        return Snapshot(jax.eval_shape(Counters.create), state)

    def restore(self, snapshot: Snapshot) -> None:
        """Puts all runs where a snapshot was taken, on whatever devices there are now."""
        state = jax.tree.map(_like, snapshot.state, self._state_shapes)
        self._states = self._split(state, self._specs)
        self.counters = place_shared(snapshot.counters, self.mesh)

    def replace(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Puts arrays of all runs in place of those that have these names in a snapshot."""
        if not arrays:
            return

        def put(state: RunState, new: dict[str, jax.Array]) -> RunState:
            return jax.tree.map_with_path(
                lambda path, leaf: new.get(f"state.{leaf_name(path)}", leaf), state
            )

        groups = self._split(dict(arrays))
        self._states = [put(*each) for each in zip(self._states, groups, strict=True)]

    @functools.cached_property
    def _state_shapes(self) -> RunState:
        return _state_shapes(self.program, *self.inputs)

    @property
    def _specs(self) -> RunState:
        return divided_runs(environment_axes(self._state_shapes), self.mesh)

    def begin_episodes(self) -> None:
        """Ends the episodes under way and begins new ones, where a snapshot does not hold them."""
        specs = self._specs
        begin = map_runs(
            self.program.begin_episodes, self.mesh, (SHARED, specs), specs, donate=(1,)
        )
        self._states = [begin(self.counters, state) for state in self._states]

"""All runs of a program under way on their devices: advanced, evaluated, saved, replaced."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purejax_simba.config import Config
from purejax_simba.diagnostics import Metrics
from purejax_simba.evaluation import EvaluationMetrics
from purejax_simba.program import Program
from purejax_simba.run_state import Counters, RunState, environment_axes, inherit
from purejax_simba.runs.checkpoint import leaf_name, named_leaves
from purejax_simba.runs.compiling import CompiledProgram, Compiler
from purejax_simba.runs.devices import (
    SHARED,
    Placement,
    divided_runs,
    fetch,
    make_inputs,
    map_runs,
    shapes_of_runs,
    shard_runs,
    shardings,
)


class Snapshot(NamedTuple):
    """Everything that changes, as numpy arrays; random keys are their words.

    `state` has a leading axis of runs.
    """

    counters: Counters
    state: RunState

    def named(self) -> dict[str, np.ndarray]:
        """The arrays by name, as a checkpoint has them."""
        return {name: np.asarray(leaf) for name, leaf in named_leaves(self).items()}


class Runs:
    """Runs and their state.

    Attributes:
      compiler: of what all of them do.
      placement: which they are, and where.
      counters: see `Counters`.
      hyperparameters: of all runs, as they are now.
    """

    def __init__(self, compiler: Compiler, placement: Placement, snapshot: Snapshot | None = None):
        """Puts all runs where a snapshot was taken, on other devices perhaps.

        Without one they are before their first interaction, and the program is compiled.
        """
        self.compiler, self.placement = compiler, placement
        mesh = placement.mesh
        self.hyperparameters = placement.inputs.hyperparameters
        self._numbers = [inputs.hyperparameters for inputs in placement.groups]
        self._inherit: Callable[..., list[RunState]] | None = None
        self._data = shard_runs(compiler.program.data, mesh, SHARED)
        if snapshot is None:
            init = self.compiled.init
            self._states = [init(*inputs, *self._data) for inputs in placement.groups]
            self.counters = shard_runs(Counters.create(), mesh, SHARED)
        else:
            shapes = shapes_of_runs(compiler.program.state_shapes, placement.count)
            state = _words_as_keys(snapshot.state, shapes)
            self._states = placement.split(state, divided_runs(environment_axes(shapes), mesh))
            self.counters = shard_runs(snapshot.counters, mesh, SHARED)

    @property
    def compiled(self) -> CompiledProgram:
        """The program for one group; compiled when it is first needed."""
        return self.compiler.compile(self.placement)

    def advance(self, interactions: int) -> None:
        """Takes so many interactions in every run, and waits for them."""
        count = np.int32(interactions)
        for index, numbers in enumerate(self._numbers):
            # What waits here would otherwise run beside the others.
            counters, self._states[index] = jax.block_until_ready(
                self.compiled.advance(
                    self.counters, self._states[index], numbers, count, *self._data
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
            fetch(measure(self.counters, state, numbers, *data))
            for state, numbers in zip(self._states, self._numbers, strict=True)
        ]
        return self.placement.join(metrics)

    def get(self, choose: Callable[[RunState], Any]) -> Any:
        """What is chosen of the state of all runs, as numpy arrays."""
        return self.placement.join([fetch(choose(state)) for state in self._states])

    def snapshot(self, with_replay: bool = True) -> Snapshot:
        """All that changes, in arrays of its own, whatever is done next."""

        def chosen(state: RunState) -> RunState:
            if not with_replay:
                state = state.replace(replay=None)
            return keys_as_words(state)

        return Snapshot(jax.device_get(self.counters), self.get(chosen))

    def replace(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Puts arrays of all runs in place of those that have these names in a snapshot."""
        if not arrays:
            return

        def put(state: RunState, new: dict[str, jax.Array]) -> RunState:
            replaced = jax.tree.map_with_path(
                lambda path, leaf: new.get(f"state.{leaf_name(path)}", leaf), state
            )
            return _words_as_keys(replaced, state)

        groups = self.placement.split(dict(arrays))
        self._states = [put(*each) for each in zip(self._states, groups, strict=True)]

    def change(self, configs: Sequence[Config]) -> None:
        """Gives the runs the hyperparameters of these configurations, one after the other."""
        action_size = self.compiler.program.environment.action_size
        self.hyperparameters = make_inputs(configs, action_size).hyperparameters
        self._numbers = self.placement.split(self.hyperparameters)

    def inherit(self, parents: np.ndarray, with_replay: bool) -> None:
        """Lets runs go on from others; see `run_state.inherit`.

        Between processes agents pass through the hosts; replays do not.
        """
        if self.placement.num_processes > 1:
            nothing = dict.fromkeys(("key", "evaluation_key", "environment", "replay"))
            state = self.get(lambda state: keys_as_words(state.replace(**nothing)))
            new = named_leaves(inherit(state, jnp.asarray(parents), False))
            self.replace({f"state.{name}": np.asarray(leaf) for name, leaf in new.items()})
            return
        size, count = self.placement.at_a_time, len(self._states) * self.placement.at_a_time
        # Where groups come out uneven, they are filled up with the last run.
        parents = parents[np.minimum(np.arange(count), self.placement.count - 1)]
        if self._inherit is None:
            shapes = shapes_of_runs(self.compiler.program.state_shapes, size)
            specs = divided_runs(environment_axes(shapes), self.placement.mesh)

            def inherit_all(states: list[RunState], parents: jax.Array) -> list[RunState]:
                whole = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *states)
                inherited = inherit(whole, parents, with_replay)
                places = range(0, count, size)
                return [jax.tree.map(lambda x, n=n: x[n : n + size], inherited) for n in places]

            out = [shardings(specs, self.placement.mesh)] * len(self._states)
            self._inherit = jax.jit(inherit_all, out_shardings=out, donate_argnums=0)
        self._states = self._inherit(self._states, parents)

    def begin_episodes(self) -> None:
        """Ends the episodes under way and begins new ones, where a snapshot does not hold them."""
        mesh = self.placement.mesh
        specs = divided_runs(environment_axes(self._states[0]), mesh)
        begin = map_runs(
            self.compiler.program.begin_episodes, mesh, (SHARED, specs), specs, donate=(1,)
        )
        self._states = [begin(self.counters, state) for state in self._states]


def keys_as_words(tree: Any) -> Any:
    """Arrays as numpy knows them."""

    def words(leaf: jax.Array) -> jax.Array:
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if is_key else leaf

    return jax.tree.map(words, tree)


def _words_as_keys(tree: Any, shapes: Any) -> Any:
    """The opposite, by the types that `shapes` has; what is a key already stays one."""

    def key(leaf: Any, shape: Any) -> Any:
        is_key = jax.dtypes.issubdtype(shape.dtype, jax.dtypes.prng_key)
        are_words = is_key and leaf.dtype != shape.dtype
        return jax.random.wrap_key_data(jnp.asarray(leaf)) if are_words else leaf

    return jax.tree.map(key, tree, shapes)


def snapshot_shapes(program: Program, count: int) -> Snapshot:
    """Shapes of the arrays of a snapshot of so many runs."""
    state = jax.eval_shape(keys_as_words, shapes_of_runs(program.state_shapes, count))
    return Snapshot(jax.eval_shape(Counters.create), state)

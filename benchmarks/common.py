"""What the measurements share: clocks, the update alone, the machine's own speed."""

import json
import math
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from purejax_simba.agents.agent import Agent, AgentState, Batch, HyperParameters, Noise
from purejax_simba.runs.devices import (
    PER_RUN,
    SHARED,
    make_mesh,
    map_runs,
    runs_at_a_time,
    shard_runs,
    split_runs,
)

REPETITIONS = 7
# Batches that the updates take in turn, so that nothing in an update is the same every time.
NUM_BATCHES = 8
MATMUL_SIZE = 1024


class Timing(NamedTuple):
    """Seconds per item over several repetitions."""

    median: float
    best: float


def measure(work: Sequence[Callable[[int], Any]], seconds: float) -> list[Timing]:
    """Times several kinds of work, choosing how many items a repetition has.

    Args:
      work: each does the given number of items and returns arrays to wait for, if any.
      seconds: for each kind of work, over all repetitions.
    """
    target = seconds / REPETITIONS
    counts = []
    for do in work:
        _time_items(do, 1)  # the first call also sets up
        count = 1
        while (elapsed := _time_items(do, count)) < target / 4:
            count *= 2
        counts.append(max(1, math.ceil(count * target / elapsed)))
    return repeat(work, counts)


def repeat(work: Sequence[Callable[[int], Any]], counts: Sequence[int]) -> list[Timing]:
    """Times `REPETITIONS` of each kind of work, of so many items each.

    The kinds take turns, so that other load on the machine meets all alike.
    """
    times = [
        [_time_items(do, count) / count for do, count in zip(work, counts, strict=True)]
        for _ in range(REPETITIONS)
    ]
    return [Timing(statistics.median(column), min(column)) for column in zip(*times, strict=True)]


def _time_items(do: Callable[[int], Any], count: int) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(do(count))
    return time.perf_counter() - begin


class Learner(NamedTuple):
    """An agent and the sizes that its updates see.

    Attributes:
      agent: the agent.
      hyperparameters: of one run.
      observation_size, action_size: lengths of the two vectors.
      batch_size: transitions per update.
      critic_hidden_dim: width of the critics.
      policy_delay: updates per update of the policy.
    """

    agent: Agent
    hyperparameters: HyperParameters
    observation_size: int
    action_size: int
    batch_size: int
    critic_hidden_dim: int
    policy_delay: int


class Updates:
    """The updates of several runs, without environments and replay, ready to be timed.

    Attributes:
      compile_seconds: from tracing to machine code.
      compiled: the compiled loop of updates.
      runs_per_device: how many of them a device advances side by side.
    """

    def __init__(self, learner: Learner, runs: int, mesh: Mesh):
        update: Any = learner.agent.update

        def initialise(
            key: jax.Array, hyperparameters: HyperParameters
        ) -> tuple[AgentState, tuple[Batch, Noise]]:
            agent_key, data_key = jax.random.split(key)
            return learner.agent.init(agent_key, hyperparameters), _draw(data_key, learner)

        def advance(
            state: AgentState,
            data: tuple[Batch, Noise],
            hyperparameters: HyperParameters,
            first: jax.Array,
            count: jax.Array,
        ) -> AgentState:
            def body(index: jax.Array, state: AgentState) -> AgentState:
                batch, noise = jax.tree.map(lambda x: x[index % NUM_BATCHES], data)
                return update(state, batch, noise, hyperparameters, index)[0]

            return jax.lax.fori_loop(first, first + count, body, state)

        keys = jax.random.split(jax.random.key(0), runs)
        hyperparameters = jax.tree.map(
            lambda x: jnp.broadcast_to(x, (runs,)), learner.hyperparameters
        )
        at_a_time = runs_at_a_time(runs, mesh, learner.batch_size, learner.critic_hidden_dim)
        self.runs_per_device = at_a_time // mesh.size
        initialise_runs = map_runs(initialise, mesh, (PER_RUN, PER_RUN))
        self._done = 0
        self._inputs = []
        self._states = []
        for group, numbers in split_runs((keys, hyperparameters), at_a_time, mesh):
            state, data = initialise_runs(group, numbers)
            self._states.append(state)
            self._inputs.append((data, numbers))

        specs = (PER_RUN, PER_RUN, PER_RUN, SHARED, SHARED)
        advance_runs = map_runs(advance, mesh, specs, donate=(0,))
        begin = time.perf_counter()
        self.compiled = advance_runs.lower(
            self._states[0], *self._inputs[0], jnp.int32(0), jnp.int32(1)
        ).compile()
        self.compile_seconds = time.perf_counter() - begin

    def __call__(self, count: int) -> list[AgentState]:
        """Does `count` updates of every run and returns their new states."""
        for index, inputs in enumerate(self._inputs):
            self._states[index] = jax.block_until_ready(
                self.compiled(self._states[index], *inputs, jnp.int32(self._done), jnp.int32(count))
            )
        self._done += count
        return self._states


def _draw(key: jax.Array, learner: Learner) -> tuple[Batch, Noise]:
    """Random batches and noise with a leading axis of `NUM_BATCHES`."""
    shape = (NUM_BATCHES, learner.batch_size)
    keys = iter(jax.random.split(key, 6))

    def normal(*features: int) -> jax.Array:
        return jax.random.normal(next(keys), (*shape, *features))

    batch = Batch(
        observation=normal(learner.observation_size),
        action=jnp.tanh(normal(learner.action_size)),
        reward=normal(),
        discount=jnp.broadcast_to(learner.hyperparameters.discount, shape),
        next_observation=normal(learner.observation_size),
    )
    action_noise, next_action_noise = normal(learner.action_size), normal(learner.action_size)
    return batch, Noise(action_noise, next_action_noise, jax.random.split(key, NUM_BATCHES))


class UpdateMeasurement(NamedTuple):
    """What updates cost.

    Attributes:
      seconds: per update of all runs at once.
      matmul_seconds: per floating-point operation of `MatrixProducts`, taken in turns with them.
      compile_seconds: from tracing to machine code.
      program_bytes: see `program_bytes_per_run`.
    """

    seconds: Timing
    matmul_seconds: Timing
    compile_seconds: float
    program_bytes: dict[str, int]


def measure_update(learner: Learner, runs: int, seconds: float) -> UpdateMeasurement:
    """Times the updates of several runs for about the given seconds."""
    mesh = make_mesh(runs)
    updates = Updates(learner, runs, mesh)
    products = MatrixProducts(mesh)
    timing, products_timing = measure([updates, products], seconds / 2)
    per_operation = Timing(*(time / products.flops for time in products_timing))
    program_bytes = program_bytes_per_run(updates.compiled, updates.runs_per_device)
    return UpdateMeasurement(timing, per_operation, updates.compile_seconds, program_bytes)


class MatrixProducts:
    """Float32 matrix products on all devices at once, ready to be timed.

    Every device multiplies square matrices of size `MATMUL_SIZE`. The precision is JAX's default
    for float32, as in an update.

    Attributes:
      flops: floating-point operations of one product on every device.
    """

    def __init__(self, mesh: Mesh):
        def multiply(x: jax.Array, matrix: jax.Array, count: jax.Array) -> jax.Array:
            return jax.lax.fori_loop(0, count, lambda _, x: x @ matrix, x)

        self._multiply_all = map_runs(multiply, mesh, (PER_RUN, PER_RUN, SHARED))
        shape = (mesh.size, MATMUL_SIZE, MATMUL_SIZE)
        self._x = shard_runs(jax.random.normal(jax.random.key(0), shape), mesh)
        # Such matrices neither grow nor shrink a vector by much: numbers stay ordinary ones.
        matrix = jnp.linalg.qr(jax.random.normal(jax.random.key(1), shape[1:]))[0]
        self._matrices = shard_runs(jnp.broadcast_to(matrix, shape), mesh)
        self.flops = 2.0 * MATMUL_SIZE**3 * mesh.size

    def __call__(self, count: int) -> jax.Array:
        """Does `count` products on every device and returns the last ones."""
        return self._multiply_all(self._x, self._matrices, jnp.int32(count))


def program_bytes_per_run(compiled: Any, runs_per_device: int) -> dict[str, int]:
    """Bytes of a compiled program's arguments and temporaries; empty if XLA does not say."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return {}
    # The analysis is that of one device.
    return {
        "argument_bytes_per_run": analysis.argument_size_in_bytes // runs_per_device,
        "temporary_bytes_per_run": analysis.temp_size_in_bytes // runs_per_device,
    }


def peak_memory_bytes() -> int:
    """The largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def print_json(arguments: dict[str, Any], results: dict[str, Any]) -> None:
    """Prints one line: what was measured where, and the results to four digits."""
    device = jax.local_devices()[0]
    machine = {
        "device_kind": device.device_kind,
        "device_count": jax.local_device_count(),
        "jax_version": jax.__version__,
        "python_version": platform.python_version(),
    }
    rounded = {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in results.items()
    }
    print(json.dumps(arguments | machine | rounded))

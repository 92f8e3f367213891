"""What the compiled program is made of on a device that is not here, without running it.

`python -m benchmarks.targets --help` shows the options. It needs the extra `targets`.
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any
from unittest import mock

import jax
import tyro
from mujoco.mjx._src import solver

from benchmarks import hlo
from benchmarks.common import print_json
from envs.physics.corrections import line_search
from purejax_simba.commands import command_line, one_line_errors
from purejax_simba.config import Config, known
from purejax_simba.names import flatten
from purejax_simba.program import Program
from purejax_simba.runs import targets

RANDOM_STEPS = 50


@dataclass(frozen=True)
class Arguments:
    """Compile the program of a run for a target, and say what it is made of."""

    target: str = "h100"
    """h100, a file that describes another GPU, or TPU chips: v5e:2x4, v6e:2x2, v4:2x2x1."""
    config: Annotated[Config, tyro.conf.arg(name="")] = field(
        default_factory=lambda: Config(task="dmc/cheetah-run", num_seeds=10)
    )


@dataclass(frozen=True)
class Parts:
    """The loops of `advance`, found by the scopes that it was traced in.

    Attributes:
      interaction: one of them, with its updates and its environment steps inside.
      updates: the loop over updates, one update.
      environment: loops of the environment step, outermost first.
    """

    interaction: hlo.Loop
    updates: hlo.Loop | None
    environment: list[hlo.Loop]

    @classmethod
    def of(cls, program: hlo.Loop) -> "Parts":
        """Those of a compiled `advance`."""
        (interaction,) = program.loops
        inside = list(interaction.loops)
        updates = [loop for loop in inside if "/updates/" in loop.scope]
        environment = [loop for loop in inside if "/environment/" in loop.scope]
        return cls(interaction, updates[0] if updates else None, environment)

    def environment_operations(self) -> list[hlo.Instruction]:
        """Of the environment step outside of its loops."""
        return [each for each in self.interaction.operations if "/environment/" in each.scope]


def solver_iterations(program: Program, runs: int) -> tuple[float, float]:
    """Means over steps of random play in MJX, here: those of the solver, of a line search in it.

    All runs are simulated at once, so that the longest one counts.
    """
    counts: Counter = Counter()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            jax.debug.callback(lambda: counts.update([name]))
            return function(*arguments)

        return counted

    def search(condition: Any, body: Any, *others: Any) -> Any:
        return _loop(condition, counting("line search", body), *others)

    _loop = line_search._while_loop
    environment, size = program.environment, program.environment.action_size
    step = jax.jit(jax.vmap(environment.step))
    key = jax.random.key(0)
    with (
        mock.patch.object(line_search, "_while_loop", search),
        mock.patch.object(solver, "_linesearch", counting("solver", solver._linesearch)),
    ):
        jax.clear_caches()  # of the step as it was traced before
        state, _ = jax.jit(jax.vmap(environment.reset))(jax.random.split(key, runs))
        jax.effects_barrier()
        counts.clear()
        for number in range(RANDOM_STEPS):
            noise = jax.random.fold_in(key, number)
            state, _ = step(state, jax.random.uniform(noise, (runs, size), minval=-1))
        jax.effects_barrier()
    # A callback that takes nothing is made once for all runs.
    steps, iterations = RANDOM_STEPS * environment.repeat, counts["solver"]
    return iterations / steps, counts["line search"] / max(iterations, 1)


def measure(advance: hlo.Loop, repeat: int, updates: float) -> dict[str, Any]:
    """Counts of operations; what is done only sometimes is left out.

    A loop of known length counts as often as it runs; a solver is a loop whose length is known
    only when it runs, and a line search one inside that.

    Args:
      advance: the compiled function.
      repeat: environment steps per interaction.
      updates: per interaction.
    """
    parts = Parts.of(advance)
    solvers: list[hlo.Loop] = []

    def count(loop: hlo.Loop) -> int:
        """Operations of one iteration, without solvers."""
        total = len(loop.operations)
        for inner in loop.loops:
            if inner.trips is None:
                solvers.append(inner)
            else:
                total += inner.trips * count(inner)
        return total

    steps = len(parts.environment_operations())
    for loop in parts.environment:
        steps += (loop.trips or 1) * count(loop)
    searches = [inner for loop in solvers for inner in loop.loops if inner.trips is None]
    update = count(parts.updates) if parts.updates else 0
    other = len(parts.interaction.operations) - len(parts.environment_operations())
    copied = sum(
        loop.copied * (updates if parts.updates and loop in list(parts.updates.walk()) else 1)
        for loop in parts.interaction.walk()
    )
    products: dict[str, Counter] = {"environment": Counter(), "others": Counter()}
    for loop in advance.walk():
        for scope, precision in loop.products:
            products["environment" if "/environment/" in scope else "others"][precision] += 1
    return {
        "operations_per_update": update,
        # Among them, into a TPU's fast memory and beside the others.
        "fetches_per_update": parts.updates.fetches if parts.updates else 0,
        "operations_per_environment_step": steps / repeat,
        "operations_per_solver_iteration": max((count(loop) for loop in solvers), default=0),
        "operations_per_line_search_iteration": max((count(loop) for loop in searches), default=0),
        "other_operations_per_interaction": other,
        "bytes_copied_per_interaction": copied,
        "products_by_precision": {name: dict(each) for name, each in products.items()},
    }


def run(arguments: Arguments) -> dict[str, Any]:
    """Compiles for a target, and returns results with their units in names.

    Memory is that of `advance`, on each device. Collectives are those of all functions.

    Raises:
      ConfigError, envs.TaskError: for what cannot be compiled.
    """
    config = arguments.config
    checked = targets.compile_for(arguments.target, config, config.num_seeds)
    program, config = checked.program, checked.program.config
    rows = checked.mesh.size // config.devices_per_run
    advance = checked.compiled.advance
    memory = advance.memory_analysis()
    updates = float(config.updates_per_interaction)
    counts = measure(hlo.read(advance.as_text()), known(config.action_repeat), updates)
    iterations, searches = 0.0, 0.0
    if counts["operations_per_solver_iteration"]:
        iterations, searches = solver_iterations(program, checked.runs // rows)
    search = searches * counts["operations_per_line_search_iteration"]
    solving = iterations * (counts["operations_per_solver_iteration"] + search)
    step = counts["operations_per_environment_step"] + solving
    launches = (
        counts["other_operations_per_interaction"]
        + known(config.action_repeat) * step
        + updates * counts["operations_per_update"]
    )
    return {
        "compile_seconds": checked.seconds,
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "donated_bytes": memory.alias_size_in_bytes,
        "estimate_over_compiled": checked.estimated_bytes / checked.needed_bytes,
        "collectives": dict(checked.collectives),
        **counts,
        "solver_iterations_per_step": iterations,
        "line_search_iterations_per_solver_iteration": searches,
        "launches_per_interaction": launches,
    }


def main() -> int:
    """Runs the command line; returns the exit status."""
    targets.prepare()
    words = sys.argv[1:]
    with one_line_errors("compile again") as outcome:
        config = command_line.with_agent(Arguments().config, words)
        arguments = command_line.read(Arguments, words, Arguments(config=config))
        given = flatten(arguments.config)
        usual = flatten(Config())
        changed = {name: value for name, value in given.items() if value != usual.get(name)}
        print_json({"target": arguments.target} | changed, run(arguments))
    return outcome.status


if __name__ == "__main__":
    sys.exit(main())

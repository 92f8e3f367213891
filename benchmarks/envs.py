"""Speed of the environments of a run, next to that of the originals.

`python -m benchmarks.envs --help` shows the options. One line of JSON per measurement.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import tyro

import envs
from benchmarks.common import measure, print_json
from benchmarks.gymnasium_loop import NUM_ACTIONS
from benchmarks.originals import available, in_a_loop, in_envpool
from benchmarks.table import Table
from envs.cores import count_cores
from purejax_simba.commands import one_line_errors
from purejax_simba.runs.devices import (
    PER_RUN,
    SHARED,
    make_mesh,
    map_runs,
    shard_runs,
    use_all_cores,
)

# A loop over more originals is no faster, and some take seconds to load.
MOST_IN_A_LOOP = 16
LOOP, ENVPOOL, ADAPTER = "original in a loop", "envpool", "adapter"
# What is measured -> title of its column in the table, and what the column shows.
COLUMNS = {
    "mujoco": ("C engine", "physics `mujoco`"),
    "mjx": ("MJX", "physics `mjx`"),
    "warp": ("Warp", "physics `warp`, whose kernels run on one core here"),
    ADAPTER: ("adapter", "tasks that come through an adapter"),
    LOOP: (
        "loop",
        "dm_control, Gymnasium, MyoSuite or the official HumanoidBench, one environment after the "
        "other (16 at most)",
    ),
    ENVPOOL: ("EnvPool", "the task in EnvPool, synchronously"),
    "compile": ("MJX, s", "compilation of the steps with MJX, in seconds"),
}
# Title of a ratio -> what is divided by what, and what to aim for.
RATIOS = {
    "C / loop": ("mujoco", LOOP, "aim: 3 at 16 environments"),
    "C / EnvPool": ("mujoco", ENVPOOL, "aim: 0.7"),
    "adapter / loop": (ADAPTER, LOOP, "above 1 where worker processes gain more than they cost"),
}
VERSIONED = ("mujoco", "mujoco-mjx", "jax", "dm-control", "gymnasium")


@dataclass(frozen=True)
class Arguments:
    """Measure environment steps per second, without action repeat and without a learner."""

    tasks: tuple[str, ...] = ()
    """Task ids. Default: those of the published suites whose packages are here."""
    physics: tuple[Literal["mujoco", "mjx", "warp"], ...] = ("mujoco", "mjx")
    """Engines for the native tasks; warp is for GPUs, and slow on CPUs."""
    environments: tuple[int, ...] = (1, 16, 128)
    """Numbers of environments of the run."""
    originals: bool = True
    """Measure dm_control, Gymnasium and EnvPool (where it is installed and has the task) too."""
    host_python: str = ""
    """Interpreter that has MyoSuite, or the original HumanoidBench to compare with."""
    report: str = ""
    """Markdown file for a table; rows that are in it already stay."""
    seconds: float = 1.0
    """Time for each measurement, compilation excluded."""


class Steps:
    """Steps of environments under automatic reset with random actions.

    Attributes:
      compile_seconds: from tracing to machine code.
    """

    def __init__(self, environment: envs.Environment, count: int):
        auto_reset = envs.AutoReset(environment)
        size = environment.action_size

        def begin(key: jax.Array) -> tuple[Any, jax.Array]:
            reset_key, action_key = jax.random.split(key)
            actions = jax.random.uniform(action_key, (NUM_ACTIONS, size), minval=-1.0)
            return auto_reset.reset(reset_key)[0], actions

        def advance(state: Any, actions: jax.Array, steps: jax.Array) -> Any:
            def body(index: jax.Array, state: Any) -> Any:
                return auto_reset.step(state, actions[index % NUM_ACTIONS])[0]

            return jax.lax.fori_loop(0, steps, body, state)

        mesh = make_mesh(count)
        keys = shard_runs(jax.random.split(jax.random.key(0), count), mesh)
        self._state, self._actions = map_runs(begin, mesh, (PER_RUN,))(keys)
        advance_runs = map_runs(advance, mesh, (PER_RUN, PER_RUN, SHARED), donate=(0,))
        begun = time.perf_counter()
        self._compiled = advance_runs.lower(self._state, self._actions, jnp.int32(1)).compile()
        self.compile_seconds = time.perf_counter() - begun

    def __call__(self, steps: int) -> Any:
        """Takes so many steps in every environment and returns their new state."""
        self._state = self._compiled(self._state, self._actions, jnp.int32(steps))
        return self._state


@dataclass(frozen=True)
class Rate:
    """How fast something steps a task.

    Attributes:
      env_steps_per_second: of all environments together, median over repetitions.
      best_env_steps_per_second: of the best repetition.
      compile_seconds: from tracing to machine code; None where nothing is compiled.
    """

    env_steps_per_second: float
    best_env_steps_per_second: float
    compile_seconds: float | None = None


def measure_task(task_id: str, count: int, arguments: Arguments) -> dict[str, Rate]:
    """What steps the task -> how fast. All of them take turns."""
    work: dict[str, tuple[Callable[[int], Any], int]] = {}
    known = envs.spec(task_id)
    engines = () if known.missing() else known.physics
    host = None if engines else envs.HostOptions(python=arguments.host_python)
    for engine in [e for e in arguments.physics if e in engines] if engines else [ADAPTER]:
        physics = engine if engines else "auto"
        environment = envs.make(task_id, physics=physics, action_repeat=1, host=host)
        work[engine] = Steps(environment, count), count
    if arguments.originals:
        in_turn = min(count, MOST_IN_A_LOOP)
        if loop := in_a_loop(task_id, in_turn, arguments.host_python):
            work[LOOP] = loop, in_turn
        if pool := in_envpool(task_id, count):
            work[ENVPOOL] = pool, count
    timings = measure([do for do, _ in work.values()], arguments.seconds)
    return {
        name: Rate(
            env_steps_per_second=size / timing.median,
            best_env_steps_per_second=size / timing.best,
            compile_seconds=getattr(do, "compile_seconds", None),
        )
        for (name, (do, size)), timing in zip(work.items(), timings, strict=True)
    }


def make_table(path: Path | None) -> Table:
    """The table that `cells` fills."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in VERSIONED)
    return Table(
        path,
        "Speed of the environments",
        f"Made by `python -m benchmarks.envs --report results/throughput.md` on {count_cores()} "
        f"cores with {versions}.",
        [
            "Env steps/s of all environments together, without action repeat; random actions. "
            "The loop of HumanoidBench runs in an interpreter of its own (`--host-python`), with "
            "the MuJoCo that it asks for; so do tasks of MyoSuite in the column adapter, and the "
            "loops beside these."
        ],
        dict(COLUMNS.values()) | {title: aim for title, (_, _, aim) in RATIOS.items()},
        name="task, environments",
    )


def cells(rates: dict[str, Rate]) -> dict[str, str]:
    """The cells of a row of the table, two or three digits each."""
    numbers = {COLUMNS[name][0]: rate.env_steps_per_second for name, rate in rates.items()}
    for title, (name, other, _) in RATIOS.items():
        if name in rates and other in rates:
            numbers[title] = rates[name].env_steps_per_second / rates[other].env_steps_per_second
    if "mjx" in rates:
        numbers[COLUMNS["compile"][0]] = rates["mjx"].compile_seconds or 0.0
    return {title: f"{float(f'{number:.3g}'):,.12g}" for title, number in numbers.items()}


def measure_all(arguments: Arguments) -> None:
    """Prints a line for each measurement."""
    table = make_table(Path(arguments.report) if arguments.report else None)
    for task_id in arguments.tasks or available(arguments.host_python):
        for count in arguments.environments:
            rates = measure_task(task_id, count, arguments)
            for name, rate in rates.items():
                line = {"task": task_id, "environments": count, "measured": name}
                results = {key: value for key, value in vars(rate).items() if value is not None}
                print_json(line, results)
            table.add(f"{task_id}, {count}", cells(rates))


def main() -> int:
    """Runs the command line; returns the exit status."""
    arguments = tyro.cli(Arguments)
    if min(arguments.environments, default=0) < 1:
        print("error: --environments must be one or more numbers above 0", file=sys.stderr)
        return 2
    use_all_cores(num_runs=1)
    with one_line_errors("measure again") as outcome, envs.clear_errors():
        measure_all(arguments)
    return outcome.status


if __name__ == "__main__":
    sys.exit(main())

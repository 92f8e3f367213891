"""Speed of the environments of a run, next to that of the originals.

`python -m benchmarks.envs --help` shows the options. One line of JSON per measurement.
"""

import importlib.util
import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import tyro

import envs
from benchmarks.common import measure, print_json
from benchmarks.table import Table
from envs.cores import count_cores
from purejax_simba.parallel import make_mesh, map_runs, shard_runs, use_all_cores

# Random actions that the steps take in turn.
NUM_ACTIONS = 64
# A loop over more originals is no faster, and some take seconds to load.
MOST_IN_A_LOOP = 16
LOOP, ENVPOOL, ADAPTER = "original in a loop", "envpool", "adapter"
# What is measured -> title of its column in the table, and what the column shows.
COLUMNS = {
    "mujoco": ("C engine", "physics `mujoco`"),
    "mjx": ("MJX", "physics `mjx`"),
    ADAPTER: ("adapter", "tasks that come through an adapter"),
    LOOP: ("loop", "dm_control or Gymnasium, one environment after the other (16 at most)"),
    ENVPOOL: ("EnvPool", "the task in EnvPool, synchronously"),
    "compile": ("MJX, s", "compilation of the steps with MJX, in seconds"),
}
# Title of a ratio -> what is divided by what, and what to aim for.
RATIOS = {
    "C / loop": ("mujoco", LOOP, "aim: 3 at 16 environments"),
    "C / EnvPool": ("mujoco", ENVPOOL, "aim: 0.7"),
}
VERSIONED = ("mujoco", "mujoco-mjx", "jax", "dm-control", "gymnasium")


@dataclass(frozen=True)
class Arguments:
    """Measure environment steps per second, without action repeat and without a learner."""

    tasks: tuple[str, ...] = ()
    """Task ids. Default: the native ones."""
    physics: tuple[Literal["mujoco", "mjx"], ...] = ("mujoco", "mjx")
    """Engines for the native tasks."""
    environments: tuple[int, ...] = (1, 16, 128)
    """Numbers of environments of the run."""
    originals: bool = True
    """Measure dm_control, gymnasium and EnvPool (where it is installed and has the task) too."""
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
        self._state, self._actions = map_runs(begin, mesh, (0,))(keys)
        advance_runs = map_runs(advance, mesh, (0, 0, None), donate=(0,))
        begun = time.perf_counter()
        self._compiled = advance_runs.lower(self._state, self._actions, jnp.int32(1)).compile()
        self.compile_seconds = time.perf_counter() - begun

    def __call__(self, steps: int) -> Any:
        """Takes so many steps in every environment and returns their new state."""
        self._state = self._compiled(self._state, self._actions, jnp.int32(steps))
        return self._state


def in_a_loop(task_id: str, count: int) -> Callable[[int], None] | None:
    """Steps the original Python environments one after the other; None where there is none."""
    family, _, name = task_id.partition("/")
    generator = np.random.default_rng(0)
    if family == "dmc":
        from dm_control import suite

        domain, task = name.split("-")
        loaded = [suite.load(domain, task, task_kwargs={"random": i}) for i in range(count)]
        specification = loaded[0].action_spec()
        shape = (NUM_ACTIONS, *specification.shape)
        actions = generator.uniform(specification.minimum, specification.maximum, shape)
        for environment in loaded:
            environment.reset()

        def take_dmc(steps: int) -> None:
            for step, environment in itertools.product(range(steps), loaded):
                # This begins a new episode by itself after the last step of one.
                environment.step(actions[step % NUM_ACTIONS])

        return take_dmc
    if family not in ("gymnasium", "mujoco"):
        return None
    made = [gymnasium.make(name, disable_env_checker=True) for _ in range(count)]
    space: Any = made[0].action_space
    actions = generator.uniform(space.low, space.high, (NUM_ACTIONS, *space.shape))
    actions = actions.astype(space.dtype)
    for seed, environment in enumerate(made):
        environment.reset(seed=seed)

    def take_gymnasium(steps: int) -> None:
        for step, environment in itertools.product(range(steps), made):
            _, _, terminated, truncated, _ = environment.step(actions[step % NUM_ACTIONS])
            if terminated or truncated:
                environment.reset()

    return take_gymnasium


def in_envpool(task_id: str, count: int) -> Callable[[int], None] | None:
    """Steps EnvPool's environments; None where it is not installed or has no such task."""
    family, _, name = task_id.partition("/")
    if family == "dmc":
        name = "".join(part.title() for part in name.replace("-", "_").split("_")) + "-v1"
    if importlib.util.find_spec("envpool") is None:
        return None
    import envpool

    if name not in envpool.list_all_envs():
        return None
    pool = envpool.make(name, env_type="gymnasium", num_envs=count, seed=0)
    space: Any = pool.action_space
    shape = (NUM_ACTIONS, count, *space.shape)
    actions = np.random.default_rng(0).uniform(space.low, space.high, shape).astype(space.dtype)
    pool.reset()

    def take(steps: int) -> None:
        for step in range(steps):
            pool.step(actions[step % NUM_ACTIONS])  # it begins new episodes by itself

    return take


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
    engines = envs.spec(task_id).physics
    for engine in [e for e in arguments.physics if e in engines] if engines else [ADAPTER]:
        physics = engine if engines else "auto"
        environment = envs.make(task_id, physics=physics, action_repeat=1)
        work[engine] = Steps(environment, count), count
    if arguments.originals:
        in_turn = min(count, MOST_IN_A_LOOP)
        if loop := in_a_loop(task_id, in_turn):
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
        ["Env steps/s of all environments together, without action repeat; random actions."],
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
    native = tuple(task for task in envs.tasks("all") if envs.spec(task).physics)
    for task_id in arguments.tasks or native:
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
    try:
        with envs.clear_errors():
            measure_all(arguments)
    except envs.TaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except envs.HostEnvironmentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

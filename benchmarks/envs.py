"""Speed of the environments, and what a step on the host costs the learner.

`python -m benchmarks.envs --help` shows the options. One line of JSON per measurement.
"""

import importlib.util
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import tyro

import envs
from benchmarks.common import Timing, measure, print_json
from purejax_simba.parallel import make_mesh, map_runs, shard_runs, use_all_cores

# Random actions that the steps take in turn.
NUM_ACTIONS = 64
NOTHING = "NothingHappens-v0"


@dataclass(frozen=True)
class Arguments:
    """Measure environment steps per second, without action repeat and without a learner."""

    tasks: tuple[str, ...] = ()
    """Task ids. Default: the native ones."""
    physics: tuple[Literal["mujoco", "mjx"], ...] = ("mujoco", "mjx")
    """Engines for the native tasks."""
    environments: tuple[int, ...] = (1, 16, 128)
    """Numbers of environments, one per run."""
    originals: bool = True
    """Measure dm_control, gymnasium and EnvPool (where it is installed and has the task) too."""
    host_runs: int = 8
    """Runs of the measurement of a step on the host; 0 leaves it out."""
    seconds: float = 1.0
    """Time for each measurement, compilation excluded."""


class NothingHappens(gymnasium.Env):
    """An environment that costs nothing, with the sizes of a cheetah."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (17,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (6,), np.float32)
    _observation = np.zeros(17, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        """Begins."""
        return self._observation, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Goes on."""
        return self._observation, 0.0, False, False, {}


class Steps:
    """Steps of environments under automatic reset with random actions, one per run.

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


def rates(timing: Timing, count: int) -> dict[str, float]:
    """Environment steps per second of `count` environments together."""
    return {
        "env_steps_per_second": count / timing.median,
        "best_env_steps_per_second": count / timing.best,
    }


def measure_task(
    task_id: str, count: int, arguments: Arguments
) -> Iterator[tuple[str, dict[str, float]]]:
    """What steps the task -> results, one after the other."""
    engines = envs.spec(task_id).physics
    for engine in [e for e in arguments.physics if e in engines] if engines else ["auto"]:
        steps = Steps(envs.make(task_id, physics=engine, action_repeat=1), count)
        (timing,) = measure([steps], arguments.seconds)
        name = engine if engines else "adapter"
        yield name, {"compile_seconds": steps.compile_seconds, **rates(timing, count)}
    if arguments.originals:
        for name, make in {"original in a loop": in_a_loop, "envpool": in_envpool}.items():
            work = make(task_id, count)
            if work is not None:
                (timing,) = measure([work], arguments.seconds)
                yield name, rates(timing, count)


def measure_host_step(runs: int, seconds: float) -> dict[str, float]:
    """What a step of all runs costs where the environment itself costs nothing."""
    if NOTHING not in gymnasium.registry:
        gymnasium.register(NOTHING, entry_point="benchmarks.envs:NothingHappens")
    environment = envs.make(f"gymnasium/{NOTHING}", episode_length=2**30)
    (timing,) = measure([Steps(environment, runs)], seconds)
    return {"seconds_per_step": timing.median, "best_seconds_per_step": timing.best}


def measure_all(arguments: Arguments) -> None:
    """Prints a line for each measurement."""
    if arguments.host_runs:
        results = measure_host_step(arguments.host_runs, arguments.seconds)
        print_json({"measured": "host step", "runs": arguments.host_runs}, dict(results))
    for task_id in arguments.tasks or envs.tasks("all"):
        for count in arguments.environments:
            for name, results in measure_task(task_id, count, arguments):
                line = {"task": task_id, "environments": count, "measured": name}
                print_json(line, dict(results))


def main() -> int:
    """Runs the command line; returns the exit status."""
    arguments = tyro.cli(Arguments)
    if min(arguments.environments, default=0) < 1:
        print("error: --environments must be one or more numbers above 0", file=sys.stderr)
        return 2
    use_all_cores(max((arguments.host_runs, *arguments.environments)))
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

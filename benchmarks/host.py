"""What a step on the host costs the learner, beyond what the environments themselves take.

`python -m benchmarks.host --help` shows the options. One line of JSON per measurement.
"""

import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any
from unittest import mock

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import tyro
from mujoco.batch import Batch

import envs
from benchmarks.common import measure, print_json
from benchmarks.envs import Steps
from envs.workers.pool import HostPool
from purejax_simba.runs.devices import PER_RUN, SHARED, make_mesh, map_runs, use_all_cores

NOTHING = "NothingHappens-v0"
NATIVE = "dmc/pendulum-swingup"
# What the task asks the engine to derive after a step.
STAGE = mujoco.mjtStage.mjSTAGE_VEL.value


@dataclass(frozen=True)
class Arguments:
    """Measure a step of all runs, its time in the environments subtracted."""

    runs: int = 8
    """Runs, one environment each."""
    devices: int = 0
    """Virtual CPU devices over which to spread them; 0 takes as many as train.py would."""
    seconds: float = 2.0
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


def measure_adapter(arguments: Arguments) -> dict[str, float]:
    """A step of an environment that costs nothing, less the exchange with its worker processes."""
    if NOTHING not in gymnasium.registry:
        gymnasium.register(NOTHING, entry_point="benchmarks.host:NothingHappens")
    environment = envs.make(f"gymnasium/{NOTHING}", episode_length=2**30)
    advance, exchanges = Steps(environment, arguments.runs), []

    exchange_with_workers = HostPool._exchange

    def timed(*values: Any) -> Any:
        begin = time.perf_counter()
        result = exchange_with_workers(*values)
        exchanges.append(time.perf_counter() - begin)
        return result

    with mock.patch.object(HostPool, "_exchange", timed):
        (whole,) = measure([advance], arguments.seconds)
    # Devices do it at the same time, each for its own runs.
    exchange = statistics.mean(exchanges)
    return {
        "seconds_per_step": whole.median - exchange,
        "best_seconds_per_step": whole.best - exchange,
        "exchange_seconds": exchange,
    }


def measure_engine(arguments: Arguments) -> dict[str, float]:
    """A step of the C engine, less that of the simulations that a device advances."""
    environment: Any = envs.make(NATIVE, "mujoco", action_repeat=1).unwrapped
    physics, model = environment.physics, environment.task.model
    mesh = make_mesh(arguments.runs)

    def begin(key: jax.Array) -> Any:
        return environment.reset(key)[0].physics

    def advance(state: Any, steps: jax.Array) -> Any:
        control = jnp.zeros(model.nu)
        return jax.lax.fori_loop(0, steps, lambda _, state: physics.step(state, control), state)

    state = map_runs(begin, mesh, (PER_RUN,))(jax.random.split(jax.random.key(0), arguments.runs))
    advance_runs = map_runs(advance, mesh, (PER_RUN, SHARED))
    alone = Batch(model, arguments.runs // mesh.size, 1, persistent=True)
    alone.bind("qpos")[:] = np.asarray(state.bits).view(np.float64)[: alone.nsim, 1 : 1 + model.nq]

    def step_alone(steps: int) -> None:
        for _ in range(steps):
            alone.step(nstep=environment.task.substeps, stage=STAGE)

    whole, engine = measure(
        [lambda steps: advance_runs(state, jnp.int32(steps)), step_alone], arguments.seconds
    )
    return {
        "seconds_per_step": whole.median - engine.median,
        "best_seconds_per_step": whole.best - engine.best,
        "engine_seconds": engine.median,
    }


def main() -> int:
    """Runs the command line; returns the exit status."""
    arguments = tyro.cli(Arguments)
    if arguments.runs < 1:
        print("error: --runs must be at least 1", file=sys.stderr)
        return 2
    use_all_cores(arguments.runs)
    if arguments.devices:
        jax.config.update("jax_num_cpu_devices", arguments.devices)
    with envs.clear_errors():
        for name, take in {"C engine": measure_engine, "adapter": measure_adapter}.items():
            line = {"measured": name, "runs": arguments.runs, "devices": jax.local_device_count()}
            print_json(line, dict(take(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

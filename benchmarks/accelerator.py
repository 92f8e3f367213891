"""What a GPU or a TPU does that no CPU can tell, in one command of a few minutes.

`python -m benchmarks.accelerator`, with the extra `test`. One line of JSON per measurement: golden
traces and parity of MJX on the device, whether runs leave their neighbours alone to the bit,
updates per second, steps of the environments with each engine, training. The last line says what
to put into `envs/physics/cost.py`. What has not begun when the time is over is left out.
`peak_memory_bytes` is that of all lines so far, because a device does not forget it.
"""

import dataclasses
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro

import envs
from benchmarks import train, update
from benchmarks.common import measure, peak_memory_bytes, print_json
from benchmarks.envs import Steps
from envs.physics import cost
from purejax_simba.agents.simba_v2 import SimbaV2
from purejax_simba.config import Config, ReplayConfig
from purejax_simba.precision import computed_in, in_full
from purejax_simba.runs.compiling import Compiler
from purejax_simba.runs.devices import Placement, use_all_cores
from purejax_simba.runs.runs import Runs
from purejax_simba.training import make_program


@dataclass(frozen=True)
class Arguments:
    """Measure an accelerator: is it right, how fast is it, where do the engines change places?"""

    small: bool = False
    """Rehearse with small sizes, on a CPU."""
    minutes: float = 8.0
    """After which nothing more is begun."""


class Sizes(NamedTuple):
    """What is measured.

    Attributes:
      tasks: the first is the one by which engines are chosen.
      runs: updated at once.
      worlds: stepped at once, and trained in.
      most_worlds: stepped at once at the end, without training.
      critic_width, actor_width: of networks.
      interactions: with random actions, before learning.
      seconds: for each measurement, compilation excluded.
      traces: golden ones to replay.
      steps: of parity.
    """

    tasks: tuple[str, ...] = ("dmc/cheetah-run", "dmc/humanoid-run")
    runs: tuple[int, ...] = (1, 4, 10, 32, 64)
    worlds: tuple[int, ...] = (1, 10, 128, 2048)
    most_worlds: int = 8192
    critic_width: int = 512
    actor_width: int = 128
    interactions: int = 400
    seconds: float = 3.0
    traces: tuple[str, ...] = ("single", "cdq")
    steps: int = 200


SMALL = Sizes(("dmc/pendulum-swingup",), (1, 2), (1, 16), 32, 16, 8, 40, 0.2, ("single",), 20)
_Line = tuple[dict[str, Any], Callable[[], dict[str, Any]]]


def check(*words: str) -> dict[str, Any]:
    """Runs a command that checks something, with all matrix products in full float32."""
    precision = {"JAX_DEFAULT_MATMUL_PRECISION": "float32"}
    begin = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, env=os.environ | precision
    )
    failed = [line.strip() for line in ended.stdout.splitlines() if "BEYOND" in line]
    lines = failed or (ended.stderr or ended.stdout).strip().splitlines()[-1:]
    words_if_failed = {"failed": "; ".join(lines)} if ended.returncode else {}
    return {
        "passed": not ended.returncode,
        "seconds": time.perf_counter() - begin,
    } | words_if_failed


def neighbours() -> dict[str, Any]:
    """Whether a run has the same numbers to the bit beside other runs, in the same program."""
    config = Config(
        task="gymnax/Pendulum-v1",
        num_seeds=4,
        learning_starts=50,
        agent=SimbaV2(actor_hidden_dim=16, critic_hidden_dim=32),
        replay=ReplayConfig(capacity=1000, batch_size=32),
    )
    program = make_program(config)
    compiler, config, states = Compiler(program), program.config, []
    for others in (1, 11):
        configs = [
            dataclasses.replace(config, seed=seed, num_seeds=count)
            for seed, count in ((0, 1), (others, 3))
        ]
        runs = Runs(compiler, Placement.choose(program, configs))
        runs.advance(200)
        states.append(runs.snapshot().named())
    different = [
        name
        for name, leaf in states[0].items()
        if np.ndim(leaf) and not np.array_equal(leaf[0], states[1][name][0], equal_nan=True)
    ]
    return {"passed": not different, "different": different}


def step(task: str, engine: str, worlds: int, seconds: float) -> dict[str, Any]:
    """A step of so many worlds, under automatic reset with random actions."""
    environment = envs.make(task, physics=engine, action_repeat=1)
    steps = in_full(Steps)(environment, worlds)
    (timing,) = measure([steps], seconds)
    return {
        "seconds_per_step": timing.median,
        "env_steps_per_second": worlds / timing.median,
        "compile_seconds": steps.compile_seconds,
    }


def engines() -> tuple[str, ...]:
    """Those that run here."""
    has_warp = jax.default_backend() == "gpu" and not envs.missing_for_warp()
    return ("mujoco", "mjx", *(["warp"] if has_warp else []))


def lines(sizes: Sizes) -> Iterator[_Line]:
    """What each line is about, and what measures it; the most important ones first."""
    yield {"measured": "neighbours"}, neighbours
    critic, actor = sizes.critic_width, sizes.actor_width
    # As in training, so that products are compared with products of the same precision.
    update_run = computed_in(Config().matmul_precision, update.run)
    for runs in sizes.runs:
        asked = update.Arguments(
            runs=runs, critic_hidden_dim=critic, actor_hidden_dim=actor, seconds=sizes.seconds
        )
        yield {"measured": "update", "runs": runs}, partial(update_run, asked)

    def steps(*numbers: int) -> Iterator[_Line]:
        for task, worlds, engine in itertools.product(sizes.tasks, numbers, engines()):
            about = {"task": task, "engine": engine, "worlds": worlds}
            work = partial(step, task, engine, worlds, sizes.seconds)
            yield {"measured": "step", **about}, work

    yield from steps(*sizes.worlds)
    for task in sizes.tasks:
        for worlds in sizes.worlds:
            for engine in engines():
                runs = min(worlds, 10)
                training = train.Arguments(
                    task=task,
                    physics=engine,
                    runs=runs if worlds == runs else 1,
                    environments=1 if worlds == runs else worlds,
                    random_interactions=sizes.interactions,
                    seconds=2 * sizes.seconds,
                    critic_hidden_dim=critic,
                    actor_hidden_dim=actor,
                )
                about = {"task": task, "engine": engine, "worlds": worlds}
                yield {"measured": "training", **about}, partial(train.run, training)
    yield from steps(sizes.most_worlds)


def cost_model(seconds: dict[tuple[str, int], float]) -> dict[str, Any]:
    """What `envs/physics/cost.py` should say, from seconds per step by engine and worlds.

    Returns:
      The constants, the number of worlds from which MJX is faster by them and by those that are
      there now, and the first number measured from which it was; nothing if too little was.
    """
    worlds = sorted(count for engine, count in seconds if engine == "mujoco")
    if len(worlds) < 2 or ("mjx", worlds[0]) not in seconds:
        return {}
    first, last = worlds[0], worlds[-1]
    slope = (seconds["mujoco", last] - seconds["mujoco", first]) / (last - first)
    call = seconds["mujoco", first] - first * slope
    mjx = seconds["mjx", first]
    now = cost.LAUNCHES["mjx"] * cost.LAUNCH
    faster = [n for n in worlds if seconds.get(("mjx", n), np.inf) < seconds["mujoco", n]]
    return {
        "HOST_CALL": call,
        "HOST_WORLD": slope,
        "LAUNCH": mjx / cost.LAUNCHES["mjx"],
        "mjx_from_worlds": max(0.0, (mjx - call) / slope) if slope > 0 else None,
        "mjx_from_worlds_now": (now - cost.HOST_CALL) / cost.HOST_WORLD,
        "mjx_faster_at_worlds": min(faster, default=None),
    }


def main() -> int:
    """Runs the command line; returns the exit status: 1 if something failed."""
    arguments = tyro.cli(Arguments)
    sizes = SMALL if arguments.small else Sizes()
    end = time.perf_counter() + 60 * arguments.minutes
    # In processes of their own, before this one takes the device.
    traces = [f"tests/recorded/simba_v2_{kind}.npz" for kind in sizes.traces]
    parity = f"tests.parity {sizes.tasks[0]} --physics mjx --steps {sizes.steps} --seed 3".split()
    checks = {"golden": check("tests.golden", *traces), "parity": check(*parity)}
    use_all_cores(num_runs=1)
    for name, results in checks.items():
        print_json({"measured": name}, results)
    failed = not all(results["passed"] for results in checks.values())
    seconds: dict[tuple[str, int], float] = {}
    for about, work in lines(sizes):
        if time.perf_counter() > end:
            print_json(about, {"left_out": f"{arguments.minutes:g} minutes are over"})
            continue
        try:
            results = work()
        except Exception as error:  # what one cannot do, others may
            results = {"passed": False, "failed": f"{type(error).__name__}: {error}"[:300]}
        failed |= not results.get("passed", True)
        if (
            about["measured"] == "step"
            and about["task"] == sizes.tasks[0]
            and "failed" not in results
        ):
            seconds[about["engine"], about["worlds"]] = results["seconds_per_step"]
        statistics = jax.local_devices()[0].memory_stats() or {}
        peak = statistics.get("peak_bytes_in_use", peak_memory_bytes())
        print_json(about, results | {"peak_memory_bytes": peak})
    print_json({"measured": "cost_model", "task": sizes.tasks[0]}, cost_model(seconds))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""From a configuration to its program, compiled for as many runs as are advanced at a time."""

import contextlib
import gc
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from purejax_simba import offline, training
from purejax_simba.config import Config
from purejax_simba.data.transitions import Transitions
from purejax_simba.datasets.dataset import check_spaces
from purejax_simba.datasets.loading import fill_in, load
from purejax_simba.errors import ConfigError, WriteError
from purejax_simba.files import read_json, write_json
from purejax_simba.program import Program
from purejax_simba.run_state import Counters, environment_axes
from purejax_simba.runs import processes
from purejax_simba.runs.devices import (
    PER_RUN,
    SHARED,
    Placement,
    divided_runs,
    map_runs,
    shapes_of_runs,
)
from purejax_simba.stopping import in_any_case
from purejax_simba.waiting import still

_ALARM = re.compile(rb"[^\n]*slow_operation_alarm\.cc:\d+\][^\n]*\n+\*{9,}\n.*?\n\*{9,}\n", re.S)


@still("making the environment", processes.say)
def make_program(config: Config, num_runs: int | None = None) -> Program:
    """The program that a configuration asks for; reads its dataset, if it has one.

    `num_runs` is that of `make_environment`.

    Raises:
      ConfigError, envs.TaskError: for a configuration that cannot be run.
    """
    if not config.is_offline:
        return training.make_program(config, num_runs)
    config = fill_in(config)
    dataset = load(config.offline.dataset)
    transitions = Transitions.create(
        observation=dataset.observation,
        action=dataset.action,
        reward=dataset.reward,
        terminated=dataset.terminated,
        ended=dataset.ended,
        next_observation=dataset.next_observation,
    )
    # Another copy in the memory of the host is of no more use.
    load.cache_clear()
    program = offline.make_program(config, transitions)
    check_spaces(dataset, program.environment, program.config.task)
    return program


class CompiledProgram(NamedTuple):
    """The functions of a `Program` for many runs, compiled or ready to be; see there."""

    init: Any
    advance: Any
    evaluate: Any
    diagnose: Any


def lowering(program: Program, mesh: jax.sharding.Mesh, num_runs: int) -> CompiledProgram:
    """What lowers each function of a program for so many runs, once and for all chunks.

    The devices of the mesh need not be here.
    """
    keys = shapes_of_runs(jax.eval_shape(lambda: jax.random.key(0)), num_runs)
    hyperparameters = shapes_of_runs(jax.eval_shape(program.hyperparameters), num_runs)
    state = shapes_of_runs(program.state_shapes, num_runs)
    counters, interactions = jax.eval_shape(lambda: (Counters.create(), jnp.int32(0)))
    data = jax.eval_shape(lambda: program.data)
    shared = (SHARED,) * len(data)
    specs = divided_runs(environment_axes(state), mesh)
    init = map_runs(program.init, mesh, (PER_RUN, PER_RUN, *shared), specs)
    advance = map_runs(
        program.advance,
        mesh,
        (SHARED, specs, PER_RUN, SHARED, *shared),
        (SHARED, specs),
        donate=(1,),
    )
    evaluate_all = map_runs(program.evaluate, mesh, (SHARED, specs, PER_RUN))
    diagnose_all = map_runs(program.diagnose, mesh, (SHARED, specs, PER_RUN, *shared))
    return CompiledProgram(
        partial(init.lower, keys, hyperparameters, *data),
        partial(advance.lower, counters, state, hyperparameters, interactions, *data),
        partial(evaluate_all.lower, counters, state, hyperparameters),
        partial(diagnose_all.lower, counters, state, hyperparameters, *data),
    )


def compile_program(program: Program, mesh: jax.sharding.Mesh, num_runs: int) -> CompiledProgram:
    """Compiles a program for so many runs."""
    lower = lowering(program, mesh, num_runs)
    pool = ThreadPoolExecutor()
    try:
        with without_alarms():
            # Lowering is work of Python, during which the others are compiled. What takes longest
            # comes first.
            with _without_collection():
                compiling = {
                    name: pool.submit(getattr(lower, name)().compile)
                    for name in ("advance", "evaluate", "init", "diagnose")
                }
            return CompiledProgram(**{name: done.result() for name, done in compiling.items()})
    finally:
        pool.shutdown(wait=False)  # a signal does not wait for what nobody needs any more


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Inside, Python looks for no garbage: a fifth of the time that millions of operations take."""
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_collecting:
            gc.enable()


@contextlib.contextmanager
def without_alarms() -> Iterator[None]:
    """Drops what XLA writes where it takes minutes, lines that ask to report a bug; nothing else.

    There is no flag for it. `still` says that it goes on, in a line.
    """
    reader, writer = os.pipe()
    screen = os.dup(2)

    def pass_on() -> None:
        while words := os.read(reader, 2**16):
            try:
                os.write(screen, _ALARM.sub(b"", words))
            except BrokenPipeError:
                signal.raise_signal(signal.SIGTERM)  # as `waiting.say` does
            except OSError:
                pass
        os.close(reader)
        os.close(screen)

    passing_on = threading.Thread(target=pass_on, name="words of XLA", daemon=True)
    passing_on.start()

    def restore() -> None:
        os.dup2(screen, 2)
        passing_on.join(1.0)  # a process that was started meanwhile may still write

    with in_any_case(restore):
        os.dup2(writer, 2)
        os.close(writer)
        yield


class Compiler:
    """Compiles a program once for every number of runs, however often they change."""

    def __init__(self, program: Program):
        self.program = program
        self._compiled: dict[tuple[jax.sharding.Mesh, int], CompiledProgram] = {}
        config = program.config
        self._name = f"{config.agent.name} on {config.task}, physics {config.physics}"

    def has_compiled(self, placement: Placement) -> bool:
        """Whether nothing is left to compile for these runs."""
        return (placement.mesh, placement.at_a_time) in self._compiled

    def expectation(self, placement: Placement) -> str:
        """What compiling for these runs takes, for the user."""
        if self.has_compiled(placement):
            return "compiled before"
        again = " again, for another number of runs" if self._compiled else ""
        seconds = _read_seconds().get(self._name)
        how_long = f"took up to {seconds:.0f} s before" if seconds else "may take minutes"
        return f"compiling{again}, which {how_long} ..."

    def compile(self, placement: Placement) -> CompiledProgram:
        """The program for a group of these runs, compiled now or before."""
        size = (placement.mesh, placement.at_a_time)
        if size not in self._compiled:
            begin = time.monotonic()
            self._compiled[size] = compile_program(self.program, *size)
            if processes.is_first():
                _remember_seconds(self._name, time.monotonic() - begin)
        return self._compiled[size]


def _remember_seconds(name: str, seconds: float) -> None:
    """Notes the longest time, beside the compiled programs that JAX keeps."""
    if (path := _seconds_file()) is not None:
        known = _read_seconds()
        with contextlib.suppress(WriteError):
            write_json(path, known | {name: max(seconds, known.get(name, 0.0))})


def _read_seconds() -> dict[str, float]:
    with contextlib.suppress(ConfigError):
        if path := _seconds_file():
            return read_json(path, dict[str, float], {})
    return {}


def _seconds_file() -> Path | None:
    place: str | None = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    return Path(place) / "seconds.json" if place and "://" not in place else None

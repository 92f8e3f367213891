"""Devices that are not here, for which programs can be compiled all the same.

XLA needs a description of a device, no device. What a compiled program tells is how much memory it
takes and what it is made of; not how fast it is, nor what it computes.
"""

import dataclasses
import functools
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from jax.experimental import topologies

import envs
from envs.host_call import left_out
from purejax_simba.config import DEFAULT_TASK, Config, ConfigError
from purejax_simba.datasets.loading import fill_in
from purejax_simba.defaults import with_recipe
from purejax_simba.files import read_bytes
from purejax_simba.program import Program
from purejax_simba.runs.compiling import CompiledProgram, compile_program, make_program
from purejax_simba.runs.devices import make_mesh
from purejax_simba.runs.memory import GIB, estimated_bytes, largest, runs_that_fit
from purejax_simba.waiting import count_of, still

DESCRIPTIONS = {"h100": Path(__file__).with_name("h100.txtpb")}
# What XLA lets a program have of the memory of a chip, in GiB. A device of a v4 is a core of a
# chip, which has two.
_TPU_GIB = {"v4": 15.25, "v5e": 15.75, "v5p": 95.74, "v6e": 31.25}
# JAX takes this part of a GPU's memory for its programs unless the variable says another.
_GPU_SHARE = ("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.75")
_COLLECTIVE = re.compile(
    r" (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\("
)


def prepare() -> None:
    """Tells XLA that there is nothing to try out; call this before anything else touches JAX."""
    jax.config.update("jax_platforms", "cpu")
    os.environ |= {
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        # Or the library of TPUs looks for the machine that it is on, and complains.
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-8",
        "TPU_WORKER_HOSTNAMES": "localhost",
    }
    os.environ["XLA_FLAGS"] = f"--xla_gpu_autotune_level=0 {os.environ.get('XLA_FLAGS', '')}"


class Target(NamedTuple):
    """Devices of one kind.

    Attributes:
      devices: all of them.
      bytes: what programs may take of the memory of each; None where that is not known.
    """

    devices: Sequence[jax.Device]
    bytes: int | None

    @classmethod
    def of(cls, name: str) -> "Target":
        """That of a name.

        Args:
          name: `h100`; a file that describes another GPU in the same way; or chips of a TPU and
            how they are arranged, as `v5e:2x4`, `v6e:2x2` or `v4:2x2x1`.

        Raises:
          ConfigError: for an unknown target, or one whose compiler is not installed.
        """
        file = DESCRIPTIONS.get(name, Path(name))
        is_gpu = file.suffix == ".txtpb"
        try:
            if is_gpu:
                text = read_bytes(file).decode()
                topology = topologies.get_topology_desc(
                    platform="cuda", topology_name=file.stem, topology="1x1x1", target_config=text
                )
                size = re.search(r"device_memory_size: *(\d+)", text)
                share = float(os.environ.get(*_GPU_SHARE))
                memory = int(int(size[1]) * share) if size else None
            else:
                topology = topologies.get_topology_desc(platform="tpu", topology_name=name)
                gib = _TPU_GIB.get(name.partition(":")[0])
                memory = int(gib * GIB) if gib else None
        except (OSError, RuntimeError, NotImplementedError, ValueError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise ConfigError(
                f"cannot compile for {name} ({reason}): give one of {', '.join(DESCRIPTIONS)}, a "
                "file as theirs, or TPU chips as v5e:2x4, where the compilers are: "
                "pip install 'purejax_simba[targets]'"
            ) from error
        return cls(topology.devices, memory)


class Check(NamedTuple):
    """A program compiled for a target.

    Attributes:
      program: of one run.
      target: the devices that there are.
      mesh: those that the runs are spread over.
      runs: as many on each.
      compiled: its functions.
      seconds: that compiling took, lowering included.
      has_host_calls: whether it calls the host, which was left out.
    """

    program: Program
    target: Target
    mesh: jax.sharding.Mesh
    runs: int
    compiled: CompiledProgram
    seconds: float
    has_host_calls: bool

    @property
    def needed_bytes(self) -> int:
        """Of each device, while the function runs that needs most."""
        sizes = [function.memory_analysis() for function in self.compiled]
        return max(
            each.argument_size_in_bytes
            + each.output_size_in_bytes
            - each.alias_size_in_bytes
            + each.temp_size_in_bytes
            for each in sizes
        )

    @property
    def estimated_bytes(self) -> int:
        """The same, as estimated without compiling."""
        return estimated_bytes(self.program, self.mesh, self.runs)

    @property
    def fitting(self) -> int | None:
        """How many runs of the kind all devices of the target have room for, at least."""
        if self.target.bytes is None:
            return None
        rows = len(self.target.devices) // self.program.config.devices_per_run
        here = self.runs // (self.mesh.size // self.program.config.devices_per_run)
        return rows * (self.target.bytes * here // self.needed_bytes)

    @property
    def collectives(self) -> Counter[str]:
        """Operations in which devices wait for each other, in all functions together."""
        return Counter(
            found for each in self.compiled for found in _COLLECTIVE.findall(each.as_text())
        )

    def __str__(self) -> str:
        """A table."""
        config, target, needed = self.program.config, self.target, self.needed_bytes
        memory = self.compiled.advance.memory_analysis()
        estimate = self.estimated_bytes
        kind = target.devices[0].device_kind
        free = "" if target.bytes is None else f", {target.bytes / GIB:.2f} GiB each for programs"
        collectives = [f"{count} {name}" for name, count in sorted(self.collectives.items())]
        physics = "" if config.physics == "auto" else f", physics {config.physics}"
        rows = {
            "program": f"{count_of(self.runs, 'run')} of {config.agent.name} on "
            f"{config.task}{physics}",
            "devices": f"{self.mesh.size} of {len(target.devices)} {kind}{free}",
            "compiling": f"{self.seconds:.0f} s on this machine",
            "memory of each": f"{needed / GIB:.3f} GiB; while training "
            f"{memory.argument_size_in_bytes / GIB:.3f} GiB of arguments, "
            f"{memory.alias_size_in_bytes / GIB:.3f} GiB of them donated, and "
            f"{memory.temp_size_in_bytes / GIB:.3f} GiB temporary",
            "estimated": f"{estimate / GIB:.3f} GiB, {100 * (estimate / needed - 1):+.0f}%",
            "runs that fit": "unknown" if self.fitting is None else f"{self.fitting:,}",
            "collectives": ", ".join(collectives) or "none",
        }
        if self.has_host_calls:
            rows["host calls"] = "left out: JAX compiles them only where the devices are"
        width = max(map(len, rows)) + 2
        return "\n".join(f"{name:<{width}}{value}" for name, value in rows.items())


def compile_for(name: str, config: Config, num_runs: int, in_parts: bool = False) -> Check:
    """Compiles the program of a run for a target.

    Args:
      name: of the target.
      config: of any of the runs.
      num_runs: of all together.
      in_parts: whether those that have no room take turns, as far as can be estimated.

    Raises:
      ConfigError, envs.TaskError: for what cannot be compiled, or does not fit.
    """
    target, config = Target.of(name), fill_in(config)
    task, worlds = config.task or DEFAULT_TASK, with_recipe(config).worlds(num_runs)
    physics = envs.choose_physics(task, config.physics, worlds, target.devices[0].platform)
    program = make_program(dataclasses.replace(config, physics=physics or config.physics))
    limit = functools.partial(runs_that_fit, program)
    place = (target.bytes, target.devices)
    runs = max(1, limit(num_runs, *place)) if in_parts else num_runs
    mesh = make_mesh(runs, config.devices_per_run, target.devices)
    rows = mesh.size // config.devices_per_run
    runs = -(-runs // rows) * rows
    begin = time.perf_counter()
    try:
        with still(f"compiling for {name}"), left_out() as host_calls:
            compiled = compile_program(program, mesh, runs)
    except jax.errors.JaxRuntimeError as error:  # as XLA does for TPUs
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = str(error).splitlines()[0].removeprefix("RESOURCE_EXHAUSTED: ")
        raise _too_large(program, f"{name}: {reason}", limit(runs - 1, *place)) from error
    seconds = time.perf_counter() - begin
    return Check(program, target, mesh, runs, compiled, seconds, bool(host_calls))


def show(name: str, jobs: Iterable[tuple[Config, int]], in_parts: bool = False) -> None:
    """Prints what compiling for a target tells of configurations and so many runs of each.

    Raises:
      ConfigError: if one does not fit.
      And what `compile_for` raises.
    """
    for config, num_runs in jobs:
        checked = compile_for(name, config, num_runs, in_parts)
        print(checked, flush=True)
        available, needed = checked.target.bytes, checked.needed_bytes
        if available is not None and needed > available:
            raise _too_large(
                checked.program,
                f"{count_of(checked.runs, 'run')} need {needed / GIB:,.1f} GiB of each device and "
                f"{name} has {available / GIB:.1f} GiB",
                checked.fitting or 0,
            )


def _too_large(program: Program, reason: str, fits: int) -> ConfigError:
    seeds = f"--num-seeds {fits} or " if fits else ""
    return ConfigError(f"{reason}: give {seeds}a smaller {largest(program)[1]}")

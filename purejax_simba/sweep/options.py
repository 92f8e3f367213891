"""A sweep as it is written on the command line."""

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

import envs
from purejax_simba.config import DEFAULT_TASK, Config, ConfigError
from purejax_simba.defaults import with_agent_defaults
from purejax_simba.sweep.axes import Axis, Kind, parse_axis
from purejax_simba.sweep.definition import Sweep, complete
from purejax_simba.sweep.halving import Halving
from purejax_simba.sweep.presets import PRESETS, PresetName
from purejax_simba.sweep.sampling import Sampler

KINDS: tuple[Kind, ...] = ("grid", "uniform", "log_uniform")


@dataclass(frozen=True)
class BaseConfig(Config):
    """What all configurations have in common; `Config` but for the tasks."""

    task: tuple[str, ...] = ()  # type: ignore[assignment]
    """Task ids; every configuration trains on each. Default: the task of `train.py`."""


@dataclass(frozen=True)
class SweepOptions:
    """A sweep in words; see `Sweep`."""

    config: Annotated[BaseConfig, tyro.conf.arg(name="")] = field(default_factory=BaseConfig)
    suite: str | None = None
    """Train on all tasks of this suite; `all` is the published benchmark."""
    preset: PresetName | None = None
    """A comparison of the SimbaV2 paper: the design study's 13 ablations beside the unchanged
    agent, widths of the critic, update-to-data ratios, or resets."""
    configurations: Annotated[tuple[dict[str, Any], ...], tyro.conf.Suppress] = ()
    grid: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Every one of these values: agent.learning-rate=1e-4,3e-4."""
    uniform: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Sampled between two values: agent.shift=1,5."""
    log_uniform: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Sampled between two values, logarithms evenly: temperature.initial=1e-3,1e-1."""
    samples: int = 0
    """Number of samples; each is combined with every choice from the grids."""
    sampler: Sampler = "random"
    """How samples are chosen; tpe learns from the results of those before (Optuna)."""
    sampler_seed: int = 0
    """Random seed of the samples."""
    storage: str | None = None
    """With tpe: a database that several machines share, any storage URL of Optuna. Default: an
    SQLite file in the directory of the sweep."""
    trials_per_batch: int = 8
    """With tpe: how many samples are chosen, and train, at the same time."""
    halving: float | None = None
    """Stop the worst configurations early: at every rung one in so many goes on."""
    rungs: tuple[int, ...] = ()
    """Environment steps of the rungs. Default: total-env-steps divided by --halving, repeatedly."""


def make_sweep(options: SweepOptions) -> Sweep:
    """The sweep that was asked for.

    Raises:
      ConfigError, envs.TaskError: for what cannot be.
    """
    tasks = options.config.task
    if tasks and options.suite:
        raise ConfigError(f"--task and --suite {options.suite} exclude each other: drop one")
    if options.rungs and options.halving is None:
        raise ConfigError("--rungs is of no use without --halving")
    if options.suite:
        tasks = envs.tasks(options.suite)
    shared = {f.name: getattr(options.config, f.name) for f in dataclasses.fields(Config)}
    shared["task"] = tasks[0] if tasks else ("" if options.config.is_offline else DEFAULT_TASK)
    shared["experiment"] = options.config.experiment or options.preset or ""
    config = Config(**shared)
    configurations: tuple[dict[str, Any], ...] = options.configurations
    labels: tuple[str, ...] = ()
    if options.preset is not None:
        if configurations:
            raise ConfigError(f"--preset {options.preset} and configurations exclude each other")
        variants = PRESETS[options.preset](config)
        labels = tuple(variants)
        configurations = complete(with_agent_defaults(config), tuple(variants.values()))
    axes: list[Axis] = []
    for kind in KINDS:
        axes += [parse_axis(kind, text) for text in getattr(options, kind)]
    return Sweep(
        config,
        tasks or (config.task,),
        tuple(axes),
        options.samples,
        options.sampler,
        options.sampler_seed,
        None if options.halving is None else Halving(options.halving, options.rungs),
        options.storage,
        options.trials_per_batch,
        complete(config, configurations),
        labels,
    )

"""A sweep as it is written: on the command line, or in a YAML file."""

import dataclasses
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
import yaml

import envs
from purejax_simba.config import DEFAULT_TASK, Config, ConfigError
from purejax_simba.names import find_name, near, parse_value, replace_values
from purejax_simba.sweep.axes import Axis, Kind, parse_axis
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.halving import Halving
from purejax_simba.sweep.sampling import Sampler

_KINDS: tuple[Kind, ...] = ("grid", "uniform", "log_uniform")


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
    shared["experiment"] = options.config.experiment or options.config.agent.name
    config = Config(**shared)
    axes: list[Axis] = []
    for kind in _KINDS:
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
    )


def read_file(path: Path) -> SweepOptions:
    """Reads a YAML file: `config` (values by name, nested or dotted), and the names of options.

    Axes are mappings, `grid: {agent.learning_rate: [1e-4, 3e-4]}`; a task or several are `task`.

    Raises:
      ConfigError: if there is none, or something in it is unknown.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"--file {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"--file {path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"--file {path} is no mapping: write `config:`, `task:`, `grid:` ...")
    try:
        return _read(content)
    except ConfigError as error:
        raise ConfigError(f"--file {path}: {error}") from error


def _read(content: dict[Any, Any]) -> SweepOptions:
    known = ("task", *(f.name for f in dataclasses.fields(SweepOptions)))
    given: dict[str, Any] = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise ConfigError(f"unknown name {key!r}: {near(name, known)}")
        given[name] = value
    values: dict[str, Any] = {}
    for given_name, value in _dotted(given.pop("config", None) or {}):
        name = find_name(given_name)
        if name == "task":
            raise ConfigError("task stands beside config, not in it")
        values[name] = parse_value(name, value)
    if "task" in given:
        values["task"] = tuple(map(str, _list(given.pop("task"))))
    samplers = typing.get_args(Sampler)
    if given.get("sampler", samplers[0]) not in samplers:
        raise ConfigError(f"sampler is {given['sampler']!r}: choose from {', '.join(samplers)}")
    options: dict[str, Any] = {}
    for name, value in given.items():
        if name in _KINDS:
            options[name] = tuple(
                f"{axis}={','.join(map(str, _list(numbers)))}"
                for axis, numbers in _dotted(_mapping(name, value))
            )
        elif name == "rungs":
            options[name] = tuple(_number(name, rung, int) for rung in _list(value))
        elif name in ("samples", "sampler_seed", "trials_per_batch"):
            options[name] = _number(name, value, int)
        elif name == "halving":
            options[name] = None if value is None else _number(name, value, float)
        else:
            options[name] = value
    return SweepOptions(config=replace_values(BaseConfig(), values), **options)


def _dotted(values: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Pairs of dotted names and values from nested mappings."""
    pairs = []
    for key, value in _mapping(prefix or "config", values).items():
        nested = isinstance(value, dict)
        pairs += _dotted(value, f"{prefix}{key}.") if nested else [(f"{prefix}{key}", value)]
    return pairs


def _mapping(name: str, value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{name} is {value!r}: write a mapping from names to values")
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _number(name: str, value: Any, kind: type) -> Any:
    try:
        return kind(str(value))
    except ValueError:
        raise ConfigError(f"{name} is {value!r}: give a number") from None

"""A sweep as it is written: on the command line, or in a file of YAML or Python."""

import dataclasses
import itertools
import runpy
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro
import yaml

import envs
from purejax_simba import trust
from purejax_simba.agents import registry
from purejax_simba.config import DEFAULT_TASK, Config, ConfigError
from purejax_simba.errors import shown
from purejax_simba.files import check_parts, read_bytes, reading
from purejax_simba.names import (
    all_settings,
    dotted,
    find_name,
    flatten,
    near,
    plain_name,
    replace_values,
)
from purejax_simba.settings import declarations, setting
from purejax_simba.sweep.axes import Axis, Kind, Sampler, check_varies, parse_axis
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.halving import Halving
from purejax_simba.sweep.pbt import PBT
from purejax_simba.sweep.presets import PRESETS, PresetName, Variants
from purejax_simba.waiting import say

_KINDS: tuple[Kind, ...] = get_args(Kind)
# Of a mapping in a file, in which a few lines can stand for billions of values.
_MOST_VALUES = 10_000


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
    skip_missing: bool = False
    """Leave out tasks whose package is not installed."""
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
    sampler_seed: int = setting(0, at_least=0)
    """Random seed of the samples."""
    storage: str | None = None
    """With tpe: a database that several nodes share, any storage URL of Optuna. Default: an SQLite
    file in the directory of the sweep."""
    trials_per_batch: int = setting(Sweep.trials_per_batch, at_least=1)
    """With tpe: how many samples are chosen, and train, at the same time."""
    halving: float | None = setting(above=1)
    """Stop the worst configurations early: at every rung one in so many goes on."""
    rungs: tuple[int, ...] = ()
    """Environment steps of the rungs. Default: total-env-steps divided by --halving, repeatedly."""
    pbt: bool = False
    """Population-based training: at intervals the worst configurations go on from the best, with
    other values on the axes. Each seed has a population of its own."""
    pbt_interval: int | None = None
    """With pbt: environment steps between generations. Default: the evaluation interval."""
    pbt_replaced: float = setting(PBT.replaced, above=0, at_most=0.5)
    """With pbt: share of the configurations that go on from equally many of the best."""
    pbt_resampled: float = setting(PBT.resampled, at_least=0, at_most=1)
    """With pbt: chance that a value is drawn anew on its axis, in place of one near the best's."""
    pbt_replay: bool = False
    """With pbt: take over the replay and the episodes of the best too; on a device both replays
    then need room for a moment."""


@dataclass(frozen=True)
class LauncherOptions:
    """Where the groups of a sweep train."""

    launcher: Literal["ray", "slurm"] | None = None
    """Train each program as a task of Ray or as a job of SLURM, on nodes that share this directory.
    Default: one after the other in this process."""
    gpus: int = setting(1, at_least=0)
    """With a launcher: GPUs for each program; 0 for CPUs."""
    cpus: int | None = setting(at_least=1)
    """With a launcher: CPUs for each program. Default: with Ray one, or all of a node if there are
    no GPUs; with SLURM its own."""
    batches_at_a_time: int = setting(1, at_least=1)
    """With a launcher and tpe: batches of each study that train at the same time."""
    ray_address: str | None = None
    """Of a Ray cluster that runs. Default: one of its own on this machine."""
    slurm_partition: str | None = None
    """Where jobs are queued. Default: SLURM's."""
    slurm_minutes: int = setting(1440, at_least=1)
    """Time limit of a job, which is queued again when it is over, to go on."""
    slurm_options: tuple[str, ...] = ()
    """What else sbatch is to be told: account=mine qos=long mem=64G."""


def slurm_parameters(options: LauncherOptions) -> dict[str, str]:
    """What else sbatch is to be told, by name.

    Raises:
      ConfigError: for what has no name or no value.
    """
    for option in options.slurm_options:
        if not all(option.partition("=")):
            raise ConfigError(f"--slurm-options {option}: give names and values, qos=long")
    return dict(option.split("=", 1) for option in options.slurm_options)


def make_sweep(options: SweepOptions) -> Sweep:
    """The sweep that was asked for.

    Raises:
      ConfigError, envs.TaskError: for what cannot be.
    """
    for name, declared in declarations(SweepOptions).items():
        if name in vars(options):  # the others are those of the configuration
            declared.check(name, getattr(options, name))
    tasks = options.config.task
    if tasks and options.suite is not None:
        raise ConfigError(f"--task and --suite {options.suite} exclude each other: drop one")
    if options.rungs and options.halving is None:
        raise ConfigError("--rungs is of no use without --halving")
    pbt = PBT(*(getattr(options, f"pbt_{f.name}") for f in dataclasses.fields(PBT)))
    if pbt != PBT() and not options.pbt:
        raise ConfigError("--pbt-interval and the like are of no use without --pbt")
    if options.suite is not None:
        tasks = envs.tasks(options.suite)
    tasks = _installed(tasks, options)
    shared = {f.name: getattr(options.config, f.name) for f in dataclasses.fields(Config)}
    shared["task"] = tasks[0] if tasks else ("" if options.config.is_offline else DEFAULT_TASK)
    shared["experiment"] = options.config.experiment or options.preset or ""
    config = Config(**shared)
    configurations = options.configurations
    labels: tuple[str, ...] = ()
    if options.preset is not None:
        if configurations:
            raise ConfigError(f"--preset {options.preset} and configurations exclude each other")
        variants = PRESETS[options.preset](config)
        labels, configurations = tuple(variants), tuple(variants.values())
    axes: list[Axis] = []
    for kind in _KINDS:
        axes += [parse_axis(kind, text) for text in getattr(options, kind)]
    sweep = Sweep(
        config,
        tasks or (config.task,),
        tuple(axes),
        options.samples,
        options.sampler,
        options.sampler_seed,
        None if options.halving is None else Halving(options.halving, options.rungs),
        options.storage,
        options.trials_per_batch,
        _complete(config, configurations),
        labels,
        pbt if options.pbt else None,
    )
    return sweep if options.preset is None else _follow_axes(sweep, options.preset)


def _follow_axes(sweep: Sweep, preset: PresetName) -> Sweep:
    """The sweep of a preset whose variants are made for the values beside which they train.

    An axis on which they depend becomes a part of the configurations.

    Raises:
      ConfigError: if its values are sampled, so that they are not known yet.
    """

    def variants(values: Mapping[str, Any]) -> Variants:
        return PRESETS[preset](replace_values(sweep.config, values))

    usual = variants({})
    followed = [
        axis for axis in sweep.axes if any(variants({axis.name: v}) != usual for v in axis.values)
    ]
    for axis in followed:
        if axis in sweep.sampled_axes:
            raise ConfigError(
                f"{axis}: what --preset {preset} changes follows from each value: list them, "
                f"--grid {axis.name.replace('_', '-')}=..., without --sampler tpe"
            )
    if not followed:
        return sweep
    names = [axis.name for axis in followed]
    choices = [
        (label, values | variant)
        for chosen in itertools.product(*(axis.values for axis in followed))
        for values in [dict(zip(names, chosen, strict=True))]
        for label, variant in variants(values).items()
    ]
    labels, configurations = zip(*choices, strict=True)
    return dataclasses.replace(
        sweep,
        axes=tuple(axis for axis in sweep.axes if axis not in followed),
        configurations=_complete(sweep.config, configurations),
        labels=labels,
    )


def _installed(tasks: tuple[str, ...], options: SweepOptions) -> tuple[str, ...]:
    """Those of the tasks that can be made here, if the others may be left out.

    Raises:
      ConfigError: if one is missing and may not be, or all are.
    """
    missing = {task: envs.spec(task).missing(options.config.host_python) for task in tasks}
    found = tuple(task for task in tasks if not missing[task])
    if len(found) == len(tasks) or len(tasks) == 1:
        return tasks
    what = "; ".join(
        f"{reason} ({', '.join(task for task in tasks if missing[task] == reason)})"
        for reason in dict.fromkeys(filter(None, missing.values()))
    )
    if not (options.skip_missing and found):
        advice = ", or leave them out: --skip-missing" if found else ""
        raise ConfigError(f"{len(tasks) - len(found)} of {len(tasks)} tasks: {what}{advice}")
    say(f"left out {len(tasks) - len(found)} of {len(tasks)} tasks: {what}")
    return found


def _complete(
    config: Config, configurations: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], ...]:
    """Configurations that all have the same names: what one does not say is as in `config`.

    Raises:
      ConfigError: for what is no hyperparameter.
    """
    known = flatten(config)
    names = list(dict.fromkeys(name for values in configurations for name in values))
    for name in names:
        check_varies(name, "configurations")
    return tuple(
        {name: values.get(name, known.get(name)) for name in names} for values in configurations
    )


def read_file(path: Path, given: Mapping[str, Any] | None = None) -> SweepOptions:
    """Reads a file: `config` (values by name, nested or dotted), and the names of options.

    Axes are mappings, `grid: {agent.learning_rate: [1e-4, 3e-4]}`; a task or several are `task`;
    `configurations` are mappings as `config` is, each one choice of hyperparameters.

    Args:
      path: of YAML; or of Python that defines `sweep`, such a mapping or a function returning one.
      given: what the user says in place of it about the code to run, see `trust.check`.

    Raises:
      ConfigError: if there is none, or something in it is unknown, or YAML names code that is not
        here.
    """
    is_code = path.suffix == ".py"
    with reading(path, yaml.YAMLError, advice="give a file of YAML, or of Python"):
        text = read_bytes(path).decode()
        content = None if is_code else yaml.load(text, _Loader)
        check_parts(content)
    if is_code:
        content = _run_python(path)
    if not isinstance(content, dict):
        raise ConfigError(f"--file {path} is no mapping: write `config:`, `task:`, `grid:` ...")
    for agent in _agents(content):
        if is_code:
            registry.load(agent)
        else:
            trust.check({"agent.name": agent}, path, given)
    try:
        options = _read(content)
    except ConfigError as error:
        raise ConfigError(f"--file {path}: {error}") from error
    if not is_code:
        config = options.config
        named = {"host_python": config.host_python, "loggers": config.loggers}
        tasks = () if given and "task" in given else config.task
        for task in tasks or ("",):
            trust.check(named | {"task": task}, path, given)
    return options


def _agents(content: dict[Any, Any]) -> Iterator[str]:
    """The agents that the content of a file names."""
    groups = [content.get(key) for key in ("config", "grid")]
    groups += _list(content.get("configurations"))
    for group in groups:
        for name, value in dotted(group).items() if isinstance(group, dict) else ():
            if plain_name(name) == "agent.name":
                yield from (agent for agent in _list(value) if isinstance(agent, str))


class _Loader(yaml.SafeLoader):
    """Refuses to write out mappings that are merged with others again and again."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MOST_VALUES:
            raise yaml.YAMLError("it is nested too deeply, or too long")


def _run_python(path: Path) -> Any:
    try:
        sweep = runpy.run_path(str(path)).get("sweep")
        content = sweep() if callable(sweep) else sweep
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(path)
        ]
        place = f", line {lines[-1]}" if lines else ""
        message = " ".join(str(error).split())
        raise ConfigError(
            f"--file {path}{place} fails: {type(error).__name__}: {message}"
        ) from error
    if content is None:
        raise ConfigError(
            f"--file {path} defines no sweep: write `sweep = {{...}}`, or a function of that name "
            "that returns it, with what a YAML file would have"
        )
    return content


def _read(content: dict[Any, Any]) -> SweepOptions:
    known = ("task", *(field.name for field in dataclasses.fields(SweepOptions)))
    values = _values("config", content.get("config") or {})
    options: dict[str, Any] = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise ConfigError(f"unknown name {key!r}: {near(name, known)}")
        if name == "task":
            values[name] = tuple(map(str, _list(value)))
        elif name in _KINDS:
            options[name] = tuple(
                f"{axis}={','.join(map(str, _list(numbers)))}"
                for axis, numbers in dotted(_mapping(name, value)).items()
            )
        elif name == "configurations":
            options[name] = tuple(_values(name, each) for each in _list(value))
            if not options[name]:
                raise ConfigError("configurations is empty: give one or more")
        elif name != "config":
            options[name] = declarations(SweepOptions)[name].parse(name, value)
    return SweepOptions(config=replace_values(BaseConfig(), values), **options)


def _values(key: str, content: Any) -> dict[str, Any]:
    """Dotted name -> value of a part of a configuration."""
    values: dict[str, Any] = {}
    for given_name, value in dotted(_mapping(key, content)).items():
        name = find_name(given_name)
        if name == "task":
            raise ConfigError(f"task stands beside {key}, not in it")
        values[name] = all_settings()[name].parse(name, value)
    return values


def _mapping(name: str, value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{name} is {shown(value)}: write a mapping from names to values")
    return value


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]

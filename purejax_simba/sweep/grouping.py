"""Which configurations train as one program, and what of them at a time."""

import dataclasses
import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from purejax_simba.config import Config, ConfigError
from purejax_simba.datasets.loading import fill_in
from purejax_simba.defaults import make_environment, resolve, with_recipe
from purejax_simba.files import read_json, write_json
from purejax_simba.names import replace_values, settings_of
from purejax_simba.runs import processes
from purejax_simba.runs.compiling import make_program
from purejax_simba.runs.jobs import Job
from purejax_simba.runs.memory import runs_that_fit
from purejax_simba.runs.result_files import run_directory
from purejax_simba.sweep.axes import NAMES
from purejax_simba.sweep.definition import Sweep, Trial
from purejax_simba.sweep.halving import rungs_of
from purejax_simba.waiting import still

_PARTS_FILE = "parts.json"
# What of a configuration an environment is made from.
_environment_options = operator.attrgetter(
    *("task", "physics", "action_repeat", "episode_length"),
    *("host_time_limit", "host_python", "privileged_observations"),
)


def static_part(config: Config) -> Config:
    """The configuration with defaults for all that may differ within a program."""
    known = settings_of(config)
    names = NAMES | {name for name, setting in known.items() if setting.traced}
    # Those of the agent, which has other defaults, are as if they were not given.
    defaults = {name: None if known[name].optional else known[name].default for name in names}
    return replace_values(config, defaults)


def resolve_all(configs: Sequence[Config]) -> list[Config]:
    """`resolve` for many, making an environment only where it is another one.

    Raises:
      ConfigError, envs.TaskError: as `resolve`.
    """
    resolved = []
    key, environment = None, None
    for config in map(fill_in, configs):
        wanted = _environment_options(with_recipe(config))
        if environment is None or wanted != key:
            key, environment = wanted, make_environment(config)
        resolved.append(resolve(config, environment))
    return resolved


def group(configs: Sequence[Config]) -> list[list[int]]:
    """Indices of resolved configurations that can train together, in order of appearance."""
    groups: dict[Config, list[int]] = {}
    for index, config in enumerate(configs):
        groups.setdefault(static_part(config), []).append(index)
    return list(groups.values())


class Group(NamedTuple):
    """Trials whose configurations differ in traced numbers only.

    Attributes:
      number: its place among the groups of the sweep.
      trials: of the group, with resolved configurations. Where they depend on results, see
        `Sweep.is_adaptive`, others that stand for them: as many as train at a time, with the
        extremes of the sampled values.
      directory: for the checkpoints.
      fixed: values of the axes that are not sampled, where others depend on results.
    """

    number: int
    trials: list[Trial]
    directory: Path
    fixed: dict[str, Any] | None = None

    @property
    def config(self) -> Config:
        """Of any of the trials."""
        return self.trials[0].config

    @property
    def runs(self) -> int:
        """Seeds of all trials."""
        return len(self.trials) * self.config.num_seeds


@still("making the groups of the sweep", processes.say)
def make_groups(sweep: Sweep) -> list[Group]:
    """All groups of a sweep, each to be one program if it fits the memory.

    Raises:
      ConfigError, envs.TaskError: if one of the configurations cannot be run.
    """
    place = sweep.directory / "programs"
    if sweep.is_adaptive:
        groups = [
            Group(number, _stand_ins(sweep, fixed), place / f"{number:03d}", fixed)
            for number, fixed in enumerate(sweep.combinations())
        ]
    else:
        trials = resolved(sweep.trials())
        groups = [
            Group(number, [trials[i] for i in indices], place / f"{number:03d}")
            for number, indices in enumerate(group([trial.config for trial in trials]))
        ]
    for each in groups:
        if sweep.pbt is not None:
            sweep.pbt.generations(each.config)
        rungs_of(sweep.halving, each.config, len(each.trials))
    return groups


def resolved(trials: Sequence[Trial]) -> list[Trial]:
    """The same trials with resolved configurations.

    Raises:
      ConfigError, envs.TaskError: if one of them cannot be run.
    """
    configs = resolve_all([trial.config for trial in trials])
    return [trial._replace(config=config) for trial, config in zip(trials, configs, strict=True)]


def _stand_ins(sweep: Sweep, fixed: dict[str, Any]) -> list[Trial]:
    size = min(sweep.samples, sweep.trials_per_batch)
    count = max(size, *(len(axis.values) for axis in sweep.sampled_axes))
    trials = []
    for index in range(count):
        values = {axis.name: axis.values[index % len(axis.values)] for axis in sweep.sampled_axes}
        trials.append(sweep.sampled(index, fixed | values))
    # Where the extremes can be run, so can what lies between.
    return resolved(trials)[:size]


def parts_of(group: Group) -> list[list[Job]]:
    """What has room in memory at the same time; a group that was begun stays as it is."""
    parts = processes.first_says(lambda: _divide_once(group))
    return [[_job(group.trials[i].config, first, count) for i, first, count in p] for p in parts]


def _divide_once(group: Group) -> list[list[tuple[int, int, int]]]:
    path = group.directory / _PARTS_FILE
    if os.path.lexists(path):
        parts = read_json(path, list[list[tuple[int, int, int]]])
        _check_parts(path, parts, group)
        return parts
    fit = runs_that_fit(make_program(group.config, group.runs), group.runs)
    parts = divide(group, fit)
    write_json(path, parts)
    return parts


def _check_parts(path: Path, parts: list[list[tuple[int, int, int]]], group: Group) -> None:
    """Refuses parts that are not those of the group: all its runs, each once."""
    seeds, reached = group.config.num_seeds, 0
    for trial, first, count in (piece for part in parts for piece in part):
        is_next = trial * seeds + first == reached and 0 < count <= seeds - first
        reached = reached + count if is_next else -1
    if reached != group.runs:
        raise ConfigError(f"{path} is of another group: restore it from a copy, or remove it")


def _job(whole: Config, first: int, count: int) -> Job:
    config = dataclasses.replace(whole, seed=whole.seed + first, num_seeds=count)
    return Job(config, run_directory(whole), whole)


def divide(group: Group, fit: int) -> list[list[tuple[int, int, int]]]:
    """Parts of a group, about equally large, where so many runs fit at a time.

    Where the seeds of one configuration do not fit, they train in several parts. Where not even
    one seed does, it is refused when its turn comes.

    Returns:
      For every part `(trial, first of its seeds, number of seeds)` of those in it.
    """
    trials, seeds = len(group.trials), group.config.num_seeds
    if 0 < fit < seeds:
        pieces = _ranges(seeds, fit)
        return [[(i, piece.start, len(piece))] for i in range(trials) for piece in pieces]
    return [[(i, 0, seeds) for i in part] for part in _ranges(trials, max(1, fit // seeds))]


def _ranges(count: int, most: int) -> list[range]:
    """The numbers below `count` in as few ranges of at most `most` as can be."""
    size = -(-count // -(-count // most))
    return [range(first, min(first + size, count)) for first in range(0, count, size)]

"""Which programs a sweep is made of, and what trains in each."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from purejax_simba.config import Config, ConfigError
from purejax_simba.names import is_traced
from purejax_simba.runs import processes
from purejax_simba.runs.compiling import make_program
from purejax_simba.runs.memory import GIB, bytes_per_run, runs_that_fit
from purejax_simba.runs.result_files import replace_text, run_directory
from purejax_simba.sweep.definition import Point, Sweep, Trial
from purejax_simba.sweep.grouping import group, resolve_all
from purejax_simba.sweep.halving import rungs_of
from purejax_simba.waiting import still

_PARTS_FILE = "parts.json"
_NO_LIMIT = 1_000_000


class Member(NamedTuple):
    """What one configuration of a sweep trains.

    Attributes:
      trial: where it comes from.
      config: resolved.
    """

    trial: Trial
    config: Config

    @property
    def directory(self) -> Path:
        """Of its files."""
        return run_directory(self.config)


class Share(NamedTuple):
    """What of a member trains at a time.

    Attributes:
      member: the whole.
      config: with the seeds that train.
    """

    member: Member
    config: Config

    @property
    def is_whole(self) -> bool:
        """Whether all of its seeds do."""
        return self.config == self.member.config


class Group(NamedTuple):
    """Configurations that differ in traced numbers only.

    Attributes:
      number: its place among the groups of the sweep.
      members: of the group. Where they depend on results, see `Sweep.is_adaptive`, others that
        stand for them: as many as train at a time, with the extremes of the sampled values.
      directory: for the checkpoints.
      fixed: values of the axes that are not sampled, where others depend on results.
    """

    number: int
    members: list[Member]
    directory: Path
    fixed: dict[str, Any] | None = None

    @property
    def runs(self) -> int:
        """Seeds of all members."""
        return sum(member.config.num_seeds for member in self.members)


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
        members = make_members(sweep.trials())
        groups = [
            Group(number, [members[i] for i in indices], place / f"{number:03d}")
            for number, indices in enumerate(group([member.config for member in members]))
        ]
    for each in groups:
        rungs_of(sweep.halving, each.members[0].config, len(each.members))
    return groups


def make_members(trials: Sequence[Trial]) -> list[Member]:
    """Members that train these trials.

    Raises:
      ConfigError, envs.TaskError: if one of them cannot be run.
    """
    configs = resolve_all([trial.config for trial in trials])
    return [Member(trial, config) for trial, config in zip(trials, configs, strict=True)]


def _stand_ins(sweep: Sweep, fixed: dict[str, Any]) -> list[Member]:
    size = min(sweep.samples, sweep.trials_per_batch)
    count = max(size, *(len(axis.values) for axis in sweep.sampled_axes))
    trials = []
    for index in range(count):
        values = {axis.name: axis.values[index % len(axis.values)] for axis in sweep.sampled_axes}
        point = Point(sweep.name_of(index, sweep.samples), fixed | values)
        trials.append(sweep.trial(point, sweep.tasks[0]))
    # Where the extremes can be run, so can what lies between.
    return make_members(trials)[:size]


def choose_shard(groups: Sequence[Group], shard: str | None) -> list[Group]:
    """Every n-th group, for `i/n` with i from 1 to n; all for None.

    Raises:
      ConfigError: for anything else.
    """
    if shard is None:
        return list(groups)
    index, _, count = shard.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise ConfigError(f"--shard {shard}: give 1/4, for example, up to 4/4")
    return list(groups[int(index) - 1 :: int(count)])


def parts_of(group: Group) -> list[list[Share]]:
    """What has room in memory at the same time; a group that was begun stays as it is."""
    parts = processes.first_says(lambda: _divide_once(group))
    return [[_share(group.members[i], first, count) for i, first, count in part] for part in parts]


def _divide_once(group: Group) -> list[list[tuple[int, int, int]]]:
    path = group.directory / _PARTS_FILE
    if path.exists():
        return json.loads(path.read_text())
    fit = runs_that_fit(make_program(group.members[0].config), group.runs)
    parts = _divide([member.config.num_seeds for member in group.members], fit)
    group.directory.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(parts))
    return parts


def _share(member: Member, first: int, count: int) -> Share:
    seed = member.config.seed + first
    return Share(member, dataclasses.replace(member.config, seed=seed, num_seeds=count))


def _divide(seeds: Sequence[int], fit: int) -> list[list[tuple[int, int, int]]]:
    """Parts, about equally large, of configurations with so many seeds.

    Where one of them does not fit, the seeds of each train in several parts. Where not even one
    seed does, it is refused when its turn comes.

    Returns:
      For every part `(configuration, first of its seeds, number of seeds)` of those in it.
    """
    if 0 < fit < max(seeds):
        pieces = []
        for index, number in enumerate(seeds):
            size = -(-number // -(-number // fit))
            pieces += [
                (index, first, min(size, number - first)) for first in range(0, number, size)
            ]
        return [[piece] for piece in pieces]
    count = max(1, -(-sum(seeds) // max(fit, 1)))
    most = max(1, min(fit, max(-(-sum(seeds) // count), max(seeds))))
    parts: list[list[tuple[int, int, int]]] = [[]]
    for index, number in enumerate(seeds):
        if parts[-1] and sum(runs for *_, runs in parts[-1]) + number > most:
            parts.append([])
        parts[-1].append((index, 0, number))
    return parts


def describe(groups: Sequence[Group], sweep: Sweep) -> str:
    """The groups as text: members, runs, memory, and what of it fits at a time."""
    lines = []
    programs = 0
    for each in groups:
        config = each.members[0].config
        program = make_program(config)
        per_run = sum(bytes_per_run(program).values())
        fit = runs_that_fit(program, _NO_LIMIT)
        divided = _divide([member.config.num_seeds for member in each.members], fit)
        rungs = [rungs_of(sweep.halving, config, len(part)) for part in divided]
        samples = f"{sweep.samples} samples in batches of " if each.fixed is not None else ""
        programs += sum(1 + len(steps) for steps in rungs)
        parts = f", in {len(divided)} parts" if len(divided) > 1 else ""
        steps = ", ".join(f"{step:,}" for step in rungs[0])
        compared = f", compared at env steps {steps}" if steps else ""
        lines.append(
            f"group {each.number}: {config.task}{_static_values(each)}, {samples}"
            f"{count_of(len(each.members), 'configuration')}, {count_of(each.runs, 'run')}, "
            f"{each.runs * per_run / GIB:.2f} GiB ({per_run / GIB:.3f} GiB per run), "
            f"{_fitting(each, fit)}{parts}{compared}"
        )
    members = sum(len(each.members) for each in groups)
    runs = sum(each.runs for each in groups)
    if sweep.is_adaptive:
        members = sweep.samples * len(groups)
        runs = members * sweep.config.num_seeds
    lines.append(
        f"{count_of(len(groups), 'group')}, {count_of(programs, 'compiled program')}, "
        f"{count_of(members, 'configuration')}, {count_of(runs, 'run')}"
    )
    return "\n".join(lines)


def count_of(number: int, thing: str) -> str:
    """`3 runs`, `1 run`."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def _static_values(group: Group) -> str:
    """Values of static axes, but for those left to the agent or the task."""
    values = group.members[0].trial.point.values.items()
    return "".join(f", {n}={v}" for n, v in values if not is_traced(n) and v is not None)


def _fitting(group: Group, fit: int) -> str:
    if fit == _NO_LIMIT:
        return "any number of runs fits"
    largest = max(member.config.num_seeds for member in group.members)
    turns = f", the {largest} seeds of a configuration take turns" if 0 < fit < largest else ""
    return f"{fit:,} fit at a time{turns}"

"""Hyperparameters that change while runs train: plans for that, and schedules from files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from purejax_simba.config import Config, ConfigError
from purejax_simba.defaults import with_values
from purejax_simba.files import read_json, reading, write_json
from purejax_simba.names import check_change, check_values, find_name, flatten, settings_of
from purejax_simba.runs import processes
from purejax_simba.runs.jobs import Job
from purejax_simba.runs.result_files import SCHEDULE_FILE, SCHEDULE_STEP
from purejax_simba.runs.runs import Runs
from purejax_simba.runs.starting import Start

NEVER = 2**62
_ADVICE = "give the schedule.json of a sweep with --pbt, or write one like it"


class Plan(Protocol):
    """When hyperparameters of runs change, and to what.

    Attributes:
      first: configurations with which jobs begin.
    """

    first: Sequence[Config]

    def begin(self, runs: Runs, start: Start) -> None:
        """Gives the runs what they have where they start."""

    def next_change(self, interactions: int) -> int:
        """The first later interaction at which something changes, `NEVER` if there is none."""

    def change(self, runs: Runs, interactions: int, returns: np.ndarray | None) -> str:
        """Makes the change of this interaction; gives a line about it.

        Args:
          runs: to be changed.
          interactions: taken by each.
          returns: of an evaluation here, `(runs,)`, NaN of those that have diverged; None where
            there was none.
        """

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint has to keep of it, name -> array."""


class Entry(NamedTuple):
    """What a schedule has from an env step on; offline from an update on.

    Attributes:
      env_step: of each run.
      values: dotted name -> value; what is not named stays.
    """

    env_step: int
    values: dict[str, Any]


class Schedule(Plan):
    """The same changes for all seeds of every job, as a file says."""

    def __init__(self, entries: Sequence[Entry], jobs: Sequence[Job]):
        """Applies to jobs that train together."""
        self._entries, self._jobs = entries, jobs
        self.first = self.configs(0)

    @classmethod
    def of(cls, jobs: Sequence[Job], directory: Path | None = None) -> "Schedule | None":
        """The one that the jobs' configuration names, if it does.

        Args:
          jobs: that train together.
          directory: of a run that goes on, and has a copy.

        Raises:
          ConfigError: if it is none, or has what cannot change.
        """
        config = jobs[0].config
        if not config.schedule:
            return None
        path = Path(config.schedule) if directory is None else directory / SCHEDULE_FILE
        with reading(path, advice=_ADVICE):
            schedule = cls(_read(path, config), jobs)
            for entry in schedule._entries:
                for name in entry.values:
                    if len({flatten(job.config)[name] for job in jobs}) > 1:
                        raise ConfigError(f"{name} is on an axis of the sweep: drop one of them")
                for each in schedule.configs(entry.env_step):
                    check_values(each)
        return schedule

    @property
    def names(self) -> set[str]:
        """Of all hyperparameters that it sets."""
        return {name for entry in self._entries for name in entry.values}

    def configs(self, env_step: int) -> list[Config]:
        """The configurations of the jobs as they are from an env step on."""
        values: dict[str, Any] = {}
        for entry in self._entries:
            values |= entry.values if entry.env_step <= env_step else {}
        return [with_values(job.config, values) for job in self._jobs]

    def begin(self, runs: Runs, start: Start) -> None:
        """See `Plan`; every run directory gets a copy of the file."""
        config = self._jobs[0].config
        runs.change(self.configs(start.interactions * config.steps_per_interaction))
        if processes.is_first():
            for job in self._jobs:
                write_schedule(job.directory / SCHEDULE_FILE, self._entries)

    def next_change(self, interactions: int) -> int:
        """See `Plan`."""
        each = self._jobs[0].config.steps_per_interaction
        later = (entry.env_step // each for entry in self._entries)
        return min((step for step in later if step > interactions), default=NEVER)

    def change(self, runs: Runs, interactions: int, returns: np.ndarray | None) -> str:
        """See `Plan`."""
        env_step = interactions * self._jobs[0].config.steps_per_interaction
        runs.change(self.configs(env_step))
        values = next(entry.values for entry in self._entries if entry.env_step == env_step)
        return "now " + ", ".join(f"{name}={value}" for name, value in values.items())

    def arrays(self) -> dict[str, np.ndarray]:
        """See `Plan`: everything is in the file."""
        return {}


def write_schedule(path: Path, entries: Sequence[Entry]) -> None:
    """Writes a file that `Schedule.of` reads."""
    write_json(path, [{SCHEDULE_STEP: entry.env_step} | entry.values for entry in entries])


def _read(path: Path, config: Config) -> list[Entry]:
    known, own = settings_of(config), flatten(config)
    entries: list[Entry] = []
    for line in read_json(path, list[dict[str, Any]], advice=_ADVICE):
        env_step = line.pop(SCHEDULE_STEP, None)
        if type(env_step) is not int or env_step < 0:
            raise ConfigError(f"{SCHEDULE_STEP} is {env_step!r}, no whole number")
        if env_step % config.steps_per_interaction:
            raise ConfigError(
                f"{SCHEDULE_STEP} {env_step} is no multiple of {config.steps_per_interaction}, the "
                "environment steps of an interaction"
            )
        if entries and env_step <= entries[-1].env_step:
            raise ConfigError(f"{SCHEDULE_STEP} {env_step} stands after {entries[-1].env_step}")
        values = {}
        for given, value in line.items():
            name = find_name(given)
            if name not in known or not known[name].traced or own[name] is None:
                raise ConfigError(f"{name} cannot change while {config.agent.name} trains")
            values[name] = known[name].parse(name, value)
            if env_step == 0:
                own[name] = values[name]  # with which everything begins
            elif values[name] != own[name]:  # that of a population has all that is traced
                check_change(name, config)
        entries.append(Entry(env_step, values))
    if not entries:
        raise ConfigError("it is empty")
    return entries

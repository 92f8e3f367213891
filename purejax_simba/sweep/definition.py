"""What a sweep is: a configuration, tasks, axes, and the configurations that follow from them."""

import dataclasses
import itertools
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from purejax_simba.config import Config, ConfigError
from purejax_simba.defaults import with_agent_defaults
from purejax_simba.files import read_json
from purejax_simba.names import check_change, flatten, is_bookkeeping, is_traced, replace_values
from purejax_simba.settings import flag
from purejax_simba.sweep.axes import Axis, Sampler, sample_positions
from purejax_simba.sweep.halving import Halving
from purejax_simba.sweep.pbt import PBT

DEFINITION_FILE = "sweep.json"
# What one command takes; more are not looked through by anyone.
MOST_CONFIGURATIONS = 10_000


class Description(TypedDict):
    """What `Sweep.description` says, as far as it is read again; the rest is only compared."""

    config: dict[str, Any]
    task: list[str]
    axes: list[str]


class Trial(NamedTuple):
    """A choice of hyperparameters on a task.

    Attributes:
      name: of the choice, which it has on every task: its number, and its label; empty if there
        is no other.
      values: dotted name -> value, of all axes.
      config: that trains; its experiment is `<experiment of the sweep>/<name>`.
    """

    name: str
    values: dict[str, Any]
    config: Config


@dataclass(frozen=True)
class Sweep:
    """A sweep; all choices from all axes on all tasks.

    Attributes:
      config: what configurations have in common; its task does not count.
      tasks: task ids.
      axes: what is varied. Every combination of grid values meets every sample.
      samples: of the sampled axes together.
      sampler: how samples are chosen. With `tpe` grids of traced values are sampled too.
      sampler_seed: of the random numbers for that.
      halving: when to stop the worst; None for never.
      pbt: when the worst go on from the best; None for never.
      storage: URL of the database with Optuna's studies; default: a file in the directory.
      trials_per_batch: samples that Optuna chooses, and that train, at the same time.
      configurations: choices of hyperparameters that follow no grid, dotted name -> value, all
        with the same names; each meets everything else.
      labels: of the configurations, for the names of trials.
    """

    config: Config
    tasks: tuple[str, ...]
    axes: tuple[Axis, ...] = ()
    samples: int = 0
    sampler: Sampler = "random"
    sampler_seed: int = 0
    halving: Halving | None = None
    storage: str | None = None
    trials_per_batch: int = 8
    configurations: tuple[dict[str, Any], ...] = ()
    labels: tuple[str, ...] = ()
    pbt: PBT | None = None

    def __post_init__(self) -> None:
        """Refuses what is contradictory; names the experiment after the agent if it has no name.

        Raises:
          ConfigError: with what to change.
        """
        if not self.config.experiment:
            name = self.config.default_experiment
            config = dataclasses.replace(self.config, experiment=name)
            object.__setattr__(self, "config", config)
        names = [axis.name for axis in self.all_axes]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"{name} is on two axes: give it one")
        for index, values in enumerate(self.configurations):
            if values in self.configurations[:index]:
                raise ConfigError(f"configuration {index} is there twice: {values}")
        for task in self.tasks:
            if self.tasks.count(task) > 1:
                raise ConfigError(f"task {task} is given twice")
        if self.sampled_axes and self.samples < 1:
            raise ConfigError(f"--samples is {self.samples}: say how many samples {names[-1]} gets")
        if not self.sampled_axes and (self.samples or self.sampler != Sweep.sampler):
            is_usual = self.sampler == Sweep.sampler
            option = "--samples" if is_usual else f"--sampler {self.sampler}"
            raise ConfigError(f"{option} is of no use without --uniform or --log-uniform")
        if self.halving is not None and len(self.tasks) > 1:
            raise ConfigError("--halving compares configurations on one task: give one --task")
        if self.is_adaptive and len(self.tasks) > 1:
            raise ConfigError("--sampler tpe looks for the best on one task: give one --task")
        if self.pbt is not None:
            self._check_pbt()
        for name in ("storage", "trials_per_batch"):
            if getattr(self, name) != getattr(Sweep, name) and not self.is_adaptive:
                raise ConfigError(f"{flag(name)} is of no use without --sampler tpe")
        if self.count > MOST_CONFIGURATIONS:
            raise ConfigError(
                f"that is {self.count:,} configurations: give fewer --samples or values of --grid, "
                f"for {MOST_CONFIGURATIONS:,} at most"
            )

    def _check_pbt(self) -> None:
        if len(self.tasks) > 1:
            raise ConfigError("--pbt compares configurations on one task: give one --task")
        others: dict[str, Any] = {"--halving": self.halving, "--schedule": self.config.schedule}
        others["--sampler tpe"] = self.is_adaptive
        for option, given in others.items():
            if given:
                raise ConfigError(f"--pbt and {option} exclude each other: drop one")
        config = with_agent_defaults(self.config)
        for axis in self.all_axes:
            check_change(axis.name, config)
            if not all(isinstance(value, int | float) for value in axis.values):
                raise ConfigError(f"--pbt needs numbers, and {axis} has something else")
        if self.count < 2:
            raise ConfigError(
                "--pbt needs two configurations or more: give --samples, or a --grid of numbers"
            )

    @property
    def is_adaptive(self) -> bool:
        """Whether what is tried next depends on what came of the samples before."""
        return self.sampler == "tpe"

    @property
    def all_axes(self) -> tuple[Axis, ...]:
        """Everything that is varied, `configurations` as grids of the values they have."""
        given: dict[str, dict[Any, None]] = {}
        for values in self.configurations:
            for name, value in values.items():
                given.setdefault(name, {})[value] = None
        return (*(Axis(name, "grid", tuple(values)) for name, values in given.items()), *self.axes)

    @property
    def sampled_axes(self) -> list[Axis]:
        """Axes of which the sampler chooses the values."""
        adaptive = self.is_adaptive
        return [
            axis for axis in self.axes if axis.kind != "grid" or (adaptive and is_traced(axis.name))
        ]

    @property
    def count(self) -> int:
        """How many configurations are trained, on all tasks."""
        sampled = self.sampled_axes
        grids = [len(axis.values) for axis in self.axes if axis not in sampled]
        choices = (len(self.configurations), self.samples)
        return math.prod([len(self.tasks), *grids, *(max(count, 1) for count in choices)])

    def combinations(self) -> list[dict[str, Any]]:
        """Every combination of configurations and values of the axes that are not sampled."""
        sampled = self.sampled_axes
        grids = [axis for axis in self.axes if axis not in sampled]
        return [
            given | dict(zip([axis.name for axis in grids], values, strict=True))
            for given in self.configurations or ({},)
            for values in itertools.product(*(axis.values for axis in grids))
        ]

    def trials(self) -> list[Trial]:
        """All choices on all tasks, one task after the other; not if adaptive.

        The last axis changes fastest. Configurations are not resolved.
        """
        samples = self._samples()
        choices = [values | sample for values in self.combinations() for sample in samples]
        names = [_name_of(i, len(choices)) for i in range(len(choices))]
        names = [name + self._label(values) for name, values in zip(names, choices, strict=True)]
        if not self.all_axes:
            names = [""]
        return [
            self._trial(name, values, task)
            for task in self.tasks
            for name, values in zip(names, choices, strict=True)
        ]

    def _samples(self) -> list[dict[str, Any]]:
        axes = self.sampled_axes
        if not axes:
            return [{}]
        positions = sample_positions(self.sampler, self.samples, len(axes), self.sampler_seed)
        return [
            {axis.name: axis.at(x) for axis, x in zip(axes, row, strict=True)} for row in positions
        ]

    def _label(self, values: dict[str, Any]) -> str:
        """What the name of a choice says of its configuration."""
        for label, configuration in zip(self.labels, self.configurations, strict=False):
            if configuration.items() <= values.items():
                return f"-{label}"
        return ""

    def sampled(self, index: int, values: dict[str, Any], prefix: str = "") -> Trial:
        """The trial of one of the samples where results decide on their values."""
        return self._trial(prefix + _name_of(index, self.samples), values, self.tasks[0])

    def _trial(self, name: str, values: dict[str, Any], task: str) -> Trial:
        experiment = f"{self.config.experiment}/{name}" if name else self.config.experiment
        place = {"task": task, "experiment": experiment}
        return Trial(name, values, replace_values(self.config, values | place))

    @property
    def directory(self) -> Path:
        """Where the tables and everything else of the sweep are."""
        return Path(self.config.output) / self.config.experiment

    def description(self) -> dict[str, Any]:
        """What the sweep is, as plain values under their names.

        Bookkeeping is there for `best.json`; another does not make another sweep.
        """
        values = flatten(self.config)
        return {
            "config": {name: value for name, value in values.items() if name != "task"},
            "task": list(self.tasks),
            "axes": [str(axis) for axis in self.all_axes],
            **({"configurations": list(self.configurations)} if self.configurations else {}),
            # More samples can be taken of a study that was finished.
            "samples": None if self.is_adaptive else self.samples,
            "sampler": self.sampler,
            "sampler-seed": self.sampler_seed,
            "halving": None if self.halving is None else dataclasses.asdict(self.halving),
            "pbt": None if self.pbt is None else dataclasses.asdict(self.pbt),
        }


def _name_of(index: int, count: int) -> str:
    """The name of one of so many choices."""
    return f"{index:0{max(3, len(str(count - 1)))}d}"


def check_same(sweep: Sweep, before: Mapping[str, Any], place: str, options: str) -> None:
    """Makes sure that what is in a place is this sweep.

    Args:
      sweep: to be trained.
      before: description of the one that is there.
      place: for the message, as `options`.
      options: that give another place.

    Raises:
      ConfigError: if it is another one, with the differences.
    """
    found = differences(before, sweep.description())
    if found:
        raise ConfigError(f"{place} holds another sweep: give another {options} ({found})")


def read_description(directory: Path) -> Description:
    """What `description` said of the sweep in a directory.

    Raises:
      ConfigError: if there is none, or it is damaged.
    """
    path = directory / DEFINITION_FILE
    if not os.path.lexists(path):
        raise ConfigError(f"{directory} holds no sweep: there is no {DEFINITION_FILE} in it")
    return read_json(path, Description)


def as_written(description: Mapping[str, Any]) -> dict[str, Any]:
    """A description as it is read back: JSON has lists for tuples."""
    return json.loads(json.dumps(description))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between the descriptions of two sweeps, bookkeeping apart; empty if nothing."""
    before, now = (each | each["config"] for each in map(as_written, (before, now)))
    return "; ".join(
        f"{name.replace('_', '-')} was {_text(before.get(name))} and is {_text(now.get(name))}"
        for name in {**before, **now}
        if name != "config" and not is_bookkeeping(name) and before.get(name) != now.get(name)
    )


def _text(value: Any) -> str:
    return (" ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)

"""What a sweep varies: `agent.learning-rate=1e-4,3e-4` as an axis, and where samples lie."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from purejax_simba.config import ConfigError
from purejax_simba.names import all_settings, find_name, is_bookkeeping

Kind = Literal["grid", "uniform", "log_uniform"]
Sampler = Literal["random", "latin-hypercube", "sobol", "tpe"]
# What no program knows of.
NAMES = frozenset({"seed", "num_seeds", "experiment", "output"})


@dataclass(frozen=True)
class Axis:
    """One hyperparameter and where its values come from.

    Attributes:
      name: dotted, with underscores.
      kind: a grid takes every value; the others are sampled.
      values: of a grid; or the lowest and the highest that are sampled.
    """

    name: str
    kind: Kind
    values: tuple[Any, ...]

    def __str__(self) -> str:
        values = ",".join(
            " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            for value in self.values
        )
        return f"--{self.kind.replace('_', '-')} {self.name.replace('_', '-')}={values}"

    @property
    def is_number(self) -> bool:
        """Whether all values are numbers."""
        return are_numbers(self.values)

    @property
    def is_wide(self) -> bool:
        """Whether values differ so much that only their ratios matter."""
        if self.kind != "grid" or not self.is_number:
            return self.kind == "log_uniform"
        return min(self.values) > 0 and max(self.values) >= 5 * min(self.values)

    @property
    def is_continuous(self) -> bool:
        """Whether what lies between its values is a value too; whole numbers are not divided."""
        return all(isinstance(value, float) for value in self.values)

    def at(self, position: float) -> Any:
        """The value at a position in [0, 1) between its lowest and its highest; see `_rounded`."""
        if not self.is_continuous:
            return sorted(self.values)[int(position * len(self.values))]
        low, high = min(self.values), max(self.values)
        if self.is_wide:
            return self._rounded(low * (high / low) ** position)
        return self._rounded(low + (high - low) * position)

    def beside(self, value: Any, upwards: bool) -> Any:
        """A value near another, within the axis: a fifth more or less, where only ratios matter; or
        else a tenth of its length away; or the next, where there is nothing between values.
        """
        if not self.is_continuous:
            ordered = sorted(self.values)
            place = ordered.index(value) + (1 if upwards else -1)
            return ordered[min(max(place, 0), len(ordered) - 1)]
        if self.is_wide:
            return self._rounded(value * 1.2 if upwards else value / 1.2)
        step = (max(self.values) - min(self.values)) / 10
        return self._rounded(value + step if upwards else value - step)

    def _rounded(self, value: float) -> float:
        """To six digits, within the axis."""
        return min(max(float(f"{value:.6g}"), min(self.values)), max(self.values))


def are_numbers(values: Iterable[Any]) -> bool:
    """Whether none is a word, a truth value or anything else."""
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def parse_axis(kind: Kind, text: str) -> Axis:
    """Reads `name=value,value,...`.

    Raises:
      ConfigError: for an unknown name, a value of another type, or an axis that cannot be.
    """
    flag = f"--{kind.replace('_', '-')}"
    name, equals, values = text.partition("=")
    if not equals:
        form = "value,value,..." if kind == "grid" else "low,high"
        raise ConfigError(f"{flag} {text!r} is no axis: write <name>={form}")
    name = find_name(name)
    if name == "task":
        raise ConfigError(f"{flag} {text}: give the tasks as --task <id> <id> ...")
    check_varies(name, f"{flag} {text}")
    setting = all_settings()[name]
    parsed = tuple(setting.parse(name, value) for value in values.split(","))
    if kind == "grid":
        if len(set(parsed)) < len(parsed):
            raise ConfigError(f"{flag} {text} has a value twice")
    else:
        if not setting.traced:
            raise ConfigError(
                f"{flag} {text}: {name} is static, every value of it is compiled anew: "
                f"list the values, --grid {name.replace('_', '-')}=..."
            )
        _check_range(flag, text, parsed)
    return Axis(name, kind, parsed)


def check_varies(name: str, where: str) -> None:
    """Makes sure that what is varied somewhere is a hyperparameter.

    Raises:
      ConfigError: if it is not.
    """
    if name in NAMES or is_bookkeeping(name):
        option = name.replace("_", "-")
        raise ConfigError(f"{where}: {name} is no hyperparameter, give --{option} instead")


def _check_range(flag: str, text: str, values: tuple[Any, ...]) -> None:
    if len(values) != 2 or not all(isinstance(v, float) and math.isfinite(v) for v in values):
        raise ConfigError(f"{flag} {text}: give the lowest and the highest value, two numbers")
    if values[0] >= values[1]:
        raise ConfigError(f"{flag} {text}: the first value must be lower than the second")
    if flag == "--log-uniform" and values[0] <= 0:
        raise ConfigError(f"{flag} {text}: both values must be above 0")


def sample_positions(sampler: Sampler, count: int, dimensions: int, seed: int) -> np.ndarray:
    """Positions in [0, 1), `(count, dimensions)`; the same for the same seed.

    Args:
      sampler: `random` takes each by itself; `latin-hypercube` puts one sample into each of `count`
        slices of every dimension; `sobol` fills the cube evenly, best with a power of two. (What
        `tpe` takes depends on more than that, see `study`.)
      count: of samples.
      dimensions: of the cube.
      seed: of the random numbers.
    """
    numbers = np.random.default_rng(seed)
    if sampler == "random":
        return numbers.random((count, dimensions))
    from scipy.stats import qmc  # which takes a second

    if sampler == "latin-hypercube":
        return qmc.LatinHypercube(dimensions, rng=numbers).random(count)
    # The beginning of a sequence whose length is a power of two, which is what it is made for.
    return qmc.Sobol(dimensions, rng=numbers).random_base2(max(count - 1, 0).bit_length())[:count]

"""Who came from whom in population-based training, with which hyperparameters."""

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from purejax_simba.config import ConfigError
from purejax_simba.files import read_bytes, reading, write_text

LINEAGE_FILE = "lineage.csv"
_COLUMNS = ("population", "generation", "env_step", "member", "parent", "return")


@dataclass(frozen=True)
class Lineage:
    """Generations of populations: one for every seed, each of the same members.

    Attributes:
      populations: their seeds, P.
      members: names, M.
      axes: names of the hyperparameters, A.
      env_steps: at which members were compared, `(G,)`.
      returns: of the members then, `(G, M, P)`; NaN of those that had diverged.
      parents: from which member each went on, `(G, M, P)`.
      values: hyperparameters with which it went on, `(G, M, P, A)`.
    """

    populations: tuple[int, ...]
    members: tuple[str, ...]
    axes: tuple[str, ...]
    env_steps: np.ndarray
    returns: np.ndarray
    parents: np.ndarray
    values: np.ndarray

    @classmethod
    def create(
        cls, populations: Sequence[int], members: Sequence[str], axes: Sequence[str]
    ) -> "Lineage":
        """Before the first generation."""
        shape = (0, len(members), len(populations))
        return cls(
            populations=tuple(populations),
            members=tuple(members),
            axes=tuple(axes),
            env_steps=np.zeros(0, np.int64),
            returns=np.zeros(shape),
            parents=np.zeros(shape, np.int64),
            values=np.zeros((*shape, len(axes))),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """What changes, by name."""
        names = ("env_steps", "returns", "parents", "values")
        return {name: getattr(self, name) for name in names}

    def with_generation(self, **last: Any) -> "Lineage":
        """With one more, by the names of `arrays`."""
        added = {n: np.concatenate([old, [last[n]]]) for n, old in self.arrays().items()}
        return Lineage(self.populations, self.members, self.axes, **added)

    @property
    def best(self) -> list[int]:
        """The member of every population with the highest last return, as indices."""
        return self._last.argmax(0).tolist()

    @property
    def best_population(self) -> int:
        """That which has the best member of all, as an index."""
        return int(self._last.max(0).argmax())

    @property
    def _last(self) -> np.ndarray:
        return np.where(np.isfinite(self.returns[-1]), self.returns[-1], -np.inf)

    def ancestors(self, population: int) -> list[int]:
        """The member that the best one was in every interval between two generations."""
        line: list[int] = []
        member = self.best[population]
        for parents in self.parents[-2::-1]:
            line.insert(0, member)
            member = int(parents[member, population])
        return line

    def schedule(self, population: int) -> np.ndarray:
        """Hyperparameters of the best member and its ancestors in every interval, `(G - 1, A)`."""
        line = self.ancestors(population)
        return self.values[np.arange(len(line)), line, population]

    def returns_of_members(self, population: int) -> np.ndarray:
        """From whose return each member came to which in every interval, `(G - 1, M, 2)`."""
        returns, parents = self.returns[..., population], self.parents[..., population]
        return np.stack([np.take_along_axis(returns, parents, axis=1)[:-1], returns[1:]], axis=-1)

    def returns_of_best(self, population: int) -> np.ndarray:
        """Returns of the best member and its ancestors, `(G,)`."""
        line = self.ancestors(population) or self.best[population : population + 1]
        line = [line[0], *line][: len(self.env_steps)]  # nobody is replaced at the start
        return self.returns[np.arange(len(line)), line, population]

    def table(self) -> list[dict[str, Any]]:
        """The best of every population and what it had in the end, a row each."""
        rows = []
        for place, (seed, member) in enumerate(zip(self.populations, self.best, strict=True)):
            last = self.returns[-1, :, place]
            known = last[np.isfinite(last)]
            rows.append(
                {
                    "seed": seed,
                    "best": self.members[member],
                    "return": float(last[member]),
                    "mean of all": float(known.mean()) if len(known) else math.nan,
                    **dict(zip(self.axes, self.values[-1, member, place].tolist(), strict=True)),
                }
            )
        return rows

    def write(self, path: Path) -> None:
        """Writes it with a row for every member of every generation.

        Raises:
          WriteError: if it cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*_COLUMNS, *self.axes])
        for p, seed in enumerate(self.populations):
            for g, env_step in enumerate(self.env_steps):
                for m, name in enumerate(self.members):
                    parent = self.members[self.parents[g, m, p]]
                    known = (seed, g, env_step, name, parent, self.returns[g, m, p])
                    writer.writerow([*known, *self.values[g, m, p]])
        write_text(path, text.getvalue())


def has_lineage(directory: Path) -> bool:
    """Whether the sweep in a directory is one of population-based training that has begun."""
    return os.path.lexists(directory / LINEAGE_FILE)


def read_lineage(directory: Path) -> Lineage:
    """What was written in the directory of a sweep.

    Raises:
      ConfigError: if it is damaged, or has the start alone.
    """
    path = directory / LINEAGE_FILE
    with reading(path, csv.Error, KeyError, TypeError):
        header, *rows = csv.reader(io.StringIO(read_bytes(path).decode()))
        if tuple(header[: len(_COLUMNS)]) != _COLUMNS or not rows:
            raise ConfigError("its columns are not those of a lineage")
        populations = tuple(dict.fromkeys(int(row[0]) for row in rows))
        members = tuple(dict.fromkeys(row[3] for row in rows))
        count = len(rows) // (len(populations) * len(members))
        shape = (len(populations), count, len(members))
        names = np.array([row[:5] for row in rows]).reshape(*shape, 5)
        numbers = np.array([row[5:] for row in rows], float).reshape(*shape, -1)
        if (names[..., 3] != np.array(members)).any():
            raise ConfigError("members are missing")
        places = {name: place for place, name in enumerate(members)}
        parents = np.vectorize(places.__getitem__, otypes=[int])(names[..., 4])
        numbers = np.moveaxis(numbers, 0, 2)
        if count < 2:
            raise ConfigError(f"{path}: no generation has been trained yet")
        return Lineage(
            populations=populations,
            members=members,
            axes=tuple(header[len(_COLUMNS) :]),
            env_steps=names[0, :, 0, 2].astype(int),
            returns=numbers[..., 0],
            parents=np.moveaxis(parents, 0, 2),
            values=numbers[..., 1:],
        )

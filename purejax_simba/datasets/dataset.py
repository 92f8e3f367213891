"""What every format of datasets is read into, what is refused, and for which environment it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

import envs
from purejax_simba.config import ConfigError
from purejax_simba.runs.memory import GIB, host_bytes

# Of all numbers, at the same time: as read, in order, and as devices get them.
_COPIES = 3
# Actions may leave [-1, 1] by rounding.
_TOLERANCE = 1e-3


class Origin(NamedTuple):
    """Where a dataset comes from, as far as it says.

    Attributes:
      task: the id of its environment; empty if unknown.
      action_repeat: steps per action; None if unknown.
      episode_length: time limit in environment steps; None if unknown.
      random_return: mean return of random actions, the zero of normalised scores; None if unknown.
      expert_return: mean return that counts as 100; None if unknown.
      observations: what an observation is made of, see `describe`; empty if unknown.
    """

    task: str = ""
    action_repeat: int | None = None
    episode_length: int | None = None
    random_return: float | None = None
    expert_return: float | None = None
    observations: str = ""


@dataclass(frozen=True)
class Dataset:
    """N transitions in the order in which they were collected, episode after episode.

    Attributes:
      name: what the user calls it.
      observation, next_observation: `(N, O)` float32. After a termination the successor is of no
        account; where a format does not have it, it is the observation itself.
      action: `(N, A)` float32 in [-1, 1].
      reward: `(N,)` float32.
      terminated: `(N,)` bool.
      ended: `(N,)` bool, whether the episode ended with that step. Where a format has no successor
        of a last step and it is left out, the end of its episode is left out with it.
      origin: see there.
      action_range: what -1 and 1 were in the environment, `(A,)` each; None if the format does not
        say.
    """

    name: str
    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    ended: np.ndarray
    next_observation: np.ndarray
    origin: Origin = field(default_factory=Origin)
    action_range: tuple[np.ndarray, np.ndarray] | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be trained on: no transitions, or numbers that cannot be."""
        if not len(self.reward):
            raise ConfigError(f"{self.name} holds no transitions: record some more episodes")
        for name in ("observation", "action", "reward", "next_observation"):
            values = getattr(self, name).reshape(len(self.reward), -1)
            bad = np.flatnonzero(~np.isfinite(values).all(1))
            if bad.size:
                raise ConfigError(
                    f"{self.name}: {name} of transition {bad[0]} is not finite ({bad.size} such "
                    "transitions): remove them"
                )
        largest = float(np.abs(self.action).max())
        if largest > 1.0 + _TOLERANCE:
            raise ConfigError(
                f"{self.name}: actions reach {largest:g}: rescale them to [-1, 1], the range of "
                "all tasks here"
            )

    @property
    def size(self) -> int:
        """N."""
        return len(self.reward)

    def mean_return(self) -> float:
        """Of its episodes, which must be whole."""
        return float(self.reward.sum(dtype=np.float64) / self.ended.sum())


def check_room(name: str, numbers: int) -> None:
    """Refuses a dataset of so many numbers if the machine has no room to read it."""
    needed, available = _COPIES * 4 * numbers, host_bytes()
    if available is not None and needed > available:
        raise ConfigError(
            f"{name} takes {needed / GIB:.2f} GiB of memory to read and {available / GIB:.2f} GiB "
            "are free: give a smaller dataset"
        )


def as_numbers(
    name: str, key: str, values: np.ndarray, axes: int, rows: int | None = None
) -> np.ndarray:
    """Values as float32, one row per step; refuses another shape, and what is no number.

    Args:
      name, key: of the dataset and of the array, for the message.
      values: as read.
      axes: 2 for several numbers per step, 1 for one.
      rows: how many there must be; None for any number.
    """
    if axes == 1 and values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if not (np.issubdtype(values.dtype, np.number) or values.dtype == bool):
        raise ConfigError(f"{name}: {key} is of type {values.dtype}: numbers are needed")
    if values.ndim != axes:
        shape = "(steps,)" if axes == 1 else "(steps, numbers)"
        raise ConfigError(f"{name}: {key} has shape {values.shape}: {shape} is needed")
    if rows is not None and len(values) != rows:
        raise ConfigError(
            f"{name}: {key} has {len(values)} rows and observations need {rows}: give all arrays "
            "the same number"
        )
    return values.astype(np.float32)


def join(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Arrays by their names in `Dataset`, those of one part after those of another."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def describe(layout: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    """Names and shapes of the parts of an observation in order, as text: `goal 2, hand/tip 2x3`.

    The name of a single part says nothing about order and is left out.
    """
    sizes = ["x".join(str(size) for size in shape if size != 1) or "1" for _, shape in layout]
    if len(sizes) == 1:
        return sizes[0]
    return ", ".join(f"{name} {size}" for (name, _), size in zip(layout, sizes, strict=True))


def observations_of(environment: envs.Environment) -> str:
    """What an observation is made of."""
    return describe(environment.layout or [("", (environment.observation_size,))])


def check_spaces(dataset: Dataset, environment: envs.Environment, task: str) -> None:
    """Refuses a dataset whose numbers mean something else in the environment, if both say."""
    advice = "give the --task that it was recorded on"
    recorded, observed = dataset.origin.observations, observations_of(environment)
    if recorded and recorded != observed:
        if sorted(recorded.split(", ")) == sorted(observed.split(", ")):
            advice = "give --privileged-observations as it was recorded, or drop it"
        pairs = zip_longest(recorded.split(", "), observed.split(", "), fillvalue="nothing more")
        first = next(pair for pair in pairs if pair[0] != pair[1])
        raise ConfigError(
            f"{dataset.name} has other observations than {task}: {first[0]} where the environment "
            f"has {first[1]}: {advice}"
        )
    if dataset.action_range is None or environment.action_range is None:
        return
    for there, here in zip(dataset.action_range, environment.action_range, strict=True):
        (different,) = np.nonzero(~np.isclose(there, here, rtol=1e-5, atol=1e-6))
        if different.size:
            index = different[0]
            raise ConfigError(
                f"{dataset.name} has another range of actions than {task}: action {index} reaches "
                f"{there[index]:g} where the environment has {here[index]:g}: {advice}"
            )

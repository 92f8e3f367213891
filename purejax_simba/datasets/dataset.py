"""What every format of datasets is read into, and what is refused."""

from dataclasses import dataclass

import numpy as np

from purejax_simba.config import ConfigError
from purejax_simba.runs.memory import GIB, host_bytes

# Of all numbers, at the same time: as read, in order, and as devices get them.
_COPIES = 3
# Actions may leave [-1, 1] by rounding.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Origin:
    """Where a dataset comes from, as far as it says.

    Attributes:
      task: the id of its environment; empty if unknown.
      action_repeat: steps per action; None if unknown.
      episode_length: time limit in environment steps; None if unknown.
      random_return: mean return of random actions, the zero of normalised scores; None if unknown.
      expert_return: mean return that counts as 100; None if unknown.
      observations: what an observation is made of, see `spaces.describe`; empty if unknown.
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
    origin: Origin = Origin()
    action_range: tuple[np.ndarray, np.ndarray] | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be trained on.

        Raises:
          ConfigError: for an empty dataset, and for the first row of wrong numbers.
        """
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
    """Refuses a dataset of so many numbers if the machine has no room to read it.

    Raises:
      ConfigError: with the memory needed.
    """
    needed, available = _COPIES * 4 * numbers, host_bytes()
    if available is not None and needed > available:
        raise ConfigError(
            f"{name} takes {needed / GIB:.2f} GiB of memory to read and {available / GIB:.2f} GiB "
            "are free: give a smaller dataset"
        )


def as_matrix(name: str, key: str, values: np.ndarray, rows: int | None = None) -> np.ndarray:
    """Values as float32, one row per step.

    Args:
      name: of the dataset.
      key: of the array.
      values: as read.
      rows: how many there must be; None for any number.

    Raises:
      ConfigError: for another shape, or values that are no numbers.
    """
    return _as_numbers(name, key, values, "(steps, numbers)", values.ndim == 2, rows)


def as_vector(name: str, key: str, values: np.ndarray, rows: int | None = None) -> np.ndarray:
    """The same for one number per step."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    return _as_numbers(name, key, values, "(steps,)", values.ndim == 1, rows)


def _as_numbers(
    name: str, key: str, values: np.ndarray, shape: str, fits: bool, rows: int | None
) -> np.ndarray:
    if not (np.issubdtype(values.dtype, np.number) or values.dtype == bool):
        raise ConfigError(f"{name}: {key} is of type {values.dtype}: numbers are needed")
    if not fits:
        raise ConfigError(f"{name}: {key} has shape {values.shape}: {shape} is needed")
    if rows is not None and len(values) != rows:
        raise ConfigError(
            f"{name}: {key} has {len(values)} rows and observations need {rows}: give all arrays "
            "the same number"
        )
    return values.astype(np.float32)

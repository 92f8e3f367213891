"""Whether a dataset's observations and actions are those of the environment."""

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

import envs
from purejax_simba.config import ConfigError
from purejax_simba.datasets.dataset import Dataset


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
    """Makes sure that numbers mean the same in both, as far as both say.

    Raises:
      ConfigError: with what differs.
    """
    advice = "give the --task that it was recorded on"
    recorded, observed = dataset.origin.observations, observations_of(environment)
    if recorded and recorded != observed:
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

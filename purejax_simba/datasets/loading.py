"""Datasets of transitions: read by their names, and what they say about a configuration."""

import functools
from pathlib import Path

import envs
from purejax_simba import trust
from purejax_simba.config import Config, ConfigError
from purejax_simba.datasets import d4rl, minari_format
from purejax_simba.datasets.dataset import Dataset, Origin
from purejax_simba.names import fill, replace_values
from purejax_simba.waiting import count_of


@functools.lru_cache(maxsize=1)
def load(name: str) -> Dataset:
    """Reads `minari/<id>`, or a file in D4RL's layout.

    Raises:
      ConfigError: if there is no such dataset, or it cannot be trained on.
    """
    if name.startswith(minari_format.PREFIX):
        return minari_format.read(name)
    if name.endswith(d4rl.SUFFIXES):
        return d4rl.read(Path(name))
    raise ConfigError(
        f"unknown dataset {name!r}: give {minari_format.PREFIX}<id>, or a file in D4RL's layout "
        f"that ends in {' or '.join(d4rl.SUFFIXES)}"
    )


def fill_in(config: Config) -> Config:
    """The configuration with what its dataset says: environment, size, reference returns.

    What is given already stays. With another task than the dataset's own, only the size is filled
    in. Two reference returns that are equal are no scale and are left out.

    Raises:
      ConfigError: if the dataset cannot be read, has changed, or does not name its environment, or
        one whose module is not here, or not the action repeat where the suite has one of its own.
      envs.TaskError: for an unknown environment.
    """
    if not config.is_offline:
        return config
    offline = config.offline
    dataset = load(offline.dataset)
    origin = dataset.origin
    if offline.transitions not in (None, dataset.size):
        raise ConfigError(
            f"{dataset.name} has {count_of(dataset.size, 'transition')} and had "
            f"{offline.transitions:,}: restore it, or begin a new run"
        )
    if not config.task and not origin.task:
        raise ConfigError(f"{dataset.name} does not name its environment: give --task")
    if not config.task:
        trust.check({"task": origin.task}, dataset.name, {"host_python": config.host_python})
    elif not trust.is_same_task(config.task, origin.task):
        origin = Origin()
    usual = envs.spec(config.task or origin.task).action_repeat
    if usual != 1 and config.action_repeat is None and origin.action_repeat is None:
        raise ConfigError(
            f"{dataset.name} does not say for how many steps its actions were held: give "
            f"--action-repeat 1, or {usual} as the suite has it"
        )
    if origin.random_return == origin.expert_return:  # no scale to say where other returns are
        origin = origin._replace(random_return=None, expert_return=None)

    config = replace_values(
        config, {"task": config.task or origin.task, "offline.transitions": dataset.size}
    )
    return fill(
        config,
        {
            "action_repeat": origin.action_repeat,
            "episode_length": origin.episode_length,
            "offline.random_return": origin.random_return,
            "offline.expert_return": origin.expert_return,
        },
    )

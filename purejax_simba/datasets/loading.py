"""From the name of a dataset to its transitions, and to what they say about a configuration."""

import functools
from pathlib import Path

from purejax_simba.config import ConfigError
from purejax_simba.datasets import d4rl, minari_format
from purejax_simba.datasets.dataset import Dataset


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

"""D4RL's layout (arXiv 2004.07219): flat arrays over all steps in one HDF5 file.

`observations`, `actions`, `rewards`, `terminals` and `timeouts`; `next_observations` may be there
too. Without them the successor of a step is the next row, and a step that a time limit cut has none
and is left out, as is the last row of the file. D4RL's own MuJoCo datasets, told by their names,
are read so in any case, as in the published code of SimbaV2.
"""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from purejax_simba.config import ConfigError
from purejax_simba.datasets.dataset import Dataset, Origin, as_numbers, check_room
from purejax_simba.errors import require
from purejax_simba.files import check_parts, checked, reading, regular, replacing, writing

SUFFIXES = (".hdf5", ".h5")
_KEYS = ("observations", "actions", "rewards", "terminals", "timeouts")

# The same for all datasets of a robot; mean returns of random actions and of the expert are the
# reference scores of D4RL's `infos.py`.
_ROBOTS = {
    "halfcheetah": Origin("mujoco/HalfCheetah-v4", 1, 1000, -280.178953, 12135.0),
    "hopper": Origin("mujoco/Hopper-v4", 1, 1000, -20.272305, 3234.3),
    "walker2d": Origin("mujoco/Walker2d-v4", 1, 1000, 1.629008, 4592.3),
}
_NAME = re.compile(rf"({'|'.join(_ROBOTS)})-(random|medium|expert|full)(-replay|-expert)?(-v\d)?")


def origin_of(name: str) -> Origin:
    """What the name of one of D4RL's MuJoCo datasets says: `hopper-medium-replay-v2`."""
    match = _NAME.fullmatch(name.lower().replace("_", "-"))
    return _ROBOTS[match[1]] if match else Origin()


def read(path: Path) -> Dataset:
    """Reads a file."""
    h5py = require("h5py", "offline")
    name = str(path)
    # Whatever the library makes of what others wrote.
    advice = "give a HDF5 file in D4RL's layout"
    with reading(path, Exception, advice=advice), h5py.File(regular(path)) as file:
        missing = [key for key in _KEYS if not isinstance(file.get(key), h5py.Dataset)]
        if missing:
            raise ConfigError(
                f"{name} has no {' and no '.join(missing)}: D4RL's layout is "
                f"{', '.join(_KEYS)} and maybe next_observations"
            )
        said = {key: _plain(file.attrs[key]) for key in Origin._fields if key in file.attrs}
        check_parts(said)
        origin = checked(origin_of(path.stem)._asdict() | said, Origin)
        is_published = origin_of(path.stem) != Origin() and "task" not in said
        has_successors = "next_observations" in file and not is_published
        keys = [*_KEYS, *(["next_observations"] if has_successors else [])]
        check_room(name, sum(file[key].size for key in keys))
        arrays = {key: np.asarray(file[key]) for key in keys}
    return _assemble(name, arrays, origin)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _assemble(name: str, arrays: dict[str, np.ndarray], origin: Origin) -> Dataset:
    observation = as_numbers(name, "observations", arrays["observations"], 2)
    rows = len(observation)
    action = as_numbers(name, "actions", arrays["actions"], 2, rows)
    reward, terminals, timeouts = (
        as_numbers(name, key, arrays[key], 1, rows) for key in ("rewards", "terminals", "timeouts")
    )
    terminated = terminals > 0
    ended = terminated | (timeouts > 0)
    if "next_observations" in arrays:
        following = as_numbers(name, "next_observations", arrays["next_observations"], 2, rows)
        if following.shape != observation.shape:
            raise ConfigError(
                f"{name}: next_observations have {following.shape[1]} numbers and observations "
                f"{observation.shape[1]}: they must be of one length"
            )
        kept = np.ones(rows, bool)
    else:
        following = np.concatenate([observation[1:], observation[-1:]])
        following[terminated] = observation[terminated]
        kept = ~ended | terminated
        kept[-1:] = False
    return Dataset(
        name,
        observation=observation[kept],
        action=action[kept],
        reward=reward[kept],
        terminated=terminated[kept],
        ended=ended[kept],
        next_observation=following[kept],
        origin=origin,
    )


def write(path: Path, dataset: Dataset) -> None:
    """Writes a dataset, with `next_observations` and what is known of its origin."""
    h5py = require("h5py", "offline")
    if os.path.lexists(path):
        raise ConfigError(f"{path} exists already: give another --output, or remove it")
    said = {key: value for key, value in dataset.origin._asdict().items() if value is not None}
    writes = writing(path, "give another --output")
    with writes, replacing(path) as unfinished, h5py.File(unfinished, "w") as file:
        file["observations"] = dataset.observation
        file["actions"] = dataset.action
        file["rewards"] = dataset.reward
        file["terminals"] = dataset.terminated
        file["timeouts"] = dataset.ended & ~dataset.terminated
        file["next_observations"] = dataset.next_observation
        file.attrs.update(said)

"""Minari's datasets (minari.farama.org), local or, where there is a network, remote ones."""

import difflib
import importlib
import os
import socket
import textwrap
import urllib.parse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import envs
from envs.workers.program import Refused, action_range, entry, layout_of, name_of, parts_of
from purejax_simba.config import ConfigError
from purejax_simba.datasets.dataset import Dataset, Origin, as_numbers, check_room, describe, join
from purejax_simba.errors import require
from purejax_simba.files import check_output, checked, reading, writing

PREFIX = "minari/"
# Under this name the metadata of our own datasets say where they come from.
_METADATA = "purejax_simba"
_NETWORK_SECONDS = 3.0


def read(name: str) -> Dataset:
    """Reads `minari/<id>`; one that is not here is downloaded, if that can be."""
    minari = _require()
    source = _find(minari, name)
    # Whatever the library makes of what others wrote.
    with reading(Path(name), Exception, advice="record it, or download it, again"):
        return _read(name, source)


def _require() -> Any:
    require("h5py", "offline")
    return require("minari", "offline")


def _read(name: str, source: Any) -> Dataset:
    spaces = source.observation_space, source.action_space
    if not isinstance(spaces[1], gymnasium.spaces.Box):
        kind = type(spaces[1]).__name__
        raise ConfigError(f"{name} has actions of type {kind}: continuous ones, a Box, are needed")
    for path, space in parts_of(spaces[0]):
        if not isinstance(space, gymnasium.spaces.Box):
            kind = f"{name_of(path)} of type {type(space).__name__}".strip()
            raise ConfigError(
                f"{name} has observations {kind}: boxes, or dictionaries of them, only"
            )
    # Successors are stored apart until all is read.
    check_room(name, 2 * source.total_steps * sum(map(gymnasium.spaces.flatdim, spaces)))
    own_range = _range(spaces[1])
    episodes = [
        _transitions(name, episode, spaces[0], own_range) for episode in source.iterate_episodes()
    ]
    if not episodes:
        raise ConfigError(f"{name} holds no episodes: record some")
    origin, is_own = _origin(source)
    # Our own have what policies give, which are the same numbers for every environment.
    return Dataset(
        name, **join(episodes), origin=origin, action_range=None if is_own else own_range
    )


def _find(minari: Any, name: str) -> Any:
    own_id = name.removeprefix(PREFIX)
    _check_id(minari, name, own_id)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        local = list(minari.list_local_datasets())
        if own_id not in local and not _is_remote_reachable():
            raise ConfigError(f"unknown dataset {name!r}: {_nearest(own_id, local)}")
        try:
            if own_id not in local:
                minari.download_dataset(own_id)
            said = minari.list_local_datasets().get(own_id, {})
            if not {"observation_space", "action_space"} <= said.keys():
                # Minari would make the environment that it names, whatever that is.
                raise ValueError("it does not say what its observations and actions are")
            return minari.load_dataset(own_id)
        except Exception as error:
            reason = textwrap.shorten(str(error), 200)
            if own_id in local:
                raise ConfigError(f"{name}: Minari cannot read it: {reason}") from error
            raise ConfigError(
                f"unknown dataset {name!r} ({reason}): {_nearest(own_id, local)}"
            ) from error


def _nearest(own_id: str, local: list[str]) -> str:
    near = difflib.get_close_matches(own_id, local, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(PREFIX + other for other in near)}?"
    return (
        f"`minari list local` shows those that are here; where there is a network, "
        f"`minari download {own_id}` fetches it"
    )


def _check_id(minari: Any, name: str, own_id: str) -> None:
    try:
        minari.dataset.minari_dataset.parse_dataset_id(own_id)
    except (ValueError, TypeError):
        raise ConfigError(
            f"{name!r} is no id of Minari's: give {PREFIX}<name>-v0, or with names before it "
            f"{PREFIX}<name>/<name>-v0"
        ) from None


def _is_remote_reachable() -> bool:
    """Asked first, because the client tries for half a minute where there is no network."""
    try:
        endpoint = importlib.import_module("huggingface_hub.constants").ENDPOINT
        host = urllib.parse.urlparse(endpoint).hostname
        socket.create_connection((host, 443), _NETWORK_SECONDS).close()
    except (ImportError, OSError):
        return False
    return True


def _transitions(
    name: str, episode: Any, observations: Any, own_range: tuple[np.ndarray, np.ndarray]
) -> dict[str, np.ndarray]:
    """One episode's transitions; it has one observation more than steps."""
    reward = as_numbers(name, "rewards", np.asarray(episode.rewards), 1)
    steps = len(reward)
    seen = as_numbers(name, "observations", _flatten(observations, episode.observations), 2)
    action = as_numbers(name, "actions", _rows(episode.actions), 2, steps)
    if len(seen) != steps + 1:
        raise ConfigError(
            f"{name}: episode {episode.id} has {len(seen)} observations and {steps} steps: "
            f"{steps + 1} observations are needed"
        )
    terminated = as_numbers(name, "terminations", np.asarray(episode.terminations), 1, steps) > 0
    ended = np.zeros(steps, bool)
    ended[-1:] = True
    return {
        "observation": seen[:-1],
        "action": _rescale(action, *own_range),
        "reward": reward,
        "terminated": terminated,
        "ended": ended,
        "next_observation": seen[1:],
    }


def _flatten(space: Any, values: Any) -> np.ndarray:
    """Values of all steps of a space as rows, in the order in which environments flatten theirs."""
    return np.concatenate([_rows(entry(values, path)) for path, _ in parts_of(space)], axis=1)


def _rows(values: Any) -> np.ndarray:
    array = np.asarray(values)
    return array.reshape(len(array), -1)


def _range(space: Any) -> tuple[np.ndarray, np.ndarray]:
    """What -1 and 1 are for the actions of a space; themselves where it has no bounds."""
    try:
        return action_range(space.low, space.high, space.dtype)
    except Refused:
        ones = np.ones(gymnasium.spaces.flatdim(space))
        return -ones, ones


def _rescale(action: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """From the range of the environment to [-1, 1], the range of all tasks here."""
    center, half_width = (high + low) / 2, (high - low) / 2
    # The middle where there is nothing to choose.
    return ((action - center) / np.where(half_width > 0, half_width, 1.0)).astype(np.float32)


def _origin(source: Any) -> tuple[Origin, bool]:
    """Where it comes from, and whether it was recorded by us."""
    metadata = source.storage.metadata
    scores = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    is_own = _METADATA in metadata
    if is_own:
        origin = checked(metadata[_METADATA], Origin)
    else:
        spec = getattr(source, "_eval_env_spec", None) or source.env_spec
        origin = Origin(_task_of(spec), 1, spec.max_episode_steps) if spec else Origin()
        observations = describe(layout_of(parts_of(source.observation_space)))
        origin = origin._replace(observations=observations)
    if None not in scores:
        origin = origin._replace(random_return=scores[0], expert_return=scores[1])
    return checked(origin._asdict(), Origin), is_own


def _task_of(spec: Any) -> str:
    """The id of the task here; empty for an environment that was changed when it was made."""
    if set(spec.kwargs) - {"render_mode"} or spec.additional_wrappers:
        return ""
    if f"mujoco/{spec.id}" in envs.tasks("mujoco"):
        return f"mujoco/{spec.id}"
    package = str(spec.entry_point).partition(":")[0].partition(".")[0]
    return f"gymnasium/{spec.id}" if package == "gymnasium" else f"gymnasium/{package}:{spec.id}"


def check_new(name: str) -> str:
    """The id of a dataset to be written as `minari/<id>`; without a version it gets `-v0`.

    Refuses what exists, is no id, or cannot be written.
    """
    minari = _require()
    own_id = name.removeprefix(PREFIX)
    if not own_id.rpartition("-v")[2].isdecimal():
        own_id += "-v0"
    _check_id(minari, name, own_id)
    place = Path(os.environ.get("MINARI_DATASETS_PATH") or os.path.expanduser("~/.minari/datasets"))
    try:
        check_output(place / "any")
    except ConfigError as error:
        raise ConfigError(f"cannot write to {place}: set MINARI_DATASETS_PATH") from error
    if own_id in minari.list_local_datasets():
        raise ConfigError(f"{PREFIX}{own_id} exists already: give another --output, or a version")
    return own_id


def write(own_id: str, dataset: Dataset, description: str) -> None:
    """Writes a dataset, episode by episode, with what is known of its origin."""
    minari = _require()
    origin = dataset.origin
    scores = {"ref_min_score": origin.random_return, "ref_max_score": origin.expert_return}
    advice = "MINARI_DATASETS_PATH says where datasets go"
    with writing(PREFIX + own_id, advice), warnings.catch_warnings():
        # What it would like to know besides: an author, an address.
        warnings.simplefilter("ignore")
        created = minari.create_dataset_from_buffers(
            own_id,
            list(_episodes(dataset)),
            observation_space=_box(np.inf, dataset.observation.shape[1]),
            action_space=_box(1.0, dataset.action.shape[1]),
            description=description,
        )
        known = {key: value for key, value in scores.items() if value is not None}
        created.storage.update_metadata({_METADATA: origin._asdict(), **known})


def _episodes(dataset: Dataset) -> Iterator[Any]:
    from minari.data_collector import EpisodeBuffer

    ends = np.flatnonzero(dataset.ended) + 1
    for number, (first, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        part = slice(first, end)
        final = dataset.next_observation[end - 1 : end]
        truncated = np.zeros(end - first, bool)
        truncated[-1] = not dataset.terminated[end - 1]
        yield EpisodeBuffer(
            id=number,
            observations=np.concatenate([dataset.observation[part], final]),
            actions=dataset.action[part],
            rewards=dataset.reward[part],
            terminations=dataset.terminated[part],
            truncations=truncated,
        )


def _box(limit: float, size: int) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(-limit, limit, (size,), np.float32)

"""Parts of an agent by name: to begin with those of an earlier run, or to begin them anew."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from purejax_simba.config import Config, ConfigError, Part
from purejax_simba.runs import resuming
from purejax_simba.runs.checkpoint import named_leaves
from purejax_simba.runs.runs import Runs

# What belongs to each part, as fields of an agent's state; the optimiser comes last.
_FIELDS: dict[Part, tuple[tuple[str, ...], str]] = {
    "actor": (("actor", "target_actor", "exploration"), "actor_optimizer"),
    "critic": (("critic", "target_critic"), "critic_optimizer"),
    "temperature": (("log_temperature",), "temperature_optimizer"),
}
_NORMALIZERS = ("observation_moments", "reward_scale.moments", "reward_scale.largest")


def read(
    runs: Runs, configs: Sequence[Config], slots: Sequence[Sequence[int] | None] | None = None
) -> dict[str, np.ndarray]:
    """What `--start` names, of the newest checkpoint there, for `runs.replace`.

    A seed takes it from the run that has its place in the earlier experiment; where there are
    more seeds than runs, those are taken again from the first.

    Args:
      runs: not compiled or started yet.
      configs: of the runs; they all start alike.
      slots: of each, the places of its seeds among all that it has; default: it has no others.

    Raises:
      ConfigError: if there is no checkpoint, or what is in it does not fit.
    """
    start = configs[0].start
    if not start.run:
        return {}
    checkpoint = resuming.find(Path(start.run))
    prefixes = _prefixes(start.parts, start.optimizers)
    prefixes += tuple(f"state.{name}" for name in _NORMALIZERS) if start.normalizers else ()
    count = sum(checkpoint.notes["num_seeds"])
    rows = np.concatenate(
        [
            np.asarray(own or range(config.num_seeds)) % count
            for config, own in zip(configs, slots or [None] * len(configs), strict=True)
        ]
    )
    chosen: dict[str, np.ndarray] = {}
    for name, shape in _chosen(named_leaves(runs.snapshot_shapes()), prefixes).items():
        array = checkpoint.arrays.get(name)
        found = "nothing" if array is None else f"{array.dtype}{array.shape[1:]}"
        if array is None or (array.shape[1:], array.dtype) != (shape.shape[1:], shape.dtype):
            raise ConfigError(
                f"--start.run {start.run}: {name} is {found}, and {shape.dtype}{shape.shape[1:]} "
                "is needed: give the same agent and sizes, or fewer --start.parts"
            )
        chosen[name] = array[rows]
    return chosen


def begin_anew(runs: Runs, parts: Sequence[Part], interactions: int) -> None:
    """Gives all runs new networks and optimisers of these parts; the replay stays.

    Args:
      runs: started or restored.
      parts: which.
      interactions: taken so far, for other random numbers than at the start.
    """
    keys = jax.vmap(lambda key: jax.random.fold_in(key, interactions))(runs.inputs.keys)
    init = jax.jit(jax.vmap(runs.program.agent.init))
    fresh = named_leaves({"agent": init(keys, runs.inputs.hyperparameters)})
    fresh = {f"state.{name}": np.asarray(leaf) for name, leaf in fresh.items()}
    runs.replace(_chosen(fresh, _prefixes(parts, True)))


def _prefixes(parts: Sequence[Part], optimizers: bool) -> tuple[str, ...]:
    names: list[str] = []
    for part in parts:
        networks, optimizer = _FIELDS[part]
        names += [*networks, *([optimizer] if optimizers else [])]
    return tuple(f"state.agent.{name}" for name in names)


def _chosen(leaves: dict[str, Any], prefixes: tuple[str, ...]) -> dict[str, Any]:
    """Those at or below one of the names."""
    return {
        name: leaf
        for name, leaf in leaves.items()
        if any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
    }

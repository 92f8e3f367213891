"""Where runs start: anew, with parts of an earlier run's agent, or from a checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from purejax_simba.config import ConfigError, Part
from purejax_simba.program import Program
from purejax_simba.runs import processes, resuming
from purejax_simba.runs.checkpoint import Checkpoint, named_leaves
from purejax_simba.runs.jobs import Job
from purejax_simba.runs.placement import Placement
from purejax_simba.runs.runs import Runs
from purejax_simba.runs.setup import Setup
from purejax_simba.runs.snapshot import snapshot_of, snapshot_shapes
from purejax_simba.waiting import still

# What belongs to each part, as fields of an agent's state; the optimiser comes last.
_FIELDS: dict[Part, tuple[tuple[str, ...], str]] = {
    "actor": (("actor", "target_actor", "exploration"), "actor_optimizer"),
    "critic": (("critic", "target_critic"), "critic_optimizer"),
    "temperature": (("log_temperature",), "temperature_optimizer"),
}
_NORMALIZERS = ("observation_moments", "reward_scale.moments", "reward_scale.largest")


class Start(NamedTuple):
    """From where jobs are trained.

    Attributes:
      metrics_bytes: what each job keeps of its `metrics.csv`; None for a new one.
      arrays: what the state of all runs begins with, by name; see `from_earlier_run`.
      checkpoint: where they go on; None: before their first interaction.
      reset: parts of the agent that begin anew then.
    """

    metrics_bytes: Sequence[int | None]
    arrays: Mapping[str, np.ndarray] = {}
    checkpoint: Checkpoint | None = None
    reset: Sequence[Part] = ()

    @classmethod
    def at(cls, checkpoint: Checkpoint, reset: Sequence[Part] = ()) -> "Start":
        """Where a checkpoint was taken."""
        return cls(checkpoint.notes["metrics_bytes"], checkpoint=checkpoint, reset=reset)

    @property
    def interactions(self) -> int:
        """Taken before."""
        return self.checkpoint.notes["interactions"] if self.checkpoint else 0

    def begin(self, setup: Setup, say: Callable[[str], None]) -> Runs:
        """Puts the runs there.

        Raises:
          ConfigError: if the checkpoint is of other runs.
        """
        if self.checkpoint is not None:
            return self._go_on(setup, self.checkpoint, say)
        runs = Runs(setup.compiler, setup.placement)
        runs.replace(self.arrays)
        return runs

    @still("going on from the checkpoint", processes.say)
    def _go_on(self, setup: Setup, checkpoint: Checkpoint, say: Callable[[str], None]) -> Runs:
        for message in checkpoint.damaged:
            say(message)
        shapes = snapshot_shapes(setup.compiler.program, setup.placement.inputs)
        snapshot = snapshot_of(checkpoint, shapes)
        runs = Runs(setup.compiler, setup.placement, snapshot)
        env_step = self.interactions * setup.config.steps_per_interaction
        line = f"{env_step:>9,} {setup.config.step_name}: resumed"
        # Environments in worker processes cannot be saved; offline there are none under way.
        elsewhere = setup.compiler.program.environment.elsewhere and not setup.config.is_offline
        if elsewhere or not checkpoint.notes["replay"]:
            runs.begin_episodes()
            line += ", with new episodes"
        if self.reset:
            _begin_anew(runs, self.reset, self.interactions)
            line += f", with a new {' and '.join(self.reset)}"
        say(line)
        return runs


def from_earlier_run(
    program: Program, placement: Placement, jobs: Sequence[Job]
) -> dict[str, np.ndarray]:
    """What `--start` names, of the newest checkpoint there, for `Runs.replace`.

    A seed takes it from the run that has its place in the earlier experiment; where there are
    more seeds than runs, those are taken again from the first.

    Args:
      program: of the runs.
      placement: of the runs.
      jobs: whose runs they are; they all start alike.

    Raises:
      ConfigError: if there is no checkpoint, or what is in it does not fit.
    """
    start = program.config.start
    if not start.run:
        return {}
    checkpoint = resuming.find(Path(start.run))
    prefixes = _prefixes(start.parts, start.optimizers)
    prefixes += tuple(f"state.{name}" for name in _NORMALIZERS) if start.normalizers else ()
    places = np.concatenate([job.places for job in jobs])
    rows = places % sum(checkpoint.notes["num_seeds"])
    shapes = named_leaves(snapshot_shapes(program, placement.inputs))
    chosen: dict[str, np.ndarray] = {}
    for name, shape in _chosen(shapes, prefixes).items():
        array = checkpoint.arrays.get(name)
        found = "nothing" if array is None else f"{array.dtype}{array.shape[1:]}"
        if array is None or (array.shape[1:], array.dtype) != (shape.shape[1:], shape.dtype):
            raise ConfigError(
                f"--start.run {start.run}: {name} is {found}, and {shape.dtype}{shape.shape[1:]} "
                "is needed: give the same agent and sizes, or fewer --start.parts"
            )
        chosen[name] = array[rows]
    return chosen


def _begin_anew(runs: Runs, parts: Sequence[Part], interactions: int) -> None:
    """Gives all runs new networks and optimisers of these parts; the replay stays.

    The number of interactions is for other random numbers than at the start.
    """
    inputs = runs.placement.inputs
    keys = jax.vmap(lambda key: jax.random.fold_in(key, interactions))(inputs.keys)
    init = jax.jit(jax.vmap(runs.compiler.program.agent.init))
    fresh = named_leaves({"agent": init(keys, inputs.hyperparameters)})
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

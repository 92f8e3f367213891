"""Where runs start: anew, with parts of an earlier run's agent, or from a checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from purejax_simba.agents.agent import AgentState, HyperParameters
from purejax_simba.config import Config, ConfigError, Part, StartConfig
from purejax_simba.files import read_json
from purejax_simba.names import dotted, flatten, settings_of
from purejax_simba.program import Program
from purejax_simba.run_state import Progress
from purejax_simba.runs import processes
from purejax_simba.runs.checkpoint import (
    STATE_DIRECTORY,
    Checkpoint,
    named_leaves,
    read_newest,
    tree_of,
)
from purejax_simba.runs.compiling import Compiler
from purejax_simba.runs.devices import Placement
from purejax_simba.runs.jobs import Job
from purejax_simba.runs.result_files import CONFIG_FILE, SCHEDULE_FILE, first_of_schedule
from purejax_simba.runs.runs import Runs, Snapshot, keys_as_words, snapshot_shapes
from purejax_simba.settings import flag
from purejax_simba.waiting import count_of, still

# What belongs to each part, as fields of an agent's state; the optimiser comes last.
_FIELDS: dict[Part, tuple[tuple[str, ...], str]] = {
    "actor": (("actor", "target_actor", "exploration"), "actor_optimizer"),
    "critic": (("critic", "target_critic"), "critic_optimizer"),
    "temperature": (("log_temperature",), "temperature_optimizer"),
}
# What the inputs of networks and the values of critics are measured in.
_UNITS: dict[str, tuple[Part, ...]] = {
    "normalize_observations": ("actor", "critic"),
    "normalize_rewards": ("critic",),
    "bound_returns": ("critic",),
    "agent.value_range": ("critic",),
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
    def at(cls, checkpoint: Checkpoint, jobs: Sequence[Job], reset: Sequence[Part] = ()) -> "Start":
        """Where a checkpoint was taken, which is refused if it is not of these jobs."""
        seeds = [job.config.num_seeds for job in jobs]
        if checkpoint.notes["num_seeds"] != seeds:
            raise ConfigError(
                f"the checkpoint is of {checkpoint.notes['num_seeds']} seeds and {seeds} are "
                "needed: give the same configuration"
            )
        return cls(checkpoint.notes["metrics_bytes"], checkpoint=checkpoint, reset=reset)

    @property
    def interactions(self) -> int:
        """Taken before."""
        return self.checkpoint.notes["interactions"] if self.checkpoint else 0

    def begin(self, compiler: Compiler, placement: Placement, say: Callable[[str], None]) -> Runs:
        """Puts the runs there."""
        if self.checkpoint is None:
            runs = Runs(compiler, placement)
            runs.replace(self.arrays)
            return runs
        for message in self.checkpoint.damaged:
            say(message)
        program = compiler.program
        with still("going on from the checkpoint", processes.say):
            snapshot = snapshot_of(self.checkpoint, snapshot_shapes(program, placement.count))
            runs = Runs(compiler, placement, snapshot)
            env_step = self.interactions * program.config.steps_per_interaction
            line = f"{env_step:>9,} {program.config.step_name}: resumed"
            # Environments in worker processes cannot be saved; offline there are none under way.
            elsewhere = program.environment.elsewhere and not program.config.is_offline
            if elsewhere or not self.checkpoint.notes["replay"]:
                runs.begin_episodes()
                line += ", with new episodes"
            if self.reset:
                _begin_anew(runs, self.reset, self.interactions)
                line += f", with a new {' and '.join(self.reset)}"
        say(line)
        return runs


def snapshot_of(checkpoint: Checkpoint, shapes: Snapshot) -> Snapshot:
    """What a checkpoint holds, for runs whose replay may be longer; refuses one of other runs."""
    has_replay = checkpoint.notes["replay"]

    def fit(name: str, array: np.ndarray | None, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        is_replay = name.startswith("state.replay.")
        if is_replay and array is None and not has_replay:
            return np.zeros(shape.shape, shape.dtype)
        if is_replay and array is not None and 1 < array.ndim == len(shape.shape):
            # With more env steps the ring is longer; until it is full, its end is what is free.
            missing = [(0, n - m) for n, m in zip(shape.shape, array.shape, strict=True)]
            extra = missing.pop(1)[1]
            if extra > 0 and not any(m for _, m in missing) and array.dtype == shape.dtype:
                widths = [(0, 0)] * array.ndim
                widths[1] = (0, extra)
                return np.pad(array, widths)
        found = "nothing" if array is None else f"{array.dtype}{array.shape}"
        raise ConfigError(
            f"{name} of the checkpoint is {found}, and {shape.dtype}{shape.shape} is needed: "
            "it was made with another version or other physics"
        )

    snapshot: Snapshot = tree_of(checkpoint.arrays, shapes, fit)
    if has_replay:
        return _with_more_places(checkpoint, snapshot)
    start = np.int32(checkpoint.notes["interactions"])
    counters = snapshot.counters.replace(replay_start=start)
    return snapshot._replace(counters=counters)


def _with_more_places(checkpoint: Checkpoint, snapshot: Snapshot) -> Snapshot:
    replay, before = snapshot.state.replay, checkpoint.arrays.get("state.replay.steps_to_final")
    if before is None or before.shape == replay.steps_to_final.shape:
        return snapshot
    replay = jax.tree.map(np.asarray, replay.with_more_places(before.shape[1]))
    return snapshot._replace(state=snapshot.state.replace(replay=replay))


def from_earlier_run(
    program: Program, placement: Placement, jobs: Sequence[Job], configs: Sequence[Config]
) -> dict[str, np.ndarray]:
    """What `--start` names, of the newest checkpoint there, for `Runs.replace`.

    A seed takes it from the run that has its place in the earlier experiment, or from another where
    that one diverged; where there are more seeds than runs, those are taken again from the first.

    Args:
      program: of one run.
      placement: of all.
      jobs: that all start alike.
      configs: with which they begin to train.

    Raises:
      ConfigError: if there is no checkpoint, all of it has diverged, or it does not fit.
    """
    start = program.config.start
    if not start.run:
        return {}
    checkpoint = read_newest(Path(start.run) / STATE_DIRECTORY)
    check_lasting(start, configs)
    if start.parts:
        is_usual = start.parts == StartConfig.parts
        check_parts(program, start.parts, "--start.parts", needs_all=not is_usual)
    prefixes = _prefixes(start.parts, start.optimizers)
    prefixes += tuple(f"state.{name}" for name in _NORMALIZERS) if start.normalizers else ()
    places = np.concatenate([job.places for job in jobs])
    is_sound = np.broadcast_to(
        checkpoint.arrays.get("state.progress.diverged_at", -1) < np.int32(0),
        sum(checkpoint.notes["num_seeds"]),
    )
    sound = np.flatnonzero(is_sound)
    if not len(sound):
        raise ConfigError(f"--start.run {start.run}: all of its seeds diverged: give another run")
    if len(sound) < len(is_sound):
        said = count_of(len(is_sound) - len(sound), "seed")
        processes.say(f"{said} of {start.run} diverged: seeds begin with what the others learned")
    own = places % len(is_sound)
    rows = np.where(is_sound[own], own, sound[own % len(sound)])
    shapes = named_leaves(snapshot_shapes(program, placement.count))
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


def check_lasting(start: StartConfig, configs: Sequence[Config]) -> None:
    """Refuses networks that were made for other numbers than these, as far as is known.

    With them the same parameters are another function.

    Raises:
      ConfigError: for the first that differs.
    """
    saved = dotted(read_json(Path(start.run) / CONFIG_FILE, dict[str, Any], {}))
    saved |= first_of_schedule(Path(start.run) / SCHEDULE_FILE)
    for config in configs if {"actor", "critic"} & set(start.parts) else ():
        own = flatten(config)
        for name, setting in settings_of(config).items():
            lasts = setting.is_lasting and name.startswith("agent.")
            of_parts = _UNITS.get(name, ("actor", "critic") if lasts else ())
            if not set(of_parts) & set(start.parts) or name not in saved:
                continue
            if saved[name] != own[name]:
                made, wanted = ("its default" if v is None else v for v in (saved[name], own[name]))
                raise ConfigError(
                    f"--start.run {start.run}: its networks were made with {flag(name)} {made}, "
                    f"and {wanted} is asked for: give the same, or --start.parts without them"
                )


def check_parts(
    program: Program, parts: Sequence[Part], option: str, needs_all: bool = True
) -> None:
    """Refuses parts of which an agent has nothing, or all of them where not `needs_all`.

    Raises:
      ConfigError: naming `option`.
    """
    state, name = program.state_shapes.agent, program.config.agent.name
    missing = [part for part in parts if not any(hasattr(state, f) for f in _FIELDS[part][0])]
    if missing and (needs_all or len(missing) == len(parts)):
        fields = " or ".join(_FIELDS[missing[0]][0])
        raise ConfigError(
            f"{option} {missing[0]}: the state of {name} has no {fields}: give parts that it has"
        )


def _begin_anew(runs: Runs, parts: Sequence[Part], interactions: int) -> None:
    """Gives all runs new networks and optimisers of these parts; the replay stays.

    The number of interactions is for other random numbers than at the start.
    """
    inputs = runs.placement.inputs
    keys = jax.vmap(lambda key: jax.random.fold_in(key, interactions))(inputs.keys)

    @jax.jit
    @jax.vmap
    def begin(
        progress: Progress, agent: AgentState, key: jax.Array, numbers: HyperParameters
    ) -> AgentState:
        fresh = runs.compiler.program.agent.init(key, numbers)
        return progress.freeze(agent, keys_as_words(fresh))

    before = runs.get(lambda state: (state.progress, keys_as_words(state.agent)))
    fresh = named_leaves({"agent": begin(*before, keys, inputs.hyperparameters)})
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

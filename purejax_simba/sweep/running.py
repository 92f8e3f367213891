"""Running a sweep: one program after the other, each taken up where it was left."""

import itertools
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

import envs
from purejax_simba import loggers
from purejax_simba.checkpoint import STATE_DIRECTORY
from purejax_simba.config import ConfigError
from purejax_simba.experiment import AllDivergedError, Origin, run_together
from purejax_simba.logging import CONFIG_FILE, ResultsError, replace_text
from purejax_simba.programs import make_program
from purejax_simba.runs import Compiler
from purejax_simba.sweep.definition import DEFINITION_FILE, Point, Sweep, check_directory
from purejax_simba.sweep.halving import Halving, rungs_of
from purejax_simba.sweep.plan import (
    Group,
    Member,
    choose_shard,
    count_of,
    make_groups,
    make_members,
    parts_of,
)
from purejax_simba.sweep.scores import Score, score_of
from purejax_simba.sweep.study import STUDY_FILE, Sample, Storage, StorageError, Study

_FINISHED = "finished"


class SweepError(Exception):
    """Some groups could not be trained; the message is one line."""


def run_sweep(sweep: Sweep, shard: str | None = None) -> None:
    """Trains what is left to train of a sweep.

    SIGINT and SIGTERM end it as they end `experiment.run`; the same call goes on.

    Args:
      sweep: what to train.
      shard: `i/n` for the i-th of every n groups.

    Raises:
      ConfigError, envs.TaskError: before anything is compiled, for what cannot work.
      SweepError: after everything else was trained, for groups that failed.
      SystemExit, CheckpointError, ResultsError: as `experiment.run`.
    """
    loggers.check(sweep.config)
    groups = make_groups(sweep)
    chosen = choose_shard(groups, shard)
    storage = Storage(sweep.storage, is_shared=True) if sweep.storage is not None else None
    _begin(sweep, [member for each in groups for member in each.members])
    if sweep.is_adaptive:
        file = f"sqlite:///{sweep.directory.absolute() / STUDY_FILE}"
        storage = storage or Storage(file, is_shared=False)
    failures = []
    for each in chosen:
        name = f"group {each.number} of {len(groups)}"
        try:
            if storage is not None and each.fixed is not None:
                study = Study(sweep, each.fixed, each.directory, storage)
                _run_study(each, name, sweep, study, len(groups) > 1)
            elif (each.directory / _FINISHED).exists():
                _say(f"{name} was finished before")
            else:
                _say(f"{name}: {count_of(len(each.members), 'configuration')}")
                compiler = Compiler(make_program(each.members[0].config))
                _run_group(each, sweep.halving, compiler)
        except (ConfigError, envs.HostEnvironmentError, StorageError) as error:
            _say(f"{name} failed: {error}")
            failures.append(f"{name} ({error})")
        jax.clear_caches()  # the next group has another program
    if failures:
        raise SweepError(f"{'; '.join(failures)}: the same command tries again")


def _begin(sweep: Sweep, members: Sequence[Member]) -> None:
    if check_directory(sweep):
        return
    for member in members:
        if (member.directory / CONFIG_FILE).exists():
            raise ConfigError(
                f"{member.directory} already holds a run: give another --output or --experiment, "
                "or remove it"
            )
    try:
        sweep.directory.mkdir(parents=True, exist_ok=True)
        text = json.dumps(sweep.description(), indent=2)
        replace_text(sweep.directory / DEFINITION_FILE, text + "\n")
    except OSError as error:
        raise ConfigError(
            f"cannot write to {sweep.directory} ({error.strerror}): give another --output"
        ) from error


def _run_study(
    group: Group, name: str, sweep: Sweep, study: Study, is_one_of_several: bool
) -> None:
    """Trains batch after batch of what the study asks for, until it has enough samples."""
    prefix = f"{group.number}-" if is_one_of_several else ""
    compiler = None
    for number in itertools.count():
        samples = study.batch(number)
        if not samples:
            break
        batch = _batch(samples, prefix, study.batch_directory(number), group, sweep)
        if not (batch.directory / _FINISHED).exists():
            _say(
                f"{name}, batch {number}: {count_of(len(samples), 'configuration')}, "
                f"{study.count()} of {sweep.samples} samples"
            )
            compiler = compiler or Compiler(make_program(batch.members[0].config))
            _run_group(batch, sweep.halving, compiler)
        for sample, member in zip(samples, batch.members, strict=True):
            study.tell(sample, score_of(member.directory), member.config.total_env_steps)
    if compiler is None:
        _say(f"{name} was finished before")


def _batch(
    samples: Sequence[Sample], prefix: str, directory: Path, group: Group, sweep: Sweep
) -> Group:
    trials = []
    for number, values in samples:
        point = Point(prefix + sweep.name_of(number, sweep.samples), (group.fixed or {}) | values)
        trials.append(sweep.trial(point, sweep.tasks[0]))
    return Group(group.number, make_members(trials), directory)


def _run_group(group: Group, halving: Halving | None, compiler: Compiler) -> None:
    try:
        for number, members in enumerate(parts_of(group)):
            part = group.directory / f"part-{number}"
            if not (part / _FINISHED).exists():
                _run_part(members, part, halving, compiler)
                _mark_finished(part)
                _remove_checkpoints(part)
        _remove_checkpoints(group.directory)
        _mark_finished(group.directory)
    except OSError as error:
        raise ResultsError(f"cannot write to {group.directory}: {error}") from error


def _run_part(
    members: Sequence[Member], directory: Path, halving: Halving | None, compiler: Compiler
) -> None:
    """Trains members together; at every rung the best go on from where they are."""
    rungs = rungs_of(halving, members[0].config, len(members))
    origin = None
    for number, rung in enumerate([*rungs, None]):
        stage = directory / f"stage-{number}"
        if not (stage / _FINISHED).exists():
            configs = [member.config for member in members]
            try:
                run_together(compiler, configs, stage, rung, origin)
            except AllDivergedError as error:
                _say(str(error))
                break
            _mark_finished(stage)
        if origin is not None:
            _remove_checkpoints(origin.directory)
        if rung is not None and halving is not None:
            best = _best(members, rung, halving.keep(len(members)))
            _say(f"{rung:,} env steps: {len(best)} of {len(members)} configurations go on")
            origin = Origin(stage, best)
            members = [members[index] for index in best]


def _best(members: Sequence[Member], rung: int, keep: int) -> list[int]:
    scores: dict[int, Score] = {}
    for index, member in enumerate(members):
        score = score_of(member.directory, rung)
        if score is not None:
            scores[index] = score
    return sorted(sorted(scores, key=lambda index: scores[index].order())[:keep])


def _mark_finished(directory: Path) -> None:
    replace_text(directory / _FINISHED, "")


def _remove_checkpoints(directory: Path) -> None:
    for checkpoints in list(directory.rglob(STATE_DIRECTORY.parts[0])):
        shutil.rmtree(checkpoints, ignore_errors=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

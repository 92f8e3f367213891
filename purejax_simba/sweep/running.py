"""Running a sweep: one program after the other, each taken up where it was left."""

import functools
import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import jax

import envs
from purejax_simba import loggers
from purejax_simba.config import ConfigError
from purejax_simba.errors import FailedError
from purejax_simba.runs import processes
from purejax_simba.runs.checkpoint import STATE_DIRECTORY
from purejax_simba.runs.compiling import Compiler, make_program
from purejax_simba.runs.devices import make_mesh
from purejax_simba.runs.experiment import Survivors, run_together
from purejax_simba.runs.jobs import Job
from purejax_simba.runs.result_files import CONFIG_FILE, ResultsError, replace_text
from purejax_simba.runs.run_lock import RunLock
from purejax_simba.runs.session import AllDivergedError
from purejax_simba.sweep.definition import DEFINITION_FILE, Point, Sweep, check_directory
from purejax_simba.sweep.halving import Halving, rungs_of
from purejax_simba.sweep.plan import (
    Group,
    Member,
    Share,
    choose_shard,
    count_of,
    make_groups,
    make_members,
    parts_of,
)
from purejax_simba.sweep.scores import Score, score_of
from purejax_simba.sweep.study import STUDY_FILE, Sample, Storage, Study, batch_directory

_FINISHED = "finished"
_say = processes.say


class SweepError(FailedError):
    """Some groups could not be trained; the message is one line."""


def run_sweep(sweep: Sweep, shard: str | None = None) -> None:
    """Trains what is left to train of a sweep.

    SIGINT and SIGTERM end it as they end `experiment.train`; the same call goes on.

    Args:
      sweep: what to train.
      shard: `i/n` for the i-th of every n groups.

    Raises:
      ConfigError, envs.TaskError: before anything is compiled, for what cannot work.
      SweepError: after everything else was trained, for groups that failed.
      SystemExit, CheckpointError, ResultsError: as `experiment.train`.
    """
    loggers.check(sweep.config)
    processes.check_agreement(sweep.description() | {"shard": shard, "samples": sweep.samples})
    groups = make_groups(sweep)
    make_mesh(1, sweep.config.devices_per_run)  # which refuses what no group could have
    chosen = choose_shard(groups, shard)
    storage = processes.first_does(lambda: begin_sweep(sweep, groups))
    failures = []
    for each in chosen:
        name = f"group {each.number} of {len(groups)}"
        # A second process with the same groups ends here, before it overtakes the first.
        with RunLock(each.directory):
            try:
                if each.fixed is not None:
                    _run_study(each, name, sweep, storage, len(groups) > 1)
                elif _is_finished(each.directory):
                    _say(f"{name} was finished before")
                else:
                    _say(f"{name}: {count_of(len(each.members), 'configuration')}")
                    compiler = Compiler(make_program(each.members[0].config))
                    _run_group(each, sweep.halving, compiler)
            except (ConfigError, envs.HostEnvironmentError) as error:
                if isinstance(error, envs.HostEnvironmentError) and jax.process_count() > 1:
                    raise  # the other processes do not know of it
                _say(f"{name} failed: {error}")
                failures.append(f"{name} ({error})")
        jax.clear_caches()  # the next group has another program
    if failures:
        raise SweepError(f"{'; '.join(failures)}: the same command tries again")


def begin_sweep(sweep: Sweep, groups: Sequence[Group]) -> Storage | None:
    """Makes the directory of a sweep, unless it was begun before; returns where its studies are.

    Raises:
      ConfigError: if the directory holds something else, or the storage cannot be used.
    """
    storage = Storage(sweep.storage, is_shared=True) if sweep.storage is not None else None
    if not check_directory(sweep):
        _make_directory(sweep, groups)
    if sweep.is_adaptive and storage is None:
        url = f"sqlite:///{sweep.directory.absolute() / STUDY_FILE}"
        storage = Storage(url, is_shared=False)
    return storage


def _make_directory(sweep: Sweep, groups: Sequence[Group]) -> None:
    for member in itertools.chain.from_iterable(group.members for group in groups):
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
    group: Group, name: str, sweep: Sweep, storage: Storage | None, is_one_of_several: bool
) -> None:
    """Trains batch after batch of what the study asks for, until it has enough samples."""
    prefix = f"{group.number}-" if is_one_of_several else ""
    # Only the first process has the storage, and the study.
    study = Study(sweep, group.fixed or {}, group.directory, storage) if storage else None
    compiler = None
    for number in itertools.count():
        asked = processes.first_says(functools.partial(_ask, study, number))
        if not asked:
            break
        samples = [Sample(*sample) for sample in asked]
        directory = batch_directory(group.directory, number)
        batch = _batch(samples, prefix, directory, group, sweep)
        if not _is_finished(directory):
            _say(
                f"{name}, batch {number}: {count_of(len(samples), 'configuration')}, "
                f"{samples[-1].number + 1} of {sweep.samples} samples"
            )
            compiler = compiler or Compiler(make_program(batch.members[0].config))
            _run_group(batch, sweep.halving, compiler)
        processes.first_does(functools.partial(_tell, study, samples, batch.members))
    if compiler is None:
        _say(f"{name} was finished before")


def _ask(study: Study | None, number: int) -> list[Sample]:
    return study.batch(number) if study else []


def _tell(study: Study | None, samples: Sequence[Sample], members: Sequence[Member]) -> None:
    for sample, member in zip(samples, members, strict=True):
        if study:
            study.tell(sample, score_of(member.directory), member.config.total_env_steps)


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
        parts = parts_of(group)
        if not all(share.is_whole for part in parts for share in part):
            _check_shares(group.members[0], halving)
        for number, shares in enumerate(parts):
            part = group.directory / f"part-{number}"
            if not _is_finished(part):
                _run_part(shares, part, halving, compiler)
                _mark_finished(part)
                _remove_checkpoints(part)
        _remove_checkpoints(group.directory)
        _mark_finished(group.directory)
    except OSError as error:
        raise ResultsError(f"cannot write to {group.directory}: {error}") from error


def _check_shares(member: Member, halving: Halving | None) -> None:
    """Refuses what needs all seeds of a configuration at the same time."""
    if halving is not None:
        raise ConfigError(
            f"--halving needs all {member.config.num_seeds} seeds of a configuration at the same "
            "time, and they do not fit: give fewer --num-seeds or a smaller --replay.capacity"
        )


def _run_part(
    shares: Sequence[Share], directory: Path, halving: Halving | None, compiler: Compiler
) -> None:
    """Trains shares together; at every rung the best go on from where they are."""
    rungs = rungs_of(halving, shares[0].config, len(shares))
    survivors = None
    for number, rung in enumerate([*rungs, None]):
        stage = directory / f"stage-{number}"
        if not _is_finished(stage):
            jobs = [
                Job(share.config, share.member.directory, share.member.config) for share in shares
            ]
            try:
                run_together(compiler, jobs, stage, rung, survivors)
            except AllDivergedError as error:
                _say(str(error))
                break
            _mark_finished(stage)
        if survivors is not None:
            _remove_checkpoints(survivors.directory)
        if rung is not None and halving is not None:
            keep = halving.keep(len(shares))
            best = processes.first_says(functools.partial(_best, shares, rung, keep))
            _say(f"{rung:,} env steps: {len(best)} of {len(shares)} configurations go on")
            survivors = Survivors(stage, best)
            shares = [shares[index] for index in best]


def _best(shares: Sequence[Share], rung: int, keep: int) -> list[int]:
    scores: dict[int, Score] = {}
    for index, share in enumerate(shares):
        score = score_of(share.member.directory, rung)
        if score is not None:
            scores[index] = score
    return sorted(sorted(scores, key=lambda index: scores[index].order())[:keep])


def _is_finished(directory: Path) -> bool:
    return processes.first_says((directory / _FINISHED).exists)


def _mark_finished(directory: Path) -> None:
    if processes.is_first():
        directory.mkdir(parents=True, exist_ok=True)
        replace_text(directory / _FINISHED, "")


def _remove_checkpoints(directory: Path) -> None:
    if processes.is_first():
        for checkpoints in list(directory.rglob(STATE_DIRECTORY.parts[0])):
            shutil.rmtree(checkpoints, ignore_errors=True)

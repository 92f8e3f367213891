"""Running a sweep: one program after the other, each taken up where it was left."""

import functools
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

import envs
from envs.cores import count_cores
from purejax_simba import loggers
from purejax_simba.config import ConfigError
from purejax_simba.errors import FailedError, WriteError
from purejax_simba.files import check_output, write_json, write_text, writing
from purejax_simba.runs import processes
from purejax_simba.runs.checkpoint import STATE_DIRECTORY, has_checkpoint
from purejax_simba.runs.compiling import Compiler, make_program
from purejax_simba.runs.devices import make_mesh, use_all_cores, use_compilation_cache
from purejax_simba.runs.experiment import Survivors, run_together
from purejax_simba.runs.jobs import Job
from purejax_simba.runs.result_files import check_free, check_links, run_directory
from purejax_simba.runs.run_lock import STALE_SECONDS, RunLock
from purejax_simba.runs.schedule import Schedule
from purejax_simba.runs.session import AllDivergedError, first_configs
from purejax_simba.runs.starting import check_lasting
from purejax_simba.sweep.axes import Axis
from purejax_simba.sweep.definition import (
    DEFINITION_FILE,
    Sweep,
    Trial,
    as_written,
    check_same,
    read_description,
)
from purejax_simba.sweep.evolving import Evolution
from purejax_simba.sweep.grouping import Group, make_groups, parts_of, resolved
from purejax_simba.sweep.halving import rungs_of
from purejax_simba.sweep.results import score_of
from purejax_simba.sweep.study import Sample, Study, batch_directory, open_storage
from purejax_simba.waiting import count_of

_FINISHED = "finished"
# What a machine that is gone was training is free after so long at most, twice over.
_PATIENCE = 2.0 * STALE_SECONDS
_say = processes.say


class SweepError(FailedError):
    """Some groups could not be trained; the message is one line."""


class Assignment(NamedTuple):
    """A group that a process trains: this one, or one that a launcher starts.

    Attributes:
      sweep: that it belongs to.
      group: which; of those whose samples Optuna chooses, some of the batches.
      groups: how many the sweep has.
    """

    sweep: Sweep
    group: Group
    groups: int

    @property
    def name(self) -> str:
        """For messages."""
        return f"group {self.group.number} of {self.groups}"

    def train(self, patience: float = 0.0) -> str:
        """Trains what is left of it.

        Args:
          patience: see `RunLock`.

        Returns:
          Why it failed; empty if it did not.

        Raises:
          ConfigError: if another process trains it.
          SystemExit, CheckpointError, ResultsError: as `experiment.train`.
        """
        # A second process with the same groups ends here, before it overtakes the first.
        with RunLock(self.group.directory, patience):
            try:
                _run_group(self)
            except (ConfigError, envs.HostEnvironmentError) as error:
                if isinstance(error, envs.HostEnvironmentError) and jax.process_count() > 1:
                    raise  # the other processes do not know of it
                return str(error)
        return ""


def work(assignment: Assignment, directory: Path, words: list[str]) -> str:
    """Trains an assignment in a process that a launcher started; nothing ran in it before.

    Args:
      assignment: of a sweep that was begun.
      directory: in which the command was given; paths are relative to it.
      words: of the command, which stands in the records of the runs.

    Returns:
      Why it failed; empty if it did not.

    Raises:
      SystemExit: after a signal.
    """
    try:
        os.chdir(directory)
    except OSError as error:
        node = os.uname().nodename
        return f"{node} cannot use {directory} ({error.strerror}): start where all nodes share it"
    sys.argv = words
    use_all_cores(count_cores(), assignment.sweep.config.devices_per_run)
    use_compilation_cache()
    try:
        return assignment.train(_PATIENCE)
    except (ConfigError, FailedError, envs.TaskError) as error:
        return str(error)


# Trains assignments somewhere, in any order; gives each with why it failed, empty if it did not.
# Asking for the first makes the directory of the sweep: whoever cannot train refuses before that.
Launcher = Callable[[Iterable[Assignment]], Iterator[tuple[Assignment, str]]]


def run_sweep(sweep: Sweep, launcher: Launcher | None = None, batches_at_a_time: int = 1) -> None:
    """Trains what is left to train of a sweep.

    SIGINT and SIGTERM end it as they end `experiment.train`; the same call goes on.

    Args:
      sweep: what to train.
      launcher: of other processes; default: one group after the other in this one.
      batches_at_a_time: of every study.

    Raises:
      ConfigError, envs.TaskError: before anything is compiled, for what cannot work.
      SweepError: after everything else was trained, for groups that failed.
      SystemExit, CheckpointError, WriteError: as `experiment.train`.
    """
    loggers.check(sweep.config)
    processes.check_agreement(sweep.description() | {"samples": sweep.samples})
    groups = make_groups(sweep)
    if launcher is None:
        make_mesh(1, sweep.config.devices_per_run)  # which refuses what no group could have
    assignments = list(_assignments(sweep, groups, batches_at_a_time))
    if launcher is not None:
        if sweep.is_adaptive and sweep.storage is None and len(assignments) > 1:
            raise ConfigError(
                f"--launcher has {len(assignments)} processes that sample: give a database that "
                "all reach, --storage postgresql://..., or sqlite:////<file> on one machine"
            )
        assignments = [each for each in assignments if not _is_finished(each.group.directory)]
        _say(f"{count_of(len(assignments), 'program')} to train")
    train = launcher if launcher is not None and assignments else _in_turn
    failures = []
    for each, reason in train(_begun(sweep, groups, assignments)):
        if reason:
            _say(f"{each.name} failed: {reason}")
            failures.append(f"{each.name} ({reason})")
    if failures:
        raise SweepError(f"{'; '.join(failures)}: the same command tries again")


def _assignments(
    sweep: Sweep, groups: Sequence[Group], batches_at_a_time: int
) -> Iterator[Assignment]:
    """One for each group, and others beside it that train batches of the same study."""
    for each in groups:
        yield Assignment(sweep, each, len(groups))
        beside = {each.directory / f"beside-{number}" for number in range(1, batches_at_a_time)}
        for directory in sorted(beside.union(each.directory.glob("beside-*"))):
            yield Assignment(sweep, each._replace(directory=directory), len(groups))


def _begun(
    sweep: Sweep, groups: Sequence[Group], assignments: Sequence[Assignment]
) -> Iterator[Assignment]:
    processes.first_does(lambda: begin_sweep(sweep, groups))
    yield from assignments


def _in_turn(assignments: Iterable[Assignment]) -> Iterator[tuple[Assignment, str]]:
    for each in assignments:
        yield each, each.train()
        jax.clear_caches()  # the next group has another program


def begin_sweep(sweep: Sweep, groups: Sequence[Group]) -> None:
    """Makes the directory of a sweep, unless it was begun before.

    Raises:
      ConfigError: if the directory holds something else, or the storage cannot be used.
    """
    if sweep.storage is not None:
        open_storage(sweep)
    if os.path.lexists(sweep.directory / DEFINITION_FILE):
        before = read_description(sweep.directory)
        check_same(sweep, before, str(sweep.directory), "--experiment or --output")
        check_links(sweep.directory)
        description = sweep.description()
        if as_written(description) != before:  # books are kept otherwise now
            write_json(sweep.directory / DEFINITION_FILE, description)
    else:
        _make_directory(sweep, groups)
    if sweep.storage is None and sweep.is_adaptive:
        open_storage(sweep)


def _make_directory(sweep: Sweep, groups: Sequence[Group]) -> None:
    for trial in itertools.chain.from_iterable(group.trials for group in groups):
        check_free(trial.config)
    for group in groups:
        _check_files(group, sweep.all_axes)
    check_output(sweep.directory / DEFINITION_FILE)
    with writing(sweep.directory, "give another --output"):
        sweep.directory.mkdir(parents=True, exist_ok=True)
    write_json(sweep.directory / DEFINITION_FILE, sweep.description())


def _check_files(group: Group, axes: Sequence[Axis]) -> None:
    """Refuses what a group could not begin with, which may be hours later."""
    jobs = [Job.of_all_seeds(trial.config) for trial in group.trials]
    schedule = Schedule.of(jobs)
    for axis in axes:
        if schedule and axis.name in schedule.names:
            raise ConfigError(
                f"{group.config.schedule}: {axis.name} is on an axis of the sweep: drop one of them"
            )
    start = group.config.start
    if not start.run:
        return
    if not has_checkpoint(Path(start.run) / STATE_DIRECTORY):
        raise ConfigError(
            f"--start.run {start.run} holds nothing to go on from: give a run directory"
        )
    check_lasting(start, first_configs(jobs, schedule))


def _run_group(assignment: Assignment) -> None:
    """Trains what is left of a group, batch after batch, with one program."""
    compiler = None
    for batch, what in _batches(assignment):
        if not _is_finished(batch.directory):
            _say(f"{assignment.name}{what}")
            runs = assignment.group.runs  # also where a batch has fewer, as it is the same program
            compiler = compiler or Compiler(make_program(batch.config, runs))
            _run_batch(batch, assignment.sweep, compiler)
    if compiler is None:
        _say(f"{assignment.name} was finished before")


def _batches(assignment: Assignment) -> Iterator[tuple[Group, str]]:
    """What of a group trains until results are needed to go on, and what is said of it.

    That is all of it, or what a study asks for until it has enough samples. The next one is asked
    for when the one before has been trained.
    """
    sweep, group, groups = assignment
    if group.fixed is None:
        yield group, f": {count_of(len(group.trials), 'configuration')}"
        return
    fixed, prefix = group.fixed, f"{group.number}-" if groups > 1 else ""
    # Only the first process has the study.
    study = processes.first_does(lambda: Study(sweep, fixed, group.directory))
    for number in itertools.count():
        asked = processes.first_says(functools.partial(_ask, study, number))
        if not asked:
            return
        samples = [Sample(*sample) for sample in asked]
        trials = [sweep.sampled(index, fixed | values, prefix) for index, values in samples]
        directory = batch_directory(group.directory, number)
        batch = group._replace(trials=resolved(trials), directory=directory)
        count, last = count_of(len(samples), "configuration"), samples[-1].number
        yield batch, f", batch {number}: {count}, {last + 1} of {count_of(sweep.samples, 'sample')}"
        processes.first_does(functools.partial(_tell, study, samples, batch.trials))


def _ask(study: Study | None, number: int) -> list[Sample]:
    return study.batch(number) if study else []


def _tell(study: Study | None, samples: Sequence[Sample], trials: Sequence[Trial]) -> None:
    for sample, (*_, config) in zip(samples, trials, strict=True):
        if study:
            study.tell(sample, score_of(run_directory(config)), config.steps)


def _run_batch(group: Group, sweep: Sweep, compiler: Compiler) -> None:
    try:
        parts = parts_of(group)
        needed = ""
        if sweep.pbt is not None and len(parts) > 1:
            needed = f"--pbt needs all {len(group.trials)} configurations"
        elif sweep.halving is not None and any(j.config != j.whole for part in parts for j in part):
            needed = f"--halving needs all {group.config.num_seeds} seeds of a configuration"
        if needed:
            raise ConfigError(
                f"{needed} at the same time, and they do not fit: give fewer --num-seeds or a "
                "smaller --replay.capacity"
            )
        for number, jobs in enumerate(parts):
            directory = group.directory / f"part-{number}"
            if not _is_finished(directory):
                _run_part(jobs, directory, sweep, compiler)
                _mark_finished(directory)
            _remove_checkpoints(directory)
        _mark_finished(group.directory)
    except OSError as error:
        raise WriteError(f"cannot write to {group.directory}: {error.strerror}") from error


def _run_part(jobs: Sequence[Job], directory: Path, sweep: Sweep, compiler: Compiler) -> None:
    """Trains jobs together; at every rung the best go on from where they are."""
    halving, plan = sweep.halving, None
    if sweep.pbt is not None:
        plan = Evolution(sweep, sweep.pbt, jobs, compiler.program)
    rungs = rungs_of(halving, jobs[0].config, len(jobs))
    survivors = None
    for number, rung in enumerate([*rungs, None]):
        stage = directory / f"stage-{number}"
        if not _is_finished(stage):
            try:
                run_together(compiler, jobs, stage, rung, survivors, plan)
            except AllDivergedError as error:
                _say(str(error))
                break
            _mark_finished(stage)
        if survivors is not None:
            _remove_checkpoints(survivors.directory)
        if rung is not None and halving is not None:
            keep = halving.keep(len(jobs))
            best = processes.first_says(functools.partial(_best, jobs, rung, keep))
            what = f"{len(best)} of {len(jobs)} configurations go on"
            _say(f"{rung:,} {jobs[0].config.step_name}: {what}")
            survivors = Survivors(stage, best)
            jobs = [jobs[index] for index in best]


def _best(jobs: Sequence[Job], rung: int, keep: int) -> list[int]:
    scores = [(score_of(job.directory, rung), index) for index, job in enumerate(jobs)]
    ranked = sorted((score.order(), index) for score, index in scores if score is not None)
    return sorted(index for _, index in ranked[:keep])


def _is_finished(directory: Path) -> bool:
    return processes.first_says((directory / _FINISHED).exists)


def _mark_finished(directory: Path) -> None:
    if processes.is_first():
        write_text(directory / _FINISHED, "")


def _remove_checkpoints(directory: Path) -> None:
    if processes.is_first():
        for checkpoints in list(directory.rglob(STATE_DIRECTORY.parts[0])):
            shutil.rmtree(checkpoints, ignore_errors=True)

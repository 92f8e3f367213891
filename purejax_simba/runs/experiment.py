"""A whole experiment: begun, gone on with, or together with others."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from purejax_simba import loggers, trust
from purejax_simba.checks import check_needed
from purejax_simba.config import Config, ConfigError, Part
from purejax_simba.defaults import with_agent_defaults
from purejax_simba.files import read_json, write_json
from purejax_simba.names import flatten, is_bookkeeping
from purejax_simba.runs import processes, result_files
from purejax_simba.runs.checkpoint import STATE_DIRECTORY, has_checkpoint, read_newest
from purejax_simba.runs.compiling import Compiler, make_program
from purejax_simba.runs.devices import Placement
from purejax_simba.runs.jobs import Job
from purejax_simba.runs.memory import check_memory
from purejax_simba.runs.run_lock import RunLock
from purejax_simba.runs.schedule import Plan, Schedule
from purejax_simba.runs.session import Setup, first_configs, train_jobs
from purejax_simba.runs.starting import Start, check_parts, from_earlier_run
from purejax_simba.waiting import still

# How far a run goes, which may be further after a resume.
_LENGTHS = ("total_env_steps", "offline.epochs")


class Survivors(NamedTuple):
    """Those of the jobs that were trained together until now which go on.

    Attributes:
      directory: of the checkpoints.
      jobs: which, as indices.
    """

    directory: Path
    jobs: Sequence[int]


def train(config: Config) -> Path:
    """Trains all seeds of a configuration and writes their results.

    SIGINT (Ctrl-C) and SIGTERM end the training after the chunk under way, at most seconds later.
    What was trained until then is kept: the policies, the curve, all evaluations, and a checkpoint
    for `resume`.

    Returns:
      The run directory.

    Raises:
      ConfigError, envs.TaskError: before anything is compiled, for what cannot work.
      SystemExit: after a signal, with the status that shells give it (130, 143).
      envs.HostEnvironmentError: if an environment fails; the results so far are in the files.
      CheckpointError, WriteError: if files cannot be written; likewise.
      OutOfMemoryError: if a device has less memory than it said; likewise.
    """
    check_needed(config, "start")  # in sweeps the run may be on an axis
    compiler = Compiler(make_program(config))
    job = Job.of_all_seeds(compiler.program.config)
    setup = _set_up(compiler, [job], Schedule.of([job]))
    arrays = from_earlier_run(compiler.program, setup.placement, [job], setup.first)
    with RunLock(job.directory):
        processes.first_does(lambda: result_files.create_run_directory(job.config))
        train_jobs(setup, Start([None], arrays), job.directory, _advice(job))
    return job.directory


def resume(
    directory: Path | str,
    config: Config | None = None,
    reset: Sequence[Part] = (),
    given: Mapping[str, Any] | None = None,
) -> Path:
    """Goes on with the run in a directory where its newest checkpoint was taken.

    With environments that are functions the numbers are those of a run that was never interrupted.
    Environments in worker processes begin new episodes.

    Args:
      directory: of the run.
      config: as it is now: with more env steps, say, or another output, to which the results so
        far are copied. Default: as it was.
      reset: parts of the agent that begin anew, with new optimisers.
      given: without `config`, what files may not say themselves; see `load_policy`.

    Returns:
      The run directory, which is `directory` unless the output is another.

    Raises:
      ConfigError: if there is nothing to go on from, or the configuration is another one.
      And what `train` raises.
    """
    directory = Path(directory)
    saved = result_files.read_config(directory, flatten(config) if config else given)
    config = config or saved
    if trust.is_same_task(config.task, saved.task):  # by the name that is in the files
        config = dataclasses.replace(config, task=saved.task)
    compiler = Compiler(make_program(config))
    config = compiler.program.config
    job = Job.of_all_seeds(config, directory if config.output == saved.output else None)
    setup = _set_up(compiler, [job], Schedule.of([job], directory))
    check_differences(with_agent_defaults(saved), config)
    check_parts(compiler.program, reset, "--reset")
    with RunLock(job.directory):
        start = Start.at(read_newest(directory / STATE_DIRECTORY), [job], reset)
        if reset and start.interactions >= setup.end:
            raise ConfigError(
                f"{directory} is trained to its end: with --reset give more env steps"
            )
        processes.first_does(lambda: _take_over(directory, job, start.metrics_bytes[0]))
        train_jobs(setup, start, job.directory, _advice(job))
    return job.directory


def _advice(job: Job) -> str:
    return trust.train_command(f"--resume {shlex.quote(str(job.directory))}", job.config)


def _take_over(directory: Path, job: Job, metrics_bytes: int | None) -> None:
    """Makes a directory that of a job which goes on, with the results so far."""
    result_files.read_metrics(directory, metrics_bytes)  # which refuses what is damaged
    if job.directory == directory:
        result_files.write_config(directory, job.config)
    else:
        result_files.copy_run(directory, job.config, metrics_bytes)


def run_together(
    compiler: Compiler,
    jobs: Sequence[Job],
    directory: Path,
    until: int | None = None,
    survivors: Survivors | None = None,
    plan: Plan | None = None,
) -> None:
    """Trains jobs as one program; each has its own run directory.

    If that was begun in `directory`, it goes on where the newest checkpoint was taken.

    Args:
      compiler: of the program of any of them.
      jobs: with configurations that are equal but for hyperparameters, seeds and names.
      directory: for the checkpoints of all.
      until: environment steps after which to stop; default: those of the configurations.
      survivors: where these jobs were trained before, together with others.
      plan: of their hyperparameters; default: their schedule, if they have one.

    Raises:
      AllDivergedError: if no run is left; the results until then are in the files.
      And what `train` raises.
    """
    goes_on = has_checkpoint(directory / STATE_DIRECTORY)
    begun = jobs[0].directory if goes_on or survivors is not None else None
    setup = _set_up(compiler, jobs, plan or Schedule.of(jobs, begun), until)
    if goes_on:
        start = Start.at(read_newest(directory / STATE_DIRECTORY), jobs)
    elif survivors is not None:
        checkpoint = read_newest(survivors.directory / STATE_DIRECTORY)
        start = Start.at(checkpoint.of_jobs(survivors.jobs), jobs)
    else:
        arrays = from_earlier_run(compiler.program, setup.placement, jobs, setup.first)
        sizes = processes.first_does(lambda: _begin(jobs, directory))
        start = Start(sizes or [None] * len(jobs), arrays)
    train_jobs(setup, start, directory, "give the same command again")


def _begin(jobs: Sequence[Job], directory: Path) -> Sequence[int | None]:
    """Makes directories, again if they were made before; returns what to keep of `metrics.csv`."""
    begun = directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    if all(job.is_first for job in jobs):
        for job in jobs:
            result_files.create_run_directory(job.whole, again=begun)
        return [None] * len(jobs)
    sizes = [(job.directory / result_files.METRICS_FILE).stat().st_size for job in jobs]
    # Those of the first time count, before a process was killed perhaps.
    path = directory / "metrics_bytes.json"
    if not path.exists():
        write_json(path, sizes)
    known = read_json(path, list[int])
    if len(known) != len(jobs):
        raise ConfigError(f"{path} is of {len(known)} jobs and not of {len(jobs)}: remove it")
    return known


@still("finding the memory that it takes", processes.say)
def _set_up(
    compiler: Compiler, jobs: Sequence[Job], plan: Plan | None = None, until: int | None = None
) -> Setup:
    """Chooses devices and refuses what cannot be trained on them.

    Args:
      compiler: of the program of any of the jobs.
      jobs: with configurations that are equal but for hyperparameters, seeds and names.
      plan: of their hyperparameters; None if these do not change.
      until: environment steps after which to stop; default: those of the configurations.

    Raises:
      ConfigError: if there is not enough memory, or a logger is missing, or the processes that
        train together have different configurations.
    """
    program, config = compiler.program, compiler.program.config
    processes.check_agreement(dataclasses.asdict(config))
    loggers.check(config)
    placement = Placement.choose(program, first_configs(jobs, plan))
    memory = check_memory(
        program, placement.mesh.size, placement.at_a_time, placement.count, placement.num_processes
    )
    end = (config.steps if until is None else until) // config.steps_per_interaction
    return Setup(compiler, jobs, placement, memory, end, plan)


def check_differences(saved: Config, config: Config) -> None:
    """Makes sure that a run goes on as it began.

    Raises:
      ConfigError: with all that differs and should not.
    """
    before, now = flatten(saved), flatten(config)
    for values in (before, now):
        values["physics"] = values["physics"].partition(":")[0]  # its room may become larger
    differences = [
        f"--{name.replace('_', '-')} was {before[name]} and is {now[name]}"
        for name in before
        if before[name] != now[name] and not is_bookkeeping(name) and name not in _LENGTHS
    ]
    if differences:
        raise ConfigError(f"a run goes on only as it began: {'; '.join(differences)}")
    length = "offline.epochs" if config.is_offline else "total_env_steps"
    if now[length] < before[length]:
        raise ConfigError(
            f"--{length.replace('_', '-')} was {before[length]} and is {now[length]}: "
            "give as many or more"
        )

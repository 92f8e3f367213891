"""A whole experiment: begun, gone on with, or together with others."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from purejax_simba.config import Config, ConfigError, Part
from purejax_simba.defaults import with_agent_defaults
from purejax_simba.runs import processes, result_files, resuming
from purejax_simba.runs.checkpoint import STATE_DIRECTORY, has_checkpoint
from purejax_simba.runs.compiling import Compiler
from purejax_simba.runs.jobs import Job
from purejax_simba.runs.programs import make_program
from purejax_simba.runs.run_lock import RunLock
from purejax_simba.runs.session import train_jobs
from purejax_simba.runs.setup import set_up
from purejax_simba.runs.starting import Start, from_earlier_run


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
      CheckpointError, ResultsError: if files cannot be written; likewise.
      OutOfMemoryError: if a device has less memory than it said; likewise.
    """
    compiler = Compiler(make_program(config))
    job = Job.of_all_seeds(compiler.program.config)
    setup = set_up(compiler, [job])
    arrays = from_earlier_run(compiler.program, setup.placement, [job])
    with RunLock(job.directory):
        processes.first_does(lambda: result_files.create_run_directory(job.config))
        advice = f"python train.py --resume {job.directory}"
        train_jobs(setup, Start([None], arrays), job.directory, advice)
    return job.directory


def resume(directory: Path | str, config: Config | None = None, reset: Sequence[Part] = ()) -> Path:
    """Goes on with the run in a directory where its newest checkpoint was taken.

    With environments that are functions the numbers are those of a run that was never interrupted.
    Environments in worker processes begin new episodes.

    Args:
      directory: of the run.
      config: as it is now: with more env steps, say, or another output, to which the results so
        far are copied. Default: as it was.
      reset: parts of the agent that begin anew, with new optimisers.

    Returns:
      The run directory, which is `directory` unless the output is another.

    Raises:
      ConfigError: if there is nothing to go on from, or the configuration is another one.
      And what `train` raises.
    """
    directory = Path(directory)
    saved = result_files.read_config(directory)
    compiler = Compiler(make_program(config or saved))
    config = compiler.program.config
    job = Job.of_all_seeds(config, directory if config.output == saved.output else None)
    setup = set_up(compiler, [job])
    resuming.check_differences(with_agent_defaults(saved), config)
    with RunLock(job.directory):
        start = Start.at(resuming.find(directory), reset)
        if reset and start.interactions >= setup.end:
            raise ConfigError(
                f"{directory} is trained to its end: with --reset give more env steps"
            )
        processes.first_does(lambda: _take_over(directory, job, start.metrics_bytes[0]))
        train_jobs(setup, start, job.directory, f"python train.py --resume {job.directory}")
    return job.directory


def _take_over(directory: Path, job: Job, metrics_bytes: int | None) -> None:
    """Makes a directory that of a job which goes on, with the results so far."""
    if job.directory == directory:
        result_files.write_config(directory, job.config)
    else:
        result_files.create_run_directory(job.config)
        result_files.copy_metrics(directory, job.directory, metrics_bytes)


def run_together(
    compiler: Compiler,
    jobs: Sequence[Job],
    directory: Path,
    until: int | None = None,
    survivors: Survivors | None = None,
) -> None:
    """Trains jobs as one program; each has its own run directory.

    If that was begun in `directory`, it goes on where the newest checkpoint was taken.

    Args:
      compiler: of the program of any of them.
      jobs: with configurations that are equal but for hyperparameters, seeds and names.
      directory: for the checkpoints of all.
      until: environment steps after which to stop; default: those of the configurations.
      survivors: where these jobs were trained before, together with others.

    Raises:
      AllDivergedError: if no run is left; the results until then are in the files.
      And what `train` raises.
    """
    setup = set_up(compiler, jobs, until)
    if has_checkpoint(directory / STATE_DIRECTORY):
        start = Start.at(resuming.find(directory))
    elif survivors is not None:
        checkpoint = resuming.find(survivors.directory)
        start = Start.at(resuming.select(checkpoint, survivors.jobs))
    else:
        arrays = from_earlier_run(compiler.program, setup.placement, jobs)
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
    sizes = [result_files.metrics_size(job.directory) for job in jobs]
    return resuming.remember(directory / "metrics_bytes.json", sizes)

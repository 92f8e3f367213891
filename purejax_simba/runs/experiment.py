"""A whole experiment: begun, gone on with, or together with others."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from purejax_simba.config import Config, ConfigError, Part
from purejax_simba.defaults import with_agent_defaults
from purejax_simba.runs import processes, result_files, resuming, starting
from purejax_simba.runs.checkpoint import STATE_DIRECTORY, has_checkpoint
from purejax_simba.runs.members import Entry
from purejax_simba.runs.programs import make_program
from purejax_simba.runs.run_lock import RunLock
from purejax_simba.runs.runs import Compiler
from purejax_simba.runs.session import Session


class Origin(NamedTuple):
    """Where runs were trained until now, some of them to go on.

    Attributes:
      directory: of the checkpoints.
      members: which of the configurations go on, as indices.
    """

    directory: Path
    members: Sequence[int]


def run(config: Config) -> Path:
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
      CheckpointError, logging.ResultsError: if files cannot be written; likewise.
      OutOfMemoryError: if a device has less memory than it said; likewise.
    """
    session = Session(Compiler(make_program(config)))
    config = session.config
    session.beginning = starting.read(session.runs, [config])
    directory = result_files.run_directory(config)
    with RunLock(directory):
        processes.first_does(lambda: result_files.create_run_directory(config))
        session.run([Entry(config, directory)], directory, f"python train.py --resume {directory}")
    return directory


def resume(directory: Path, config: Config | None = None, reset: Sequence[Part] = ()) -> Path:
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
      And what `run` raises.
    """
    saved = result_files.read_config(directory)
    session = Session(Compiler(make_program(config or saved)))
    session.reset = reset
    config = session.config
    resuming.check_differences(with_agent_defaults(saved), config)
    target = result_files.run_directory(config) if config.output != saved.output else directory
    with RunLock(target):
        checkpoint = resuming.find(directory)
        if reset and checkpoint.notes["interactions"] >= session.end:
            raise ConfigError(
                f"{directory} is trained to its end: with --reset give more env steps"
            )
        (metrics_bytes,) = checkpoint.notes["metrics_bytes"]
        if target == directory:
            processes.first_does(lambda: result_files.write_config(directory, config))
        else:
            processes.first_does(lambda: result_files.create_run_directory(config))
            processes.first_does(
                lambda: result_files.copy_metrics(directory, target, metrics_bytes)
            )
        entry = Entry(config, target, metrics_bytes)
        session.run([entry], target, f"python train.py --resume {target}", checkpoint)
    return target


def run_together(
    compiler: Compiler,
    configs: Sequence[Config],
    directory: Path,
    until: int | None = None,
    origin: Origin | None = None,
    wholes: Sequence[Config] | None = None,
) -> None:
    """Trains the seeds of several configurations as one program; each has its own run directory.

    If that was begun in `directory`, it goes on where the newest checkpoint was taken.

    Args:
      compiler: of the program of any of them.
      configs: resolved, and equal but for hyperparameters, seeds and names.
      directory: for the checkpoints of all.
      until: environment steps after which to stop; default: those of the configurations.
      origin: where these configurations were trained before, together with others.
      wholes: the same with all seeds, of which others may have been trained before; default: they
        have no others.

    Raises:
      AllDivergedError: if no run is left; the results until then are in the files.
      And what `run` raises.
    """
    session = Session(compiler, configs, until)
    checkpoint = None
    if has_checkpoint(directory / STATE_DIRECTORY):
        checkpoint = resuming.find(directory)
    elif origin is not None:
        checkpoint = resuming.select(resuming.find(origin.directory), origin.members)
    wholes = wholes or configs
    slots = [_slots(config, whole) for config, whole in zip(configs, wholes, strict=True)]
    if checkpoint is not None:
        sizes = checkpoint.notes["metrics_bytes"]
    else:
        session.beginning = starting.read(session.runs, configs, slots)
        sizes = processes.first_does(lambda: _begin(configs, wholes, directory))
    entries = [
        Entry(config, result_files.run_directory(config), size, own)
        for config, size, own in zip(configs, sizes or [None] * len(configs), slots, strict=True)
    ]
    session.run(entries, directory, "give the same command again", checkpoint)


def _begin(
    configs: Sequence[Config], wholes: Sequence[Config], directory: Path
) -> Sequence[int | None]:
    """Makes directories, again if they were made before; returns what to keep of `metrics.csv`."""
    begun = directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    if all(config.seed == whole.seed for config, whole in zip(configs, wholes, strict=True)):
        for whole in wholes:
            result_files.create_run_directory(whole, again=begun)
        return [None] * len(configs)
    sizes = [result_files.metrics_size(result_files.run_directory(config)) for config in configs]
    return resuming.remember(directory / "metrics_bytes.json", sizes)


def _slots(config: Config, whole: Config) -> list[int] | None:
    return None if config == whole else [seed - whole.seed for seed in config.seeds]

"""What launchers have in common: what the processes do that they start."""

import os
import sys
from pathlib import Path

import envs
from envs.cores import count_cores
from purejax_simba.config import ConfigError
from purejax_simba.errors import FailedError
from purejax_simba.runs.devices import use_all_cores, use_compilation_cache
from purejax_simba.runs.run_lock import STALE_SECONDS
from purejax_simba.sweep.running import Assignment

# What a machine that is gone was training is free after so long at most, twice over.
_PATIENCE = 2.0 * STALE_SECONDS


def work(assignment: Assignment, directory: Path, words: list[str]) -> str:
    """Trains an assignment in this process, which has done nothing before.

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

"""What the commands have in common: an error is one line and an exit status."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from purejax_simba import stopping
from purejax_simba.config import ConfigError
from purejax_simba.errors import FailedError, ProcessError, WriteError
from purejax_simba.waiting import say, silence


@dataclass
class Outcome:
    """How a command ended.

    Attributes:
      status: for the shell: 0 if nothing went wrong, 1 if what was begun failed, 2 for what cannot
        be begun, 141 where nobody reads the output any more. After a signal the program ends by
        itself, see `stopping`.
    """

    status: int = 0


@contextlib.contextmanager
def one_line_errors(advice: str) -> Iterator[Outcome]:
    """Prints what goes wrong inside as one line, and says the exit status.

    `advice` says how to go on with what was begun.
    """
    outcome = Outcome()
    try:
        try:
            yield outcome
        finally:
            sys.stdout.flush()
    except Exception as error:
        if stopping.is_interrupted():
            raise
        outcome.status = _status(error, advice)
        if outcome.status == 0:
            raise
    finally:
        try:
            sys.stderr.flush()
        except OSError:  # words that find no room do not change how it ended
            silence(sys.stderr)


def _status(error: Exception, advice: str) -> int:
    """Says what went wrong; 0 for what nobody expects."""
    if isinstance(error, ConfigError):
        return _say(2, str(error))
    if isinstance(error, WriteError):
        return _say(1, f"{error}: make room there, then {advice}")
    if isinstance(error, ProcessError):
        _say(1, f"{error}; {advice}")
        os._exit(1)  # at a usual exit JAX would wait for the process that is gone
    if isinstance(error, FailedError):
        return _say(1, str(error))
    if isinstance(error, OSError) and _is_output_closed():
        if isinstance(error, BrokenPipeError):
            return 128 + signal.SIGPIPE
        return _say(1, f"cannot write to standard output: {error.strerror}")
    if isinstance(error, ValueError | RuntimeError):
        import envs  # for its errors only, which means that it is imported already

        if isinstance(error, envs.TaskError):
            return _say(2, str(error))
        if isinstance(error, envs.HostEnvironmentError):
            return _say(1, str(error))
    return 0


def _say(status: int, message: str) -> int:
    say(f"error: {message}")
    return status


def _is_output_closed() -> bool:
    try:
        print(flush=True)
    except OSError:
        silence(sys.stdout)
        return True
    return False

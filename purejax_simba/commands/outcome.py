"""What the commands have in common: an error is one line and an exit status."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from purejax_simba.config import ConfigError
from purejax_simba.errors import FailedError, ProcessError, WriteError


@dataclass
class Outcome:
    """How a command ended.

    Attributes:
      status: for the shell: 0 if nothing went wrong, 1 if what was begun failed, 2 for what cannot
        be begun, 130 after Ctrl-C.
    """

    status: int = 0


@contextlib.contextmanager
def one_line_errors(advice: str) -> Iterator[Outcome]:
    """Prints what goes wrong inside as one line, and says the exit status.

    Args:
      advice: how to go on with what was begun.
    """
    outcome = Outcome()
    try:
        yield outcome
    except ConfigError as error:
        _print_error(str(error))
        outcome.status = 2
    except WriteError as error:
        _print_error(f"{error}: make room there, then {advice}")
        outcome.status = 1
    except ProcessError as error:
        _print_error(f"{error}; {advice}")
        os._exit(1)  # at a usual exit JAX would wait for the process that is gone
    except FailedError as error:
        _print_error(str(error))
        outcome.status = 1
    except (ValueError, RuntimeError) as error:
        import envs  # for its errors only, which means that it is imported already

        if not isinstance(error, (envs.TaskError, envs.HostEnvironmentError)):
            raise
        _print_error(str(error))
        outcome.status = 2 if isinstance(error, envs.TaskError) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        outcome.status = 130


def _print_error(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)

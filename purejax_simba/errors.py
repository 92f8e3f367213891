"""Kinds of error by how a command ends; messages are one line."""

import importlib
from typing import Any

_LONGEST = 60  # letters of a value in a message


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one line and says what to do.

    What refuses something, or reads what may be damaged, raises it.
    """


class FailedError(Exception):
    """What was begun has failed."""


class WriteError(FailedError):
    """A file could not be written: there is no room, or no permission."""


class ProcessError(FailedError):
    """Another process has ended."""


def shown(value: Any) -> str:
    """A value from a user or a file in a message, in one line and not all of it if it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def first_line(error: BaseException) -> str:
    """What an error of somebody else's says, for a message; its kind if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def require(package: str, extra: str) -> Any:
    """Imports a package that an extra of this project installs, or a module that needs one.

    Raises:
      ConfigError: with the command that installs it.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed: pip install 'purejax_simba[{extra}]'"
        raise ConfigError(message) from error

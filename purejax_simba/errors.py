"""Kinds of error by how a command ends; messages are one line."""


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one line and says what to do."""


class FailedError(Exception):
    """What was begun has failed."""


class WriteError(FailedError):
    """A file could not be written: there is no room, or no permission."""


class ProcessError(FailedError):
    """Another process has ended."""

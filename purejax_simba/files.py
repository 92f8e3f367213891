"""Files that are read back, which may be damaged or come from others, and files that are written.

Whatever is wrong with a file is one line that names it; what is written is whole or not there.
"""

import contextlib
import errno
import json
import os
import stat
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from purejax_simba.errors import ConfigError, WriteError, first_line, shown
from purejax_simba.settings import UNIONS, WORDS

_T = TypeVar("_T")
_WORDS: dict[Any, str] = {**WORDS, list: "a list", tuple: "a list"}
_ADVICE = "restore it from a copy, or remove it"
# Beyond what any of these files has, and soon reached by a few letters of YAML or JSON.
_DEEPEST, _MOST_PARTS = 20, 300_000
_LARGEST = 2**63
_LONGEST = 300  # letters of a reason that a library gives


class UnreadableError(ConfigError):
    """A file cannot be read: its path, what is wrong with it, and what to do, in one line."""

    def __init__(self, path: Path, reason: str, advice: str):
        super().__init__(f"{path} cannot be read ({reason}): {advice}")
        self.path, self.reason = path, reason


@contextlib.contextmanager
def reading(path: Path, *others: type[Exception], advice: str = _ADVICE) -> Iterator[None]:
    """For what is done with a file.

    Args:
      path: of the file.
      *others: errors that a library raises about it, besides those of Python's own readers.
      advice: what to do about it.

    Raises:
      UnreadableError: in place of all these, but for what is said of the file already.
    """
    try:
        yield
    except Exception as error:
        is_clear = isinstance(error, ConfigError) and str(error).startswith(str(path))
        if is_clear or not isinstance(error, (OSError, ValueError, RecursionError, *others)):
            raise
        reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        if isinstance(error, RecursionError):
            reason = "it is nested too deeply"
        raise UnreadableError(path, textwrap.shorten(reason, _LONGEST), advice) from error


def regular(path: Path) -> Path:
    """The same path, if a regular file is there, or else an OSError.

    From a pipe or a device nothing might ever come.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    return path


def read_bytes(path: Path) -> bytes:
    """What is in a regular file; an OSError if there is none."""
    return regular(path).read_bytes()


def read_json(path: Path, kind: type[_T], default: _T | None = None, advice: str = _ADVICE) -> _T:
    """What is in a file, as a value of a type that `checked` knows.

    Where there is no such file it is the `default`, if there is one.

    Raises:
      UnreadableError: if it is not there, or anything else is in it.
    """
    with reading(path, advice=advice):
        try:
            text = read_bytes(path).decode()
        except FileNotFoundError:
            if default is None:
                raise
            return default
        value = json.loads(text)
        check_parts(value)
        return checked(value, kind)


def check_parts(value: Any) -> None:
    """Refuses what a file can say and nobody means: endless nesting, and letters that are none."""
    parts = [(value, 0)]
    for part, depth in parts:
        inner: list[Any] = []
        if isinstance(part, dict):
            inner = [*part, *part.values()]
        elif isinstance(part, list | tuple):
            inner = [*part]
        elif isinstance(part, str):
            part.encode()  # which half of a letter cannot be
            if "\0" in part:
                raise ConfigError(f"{shown(part)} is no text")
        if inner and (depth == _DEEPEST or len(parts) + len(inner) > _MOST_PARTS):
            raise ConfigError("it is nested too deeply, or too long")
        parts += [(each, depth + 1) for each in inner]


def checked(value: Any, kind: Any, name: str = "") -> Any:
    """A value as JSON has it, if it is of a type; `name` is for the message.

    Types are `int`, `float`, `str`, `bool`, `Any`; a list, tuple or dictionary of types; a
    `TypedDict`, whose other names stay, or a `NamedTuple`, which leaves them out; or one of these
    or None.

    Raises:
      ConfigError: for another one.
    """
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if kind is Any:
        return value
    if origin in UNIONS:
        return None if value is None else checked(value, inner[0], name)
    if isinstance(value, list) and origin is list:
        return [checked(each, inner[0], f"{name}[{i}]") for i, each in enumerate(value)]
    if isinstance(value, list) and origin is tuple and len(value) == len(inner):
        return tuple(checked(each, one, name) for each, one in zip(value, inner, strict=True))
    if isinstance(value, dict) and origin is dict:
        named = {int(key) if inner[0] is int else key: each for key, each in value.items()}
        return {key: checked(each, inner[1], _below(name, key)) for key, each in named.items()}
    if isinstance(value, dict) and hasattr(kind, "__annotations__"):
        return _record(value, kind, name)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is kind and (kind is not int or abs(value) < _LARGEST):
        return value
    needed = _WORDS.get(origin, "names with values")
    raise ConfigError(f"{name or 'it'} is {shown(value)}: {needed} is needed")


def _record(values: dict[str, Any], kind: Any, name: str) -> Any:
    hints = typing.get_type_hints(kind)
    is_tuple = issubclass(kind, tuple)
    needed = {*hints} - {*kind._field_defaults} if is_tuple else kind.__required_keys__
    for key in hints:
        if key in needed and key not in values:
            raise ConfigError(f"{name or 'it'} has no {key}")
    known = {
        key: checked(values[key], hint, _below(name, key))
        for key, hint in hints.items()
        if key in values
    }
    return kind(**known) if is_tuple else values | known


def _below(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)


def check_output(path: Path) -> None:
    """Refuses a file that cannot be written, before it takes long to make it.

    So it does what is there and no file: a device would be gone.
    """
    if os.path.exists(path) and not path.is_file():
        raise ConfigError(f"{path} is there and no file: give another --output")
    place = next(place for place in path.absolute().parents if os.path.lexists(place))
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        reason = os.strerror(errno.EACCES if place.is_dir() else errno.ENOTDIR)
        raise ConfigError(f"cannot write to {path.parent} ({reason}): give another --output")


@contextlib.contextmanager
def writing(path: Path | str, advice: str = "") -> Iterator[None]:
    """For what writes to a file or a directory.

    Raises:
      ConfigError, WriteError: in place of an OSError, the first one if there is something to advise
        besides making room.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or first_line(error)
        if advice:
            raise ConfigError(f"cannot write to {path} ({reason}): {advice}") from error
        raise WriteError(f"cannot write to {path}: {reason}") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to be written in place of another, which stays as it was until this one is complete.

    Its directory is made where there is none.

    Raises:
      OSError: if it cannot be, or what is there is no file.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "there is something else than a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Several processes may write the tables of a sweep.
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        yield unfinished
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file; see `replacing`."""
    with writing(path), replacing(path) as unfinished:
        unfinished.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """The same with text."""
    # Names of files may have bytes that are no letters.
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, values: Any) -> None:
    """The same with values as JSON."""
    write_text(path, json.dumps(values, indent=2) + "\n")

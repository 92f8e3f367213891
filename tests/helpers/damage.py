"""What can be wrong with a file, whatever it should hold."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path


def _holding(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        remove(path)
        path.write_bytes(content)

    return write


def remove(path: Path) -> None:
    """Removes what is there, if anything is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _into_directory(path: Path) -> None:
    remove(path)
    path.mkdir()


def _into_pipe(path: Path) -> None:
    remove(path)
    os.mkfifo(path)


def _into_device(path: Path) -> None:
    remove(path)
    path.symlink_to("/dev/zero")


def _into_loop(path: Path) -> None:
    remove(path)
    path.symlink_to(path.name)


# Of any file.
ANY: dict[str, Callable[[Path], None]] = {
    "empty": _holding(b""),
    "bytes": _holding(b"\xff\xfe\x00\x80" * 9),
    "a directory": _into_directory,
    "a pipe": _into_pipe,
    "a device": _into_device,
    "a loop of links": _into_loop,
}
# Of one that holds names and values, or a list of these, in JSON.
JSON: dict[str, Callable[[Path], None]] = {
    **ANY,
    "cut": _cut,
    "a number": _holding(b"3"),
    "a large number": _holding(b"9" * 5000),
    "null": _holding(b"null"),
    "a word": _holding(b'"two"'),
    "lists": _holding(b"[[1, 2], [3, 4]]"),
    "values": _holding(b'{"two": [[null, "two", 3.5]]}'),
    "NaN": _holding(b"NaN"),
    "a list of NaN": _holding(b"[NaN, [Infinity]]"),
    "NUL": _holding(b'{"task": "\\u0000"}'),
    "NUL in a list": _holding(b'[{"command": "\\u0000"}]'),
    "half a letter": _holding(b'{"task": "\\ud800"}'),
    "nested": _holding(b"[" * 100_000),
    "nested and closed": _holding(b'{"a":' * 500 + b"1" + b"}" * 500),
}

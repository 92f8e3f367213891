"""Keeps a page as new as the runs that it is about."""

from collections.abc import Callable, Sequence
from pathlib import Path

from purejax_simba.report.page import write_page
from purejax_simba.report.reading import result_files


def watch(
    paths: Sequence[Path], output: Path, interval: float, sleep: Callable[[float], None]
) -> None:
    """Writes the page whenever result files change, until Ctrl-C, then once more.

    A browser that shows the page loads it again after each interval.

    Args:
      paths: see `reading.read`.
      output: the page.
      interval: seconds between looks.
      sleep: waits for so many seconds.

    Raises:
      ConfigError: as `write_page`.
    """
    seen: dict[Path, tuple[int, int]] | None = None
    try:
        while True:
            now = _state(paths)
            if now != seen:
                seen = now
                print(write_page(paths, output, interval), flush=True)
            sleep(interval)
    except KeyboardInterrupt:
        print(write_page(paths, output))


def _state(paths: Sequence[Path]) -> dict[Path, tuple[int, int]]:
    found = {}
    for file in result_files(paths):
        try:
            status = file.stat()
        except OSError:  # replaced just now
            continue
        found[file] = (status.st_mtime_ns, status.st_size)
    return found

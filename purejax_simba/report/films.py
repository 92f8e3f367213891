"""Which videos of a run to show."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from purejax_simba.report.rows import LeftOut, first_line
from purejax_simba.videos import INDEX_FILE, VIDEO_DIRECTORY

SUFFIXES = (".mp4", ".gif", ".webm", ".png")


class Film(NamedTuple):
    """A video, or a picture where a task has no model to draw.

    Attributes:
      path: of the file.
      title: what it shows.
    """

    path: Path
    title: str


def read_films(directory: Path, left_out: list[LeftOut]) -> tuple[Film, ...]:
    """The best seed, the median one, and all together; all files where there is no index of them.

    Args:
      directory: of the run.
      left_out: gets a note on an index that cannot be read.
    """
    place = directory / VIDEO_DIRECTORY
    index = place / INDEX_FILE
    try:
        chosen = _chosen(json.loads(index.read_text()))
    except FileNotFoundError:
        chosen = {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        left_out.append(LeftOut(index, f"cannot be read: {first_line(error)}"))
        chosen = {}
    files = sorted(path for path in place.glob("*") if path.suffix in SUFFIXES)
    if not chosen:
        return tuple(Film(path, path.stem) for path in files)
    return tuple(Film(place / name, chosen[name]) for name in chosen if place / name in files)


def _chosen(index: dict[str, Any]) -> dict[str, str]:
    """File name -> title, as `make_videos` writes its index."""
    titles: dict[str, str] = {}
    for which in ("best", "median"):
        seed = index[which]
        if seed is not None:
            film = index["seeds"][str(seed)]
            words = [titles[film["file"]]] if film["file"] in titles else []
            title = " and ".join([*words, which])
            titles[film["file"]] = title
    titles = {
        name: f"{title}: seed {seed}, return {film['return']:.1f} in this episode"
        for name, title in titles.items()
        for seed, film in index["seeds"].items()
        if film["file"] == name
    }
    return titles | {str(index["mosaic"]): "all seeds"}

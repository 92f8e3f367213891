"""Matplotlib, imported when something is drawn, for files only."""

from pathlib import Path
from typing import Any

from purejax_simba.files import replacing, writing


def plain(text: Any) -> str:
    """Words that users choose, in which a dollar is a dollar and begins no mathematics."""
    return str(text).replace("$", r"\$")


def pyplot() -> Any:
    """matplotlib's pyplot, which needs no screen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as module

    return module


def save(figure: Any, path: Path, dpi: float | None = 150) -> None:
    """Writes a figure in the format that the name of the file says."""
    with writing(path), replacing(path) as unfinished:
        figure.savefig(unfinished, format=path.suffix[1:], dpi=dpi)
    pyplot().close(figure)

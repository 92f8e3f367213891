"""Matplotlib, imported when something is drawn, for files only."""

from typing import Any


def plain(text: Any) -> str:
    """Words that users choose, in which a dollar is a dollar and begins no mathematics."""
    return str(text).replace("$", r"\$")


def pyplot() -> Any:
    """matplotlib's pyplot, which needs no screen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as module

    return module

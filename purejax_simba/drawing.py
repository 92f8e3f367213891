"""Matplotlib, imported when something is drawn, for files only."""

from typing import Any


def pyplot() -> Any:
    """matplotlib's pyplot, which needs no screen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as module

    return module

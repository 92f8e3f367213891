"""What a sweep with populations says: who came from whom, and what the best had when."""

from pathlib import Path

import numpy as np
import pandas as pd

from purejax_simba.report.charts import Panel, Series, chart
from purejax_simba.report.sections import Charts, cards, note, table
from purejax_simba.report.style import OTHERS, Look
from purejax_simba.sweep.axes import Axis
from purejax_simba.sweep.lineage import Lineage, read_lineage

_WORDS = (
    "The best member of each population (of each seed) at the last generation, what it had in the "
    "end, and the mean return of all its members. The best of many noisy returns is too good to be "
    "true: fresh seeds that follow the schedule say what it is worth. Thick lines are the best "
    "members and all that they came from, thin ones all members, from whose return each came to "
    "which."
)
_RETURN = "return"


def lineage_content(directory: Path, name: str, charts: Charts) -> str:
    """A table and charts of the populations of a sweep, as HTML.

    Args:
      directory: of the sweep.
      name: of its section, with which the names of charts begin.
      charts: of the page.

    Raises:
      ConfigError: if the lineage is damaged.
    """
    lineage = read_lineage(directory)
    drawn = {panel.y: chart(panel) for panel in lineage_panels(lineage)}
    places = [charts.card(f"{name}/lineage", "Who came from whom", drawn.pop(_RETURN))]
    places += [charts.card(f"{name}/{axis}", axis, panel) for axis, panel in drawn.items()]
    return note(_WORDS) + table(pd.DataFrame(lineage.table())) + cards(places)


def lineage_panels(lineage: Lineage, title: str = "") -> list[Panel]:
    """Returns, and every hyperparameter, over env steps."""
    steps, values = lineage.env_steps, lineage.values[:-1]
    held = np.repeat(steps, 2)[1:-1]  # from one generation to the next
    returns = Panel(title, [], y=_RETURN)
    of_axes = [Panel(title, [], y=axis, scale=_scale(lineage, axis)) for axis in lineage.axes]
    for place, seed in enumerate(lineage.populations):
        look = Look(f"best of seed {seed}", OTHERS[place % len(OTHERS)])
        members = lineage.returns_of_members(place).swapaxes(0, 1)
        best = lineage.returns_of_best(place)
        returns.series.append(_series(look, steps, best, held.reshape(-1, 2), members))
        for number, panel in enumerate(of_axes):
            members = values[:, :, place, number].T.repeat(2, axis=1)[:, None]
            best = lineage.schedule(place)[:, number].repeat(2)
            panel.series.append(_series(look, held, best, held[None], members))
    return [returns, *of_axes]


def _scale(lineage: Lineage, axis: str) -> str:
    values = lineage.values[..., lineage.axes.index(axis)]
    return "log" if Axis(axis, "grid", tuple(values.ravel().tolist())).is_wide else "linear"


def _series(
    look: Look, x: np.ndarray, best: np.ndarray, thin_x: np.ndarray, thin: np.ndarray
) -> Series:
    """The line of the best, and thin ones `(M, lines, points)` of the members, apart.

    `x` are the steps of `best`, and `thin_x` those of thin lines, `(lines, points)`.
    """
    curve = pd.DataFrame({"mean": best, "low": np.nan, "high": np.nan, "missing": 0}, index=x)
    apart = ((0, 0), (0, 0), (0, 1))
    gaps = np.pad(thin, apart, constant_values=np.nan)
    ends = np.broadcast_to(np.pad(thin_x, apart[1:], mode="edge"), gaps.shape)
    members = pd.DataFrame({"members": gaps.ravel()}, index=ends.ravel())
    return Series(look, curve, True, members)

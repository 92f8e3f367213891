"""What a sweep with populations says: who came from whom, and what the best had when."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from purejax_simba.report.charts import STEPS, Chart, axes, literal, numbers
from purejax_simba.report.sections import Charts, cards, note, table
from purejax_simba.report.style import OTHERS
from purejax_simba.sweep.axes import Axis
from purejax_simba.sweep.lineage import read_lineage

_WORDS = (
    "The best member of each population (of each seed) at the last generation, what it had in the "
    "end, and the mean return of all its members. The best of many noisy returns is too good to be "
    "true: fresh seeds that follow the schedule say what it is worth. Thick lines are the best "
    "members and all that they came from, thin ones all members, from whose return each came to "
    "which."
)


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
    steps = lineage.env_steps
    returns, places = [], []
    for place, seed in enumerate(lineage.populations):
        pairs = lineage.returns_of_members(place)
        thin = [
            (step, value)
            for begin, end, members in zip(steps, steps[1:], pairs, strict=False)
            for before, after in members
            for step, value in ((begin, before), (end, after), (end, np.nan))
        ]
        returns += _lines(
            place, seed, thin, zip(steps, lineage.returns_of_best(place), strict=True)
        )
    layout = axes(STEPS, "return")
    places.append(
        charts.card(f"{name}/lineage", "Who came from whom", {"data": returns, "layout": layout})
    )
    for number, axis in enumerate(lineage.axes):
        data = []
        for place, seed in enumerate(lineage.populations):
            values = lineage.values[..., place, number]
            each = [[*zip(steps, member, strict=True), (steps[-1], np.nan)] for member in values.T]
            best = lineage.schedule(place)[:, number]
            thick = zip(steps, [*best, *best[-1:]], strict=False)
            data += _lines(place, seed, [point for member in each for point in member], thick, "hv")
        layout = axes(STEPS, axis)
        is_wide = Axis(axis, "grid", tuple(lineage.values[..., number].ravel().tolist())).is_wide
        layout["yaxis"]["type"] = "log" if is_wide else "-"
        places.append(charts.card(f"{name}/{axis}", axis, {"data": data, "layout": layout}))
    return note(_WORDS) + table(pd.DataFrame(lineage.table())) + cards(places)


def _lines(
    place: int,
    seed: int,
    thin: Iterable[tuple[float, float]],
    thick: Iterable[tuple[float, float]],
    shape: str = "linear",
) -> list[Chart]:
    """Lines of the members of a population, with NaN between them, and that of its best."""
    traces: list[Chart] = []
    for points, width, opacity in ((thin, 0.8, 0.4), (thick, 3, 1.0)):
        x, y = zip(*points, strict=True)
        line = {"color": OTHERS[place % len(OTHERS)], "width": width, "shape": shape}
        is_best = width > 1
        words = {"name": literal(f"best of seed {seed}"), "showlegend": is_best}
        words |= {"hoverinfo": "all" if is_best else "skip"}
        drawn = {"x": [int(step) for step in x], "y": numbers(np.array(y)), "mode": "lines"}
        traces.append(drawn | words | {"line": line, "opacity": opacity})
    return traces

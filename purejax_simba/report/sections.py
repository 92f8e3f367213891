"""Pieces of the page; pandas writes its tables."""

import html
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd

from purejax_simba.report.charts import HEIGHT, Chart, Series
from purejax_simba.report.style import DASHES

UNKNOWN = "-"
_WIDE = 24  # letters, beyond which a cell may have several lines


class Section(NamedTuple):
    """A section of the page: a name for links, a title for people, and its HTML."""

    name: str
    title: str
    content: str


class Charts(dict[str, Chart]):
    """The charts of a page by name, which are drawn when they come near the screen."""

    def card(self, name: str, title: str, chart: Chart) -> str:
        """Adds a chart; returns the place for it."""
        self[name] = chart
        height = chart["layout"].get("height", HEIGHT)
        place = f'<div class="chart" style="height: {height}px" data-chart="{html.escape(name)}">'
        place += "</div>"
        return f'<div class="card"><h3>{html.escape(title)}</h3>{place}</div>'


def show(value: Any) -> str:
    """A value for people: four digits of what is not whole, `UNKNOWN` for what is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNKNOWN
    if not _is_number(value):
        return str(value)
    if float(value).is_integer():
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:g}"
    if 0.1 <= abs(value) < 1e6:
        before_point = max(1, math.floor(math.log10(abs(value))) + 1)
        return f"{value:,.{max(0, 4 - before_point)}f}"
    return f"{value:.3g}"


def seeds_of(seeds: int, missing: int) -> int | str:
    """A number of seeds, and of how many it is where some are missing."""
    return f"{seeds} of {seeds + missing}" if missing else int(seeds)


def table(frame: pd.DataFrame, links: str = "") -> str:
    """A table that scrolls sideways.

    Args:
      frame: the bounds `<name>low` and `<name>high` of an interval become one column, and `missing`
        a part of `seeds`.
      links: the column that is HTML already.
    """
    columns: list[tuple[str, list[Any]]] = []
    for name in frame:
        values, title = frame[name].astype(object).tolist(), str(name)
        if title.endswith("low"):
            highs = frame[f"{name[: -len('low')]}high"]
            columns.append(("95% interval", [*map(_between, values, highs)]))
        elif name == "seeds" and "missing" in frame:
            columns.append((title, [*map(seeds_of, values, frame.missing)]))
        elif name != "missing" and not title.endswith("high"):
            columns.append((title, values))
    cells = [
        [f'<div class="wide">{v}</div>' for v in values] if title == links else map(_cell, values)
        for title, values in columns
    ]
    shown = pd.DataFrame(zip(*cells, strict=True), columns=[html.escape(t) for t, _ in columns])
    with pd.option_context("display.max_colwidth", None):
        text = shown.to_html(index=False, escape=False, border=0)
    return f'<div class="scroll">{text}</div>'


def _between(low: float, high: float) -> str:
    return UNKNOWN if math.isnan(low) else f"{show(low)} to {show(high)}"


def _cell(value: Any) -> str:
    text = html.escape(show(value))
    if _is_number(value):
        return f'<span class="number">{text}</span>'
    return f'<div class="wide">{text}</div>' if len(show(value)) > _WIDE else text


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def note(text: str) -> str:
    """A sentence of explanation."""
    return f'<p class="note">{html.escape(text)}</p>'


def legend(series: Iterable[Series]) -> str:
    """Each name with its line, or a dot where points are not joined."""
    shown = {s.look.label: (s.look, s.is_joined) for s in series}
    names = ""
    for label, (look, is_joined) in shown.items():
        dashes = (
            "" if look.dash == "solid" else " ".join(f"{2 * n:g}" for n in DASHES[look.dash][1])
        )
        line = f'<path d="M0 5H28" stroke="{look.color}" stroke-width="2"'
        line += f' stroke-dasharray="{dashes}"/>'
        sample = line if is_joined else f'<circle cx="14" cy="5" r="4" fill="{look.color}"/>'
        names += f'<span><svg width="28" height="10">{sample}</svg> {html.escape(label)}</span>'
    return f'<p class="legend">{names}</p>'


def cards(places: list[str]) -> str:
    """Charts side by side."""
    return f'<div class="charts">{"".join(places)}</div>'


def details(summary: str, content: str) -> str:
    """What is shown on demand."""
    return f"<details><summary>{html.escape(summary)}</summary>{content}</details>"

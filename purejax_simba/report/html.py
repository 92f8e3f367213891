"""Small pieces of HTML; every text is escaped where it goes in."""

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

UNKNOWN = "-"


class Markup(str):
    """Text that is HTML already."""


def escape(value: Any) -> Markup:
    """A value as HTML."""
    return value if isinstance(value, Markup) else Markup(html.escape(show(value)))


def show(value: Any) -> str:
    """A value for people: four digits of what is not whole, `UNKNOWN` for what is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNKNOWN
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if float(value).is_integer():
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:g}"
    if 0.1 <= abs(value) < 1e6:
        before_point = max(1, math.floor(math.log10(abs(value))) + 1)
        return f"{value:,.{max(0, 4 - before_point)}f}"
    return f"{value:.3g}"


def between(low: float, high: float) -> str:
    """An interval."""
    return UNKNOWN if math.isnan(low) else f"{show(low)} to {show(high)}"


def tag(name: str, content: Any, **attributes: str) -> Markup:
    """An element; `class_` stands for `class`, underscores for hyphens."""
    words = [name]
    for key, value in attributes.items():
        words.append(f'{key.rstrip("_").replace("_", "-")}="{html.escape(value)}"')
    return Markup(f"<{' '.join(words)}>{escape(content)}</{name}>")


def join(parts: Iterable[Markup]) -> Markup:
    """Pieces one after the other."""
    return Markup("\n".join(parts))


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    """A table that scrolls sideways; columns of numbers are aligned to the right."""
    rows = [list(row) for row in rows]
    numeric = [
        any(_is_number(row[column]) for row in rows)
        and all(_is_number(row[column]) or show(row[column]) == UNKNOWN for row in rows)
        for column in range(len(header))
    ]

    def cell(name: str, value: Any, column: int) -> Markup:
        if numeric[column]:
            return tag(name, value, class_="number")
        wide = len(show(value)) > 60
        return tag(name, value, class_="wide") if wide else tag(name, value)

    lines = [join(cell("th", title, column) for column, title in enumerate(header))]
    lines += [join(cell("td", value, column) for column, value in enumerate(row)) for row in rows]
    return tag("div", tag("table", join(tag("tr", line) for line in lines)), class_="scroll")


def section(name: str, title: str, *parts: Markup) -> Markup:
    """A section that links can lead to."""
    return tag("section", join([tag("h2", title), *parts]), id=name)


def details(summary: str, content: Markup) -> Markup:
    """What is shown on demand."""
    return tag("details", join([tag("summary", summary), content]))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

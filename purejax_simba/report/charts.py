"""What a figure is, and its two pictures: by matplotlib in files, by plotly in the page."""

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from purejax_simba import drawing
from purejax_simba.config import step_title
from purejax_simba.files import check_output
from purejax_simba.report.style import DASHES, MARKERS, Look, steps_label
from purejax_simba.waiting import count_of

Chart = dict[str, Any]  # a specification for plotly.js
# What runs count: in an environment, with a dataset, and some of these among some of those.
STEPS, UPDATES, BOTH = step_title(False), step_title(True), "environment steps or updates"
FORMATS = (".pdf", ".svg", ".png")
HEIGHT = 320  # of a chart in the page, in pixels
# Inches: the narrowest figure, a line of the legend, what is beside its labels, and a letter.
_NARROWEST, _LEGEND_LINE, _LEGEND_SAMPLE, _LETTER = 4.2, 0.18, 0.6, 0.065
# A legend of very many is larger than an interactive chart: the page has one for all of them.
_MOST_NAMES = 12
# Pixels of a row, and of what is above and below all.
_ROW, _FRAME = 20, 80
_DIGITS = 5
_MOST_CIRCLES = 50  # of a line, which would hide it
_CIRCLES: Any = {"linestyle": "none", "marker": "o", "markersize": 4, "markerfacecolor": "none"}
_STYLE = Path(__file__).parent / "assets" / "figures.mplstyle"


class Series(NamedTuple):
    """A method in a panel.

    Attributes:
      look: of the method.
      curve: columns `mean`, `low`, `high` and `missing`, see `methods`; the index is what the
        horizontal axis shows.
      is_joined: whether it is a line with a band; if not, points with their intervals.
      thin: a column per thin line, of which its name says what it is.
    """

    look: Look
    curve: pd.DataFrame
    is_joined: bool = False
    thin: pd.DataFrame | None = None


@dataclass(frozen=True)
class Panel:
    """A pair of axes.

    Attributes:
      title: above it.
      series: in the order of the legend.
      x: title of the horizontal axis.
      y: title of the vertical axis.
      are_rows: whether every series is a row with its label, and numbers are horizontal.
      is_log: whether the horizontal axis is logarithmic.
      scale: of the vertical axis: `linear`, `log` or `zero`, which begins there.
      limits: of the horizontal axis, if data do not tell.
      reference: a number to compare with.
    """

    title: str
    series: list[Series]
    x: str = STEPS
    y: str = ""
    are_rows: bool = False
    is_log: bool = False
    scale: str = "linear"
    limits: tuple[float, float] | None = None
    reference: float | None = None


@dataclass(frozen=True)
class Figure:
    """Panels side by side with one legend.

    Attributes:
      panels: row by row.
      y: what all vertical axes show, if panels do not say.
      size: of a panel, in inches.
      columns: of panels; 0 for as many as look good.
    """

    panels: list[Panel]
    y: str = ""
    size: tuple[float, float] = (4.0, 2.4)
    columns: int = 0


def save(figure: Figure, directory: Path, name: str) -> list[Path]:
    """Writes `<name>.pdf`, `.svg` and `.png`; returns the files."""
    paths = [directory / f"{name}{suffix}" for suffix in FORMATS]
    for path in paths:
        check_output(path)
    drawn = draw(figure)
    drawn.draw_without_rendering()
    drawn.set_layout_engine("none")  # once is enough for all formats
    for path in paths:
        drawing.save(drawn, path, dpi=None)
    return paths


def draw(figure: Figure) -> Any:
    """The figure by matplotlib."""
    pyplot = drawing.pyplot()
    pyplot.style.use(_STYLE)
    count, titles = len(figure.panels), {panel.x for panel in figure.panels}
    columns = figure.columns or (
        count if count <= 4 else 3 if count <= 6 else 4 if count <= 16 else 8
    )
    rows = -(-count // columns)
    width, height = figure.size
    labels = max(len(_row_label(s)) * p.are_rows for p in figure.panels for s in p.series)
    size = max(columns * width + 0.3 + _LETTER * labels, _NARROWEST), rows * height + 0.6
    drawn, grid = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for unused in grid.flat[count:]:
        unused.remove()
    for place, (panel, axes) in enumerate(zip(figure.panels, grid.flat, strict=False)):
        if panel.are_rows:
            _draw_rows(axes, panel, with_labels=place % columns == 0)
        else:
            for series in panel.series:
                _draw_series(axes, series)
            _scale_axes(axes, panel)
        axes.set(title=drawing.plain(panel.title), ylabel=drawing.plain(panel.y))
        if len(titles) > 1:
            axes.set_xlabel(drawing.plain(panel.x))
    if len(titles) == 1:
        drawn.supxlabel(drawing.plain(figure.panels[0].x), fontsize=8)
    if rows == 1 and figure.y:
        grid[0][0].set_ylabel(figure.y)  # beside the panel, whatever is above it
    else:
        drawn.supylabel(figure.y, fontsize=8)
    _draw_legend(drawn, figure)
    return drawn


def _draw_series(axes: Any, series: Series) -> None:
    look, curve = series.look, series.curve
    x, color = curve.index.to_numpy(), look.color
    if not series.is_joined:
        axes.errorbar(
            x,
            curve["mean"],
            yerr=_lengths(curve),
            color=color,
            linestyle="none",
            marker=MARKERS[look.marker],
            markersize=4,
            markeredgecolor="white",
            markeredgewidth=0.4,
            elinewidth=0.8,
            zorder=3,
        )
        return
    marker = MARKERS[look.marker] if len(curve) < 3 else None
    if series.thin is not None:
        axes.plot(series.thin.index, series.thin, color=color, linewidth=0.5, alpha=0.45)
    axes.fill_between(x, curve.low, curve.high, color=color, alpha=0.18, linewidth=0)
    axes.plot(x, curve["mean"], color=color, ls=DASHES[look.dash], marker=marker, markersize=2.5)
    fewer = curve[curve.missing > 0]
    fewer = fewer.iloc[:: -(-len(fewer) // _MOST_CIRCLES) or 1]
    axes.plot(fewer.index, fewer["mean"], color=color, **_CIRCLES)


def _draw_rows(axes: Any, panel: Panel, with_labels: bool) -> None:
    for row, series in enumerate(panel.series):
        (value,), (low, high) = series.curve["mean"], _lengths(series.curve)
        color = series.look.color
        axes.errorbar(value, row, xerr=(low, high), color=color, fmt="o", markersize=4, capsize=2)
        place = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center"}
        axes.annotate(f"{value:.3f}", (value, row), fontsize=6, **place)
    labels = [drawing.plain(_row_label(s)) if with_labels else "" for s in panel.series]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(panel.series) - 0.4, -0.7)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.15)
    axes.xaxis.get_major_locator().set_params(nbins=4)
    if panel.reference is not None:
        axes.axvline(panel.reference, color="0.4", linewidth=0.8, linestyle="--")
    if panel.limits:
        axes.set_xlim(panel.limits)


def _scale_axes(axes: Any, panel: Panel) -> None:
    if panel.is_log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(_first_digits)
    else:
        axes.xaxis.get_major_locator().set_params(nbins=4)
    if panel.x in (STEPS, UPDATES, BOTH):
        axes.xaxis.set_major_formatter(steps_label)
    if panel.scale == "log":
        axes.set_yscale("log")
    elif panel.scale == "zero":
        axes.set_ylim(0, 1.1 * axes.dataLim.y1)
    if panel.limits:
        axes.set_xlim(panel.limits)


def _first_digits(value: float, _: int = 0) -> str:
    """Ticks of a logarithmic axis between powers of ten: 20 and 50, the others without a label."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _draw_legend(drawn: Any, figure: Figure) -> None:
    from matplotlib.lines import Line2D

    shown = [s for p in figure.panels for s in p.series if not p.are_rows and len(s.curve)]
    shown.sort(key=lambda series: series.is_joined)
    handles: list[Line2D] = []
    for look, is_joined in {s.look.label: (s.look, s.is_joined) for s in shown}.values():
        style: Any = {"linestyle": "none", "marker": MARKERS[look.marker], "markersize": 4}
        if is_joined:
            style = {"linestyle": DASHES[look.dash]}
        handles.append(Line2D([], [], color=look.color, label=drawing.plain(look.label), **style))
    if any((s.curve.missing > 0).any() for s in shown):
        handles.append(Line2D([], [], color="black", label="some seeds missing", **_CIRCLES))
    if handles:
        width = _LEGEND_SAMPLE + _LETTER * max(len(str(line.get_label())) for line in handles)
        columns = min(max(1, int(drawn.get_figwidth() // width)), len(handles))
        lines = -(-len(handles) // columns)
        drawn.set_figheight(drawn.get_figheight() + _LEGEND_LINE * (lines - 1))
        drawn.legend(handles=handles, loc="outside upper center", ncols=columns)


def _lengths(curve: pd.DataFrame) -> list[np.ndarray]:
    """How far an interval goes below and above the mean; 0 where there is none."""
    below, above = curve["mean"] - curve.low, curve.high - curve["mean"]
    return [np.maximum(0.0, length.fillna(0.0).to_numpy(float)) for length in (below, above)]


def chart(panel: Panel, y: str = "") -> Chart:
    """A panel by plotly, for the page; `y` is the title of the vertical axis if it has none."""
    shown = [series for series in panel.series if len(series.curve)]
    has_legend = not panel.are_rows and len({series.look.label for series in shown}) <= _MOST_NAMES
    drawn: Chart = {
        "data": [trace for s in shown for trace in ([_row(s)] if panel.are_rows else _traces(s))],
        "layout": axes(panel.x, panel.y or y) | {"showlegend": has_legend},
    }
    x_axis, y_axis = drawn["layout"]["xaxis"], drawn["layout"]["yaxis"]
    if panel.are_rows:
        y_axis["autorange"] = "reversed"
        drawn["layout"] |= tall(len(shown))
    if panel.is_log:
        x_axis |= {"type": "log", "dtick": "D2"}  # labels at 1, 2 and 5
    elif panel.limits:
        x_axis["range"] = [*panel.limits]
    y_axis |= {"log": {"type": "log"}, "zero": {"rangemode": "tozero"}}.get(panel.scale, {})
    if panel.reference is not None:
        line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": {"dash": "dash"}}
        drawn["layout"]["shapes"] = [line | {"x0": panel.reference, "x1": panel.reference}]
    return drawn


def axes(x: str, y: str = "") -> dict[str, Any]:
    """The layout of a chart whose axes have these titles; the rest is in `page.js`."""
    return {"xaxis": {"title": {"text": literal(x)}}, "yaxis": {"title": {"text": literal(y)}}}


def tall(rows: int) -> dict[str, int]:
    """The height of a chart of so many rows, each with its label, where the usual is too low."""
    height = _FRAME + _ROW * rows
    return {"height": height} if height > HEIGHT else {}


def literal(text: Any) -> str:
    """Words that users choose, which plotly would read as HTML."""
    return html.escape(str(text), quote=False)


def _traces(series: Series) -> list[Chart]:
    look, curve = series.look, series.curve
    line: Chart = {
        "x": curve.index.tolist(),
        "y": numbers(curve["mean"]),
        "name": literal(look.label),
        "legendgroup": look.label,
    }
    if any(curve.missing):
        line["text"] = [
            f", {count_of(count, 'seed')} missing" if count else "" for count in curve.missing
        ]
        line["hovertemplate"] = "%{x:,}: %{y:.4g}%{text}"
    if not series.is_joined:
        marker = {"color": look.color, "symbol": look.marker, "size": 7}
        return [line | {"mode": "markers", "marker": marker, "error_y": errors(series)}]
    mode = "lines+markers" if len(curve) < 3 else "lines"
    line |= {"mode": mode, "line": {"color": look.color, "dash": look.dash}}
    silent = {"mode": "lines", "legendgroup": look.label, "showlegend": False}
    known = curve.dropna()
    band = {
        "x": [*known.index.tolist(), *known.index[::-1].tolist()],
        "y": [*numbers(known.low), *numbers(known.high[::-1])],
        "fill": "toself",
        "fillcolor": f"{look.color}29",  # the last two digits are the opacity
        "line": {"width": 0},
        "hoverinfo": "skip",
    }
    of_thin = [] if series.thin is None else series.thin.items()
    thin = [
        {
            "x": values.index.tolist(),
            "y": numbers(values),
            "name": literal(f"{look.label}, {name}"),
            "line": {"color": look.color, "width": 0.8},
            "opacity": 0.45,
        }
        for name, values in of_thin
    ]
    return [*([band | silent] if len(known) else []), line, *(one | silent for one in thin)]


def _row_label(series: Series) -> str:
    missing = int(series.curve.missing.max())
    return series.look.label + (f", {count_of(missing, 'seed')} missing" if missing else "")


def _row(series: Series) -> Chart:
    return {
        "x": numbers(series.curve["mean"]),
        "y": [literal(_row_label(series))],
        "mode": "markers",
        "marker": {"color": series.look.color, "size": 8},
        "error_x": errors(series),
        "hovertemplate": "%{y}: %{x:.4g}<extra></extra>",
    }


def errors(series: Series) -> Chart:
    """The interval around each mean of a series."""
    below, above = _lengths(series.curve)
    ends = {"array": numbers(above), "arrayminus": numbers(below), "symmetric": False}
    return {"type": "data", "thickness": 1, "width": 3, "color": series.look.color} | ends


def numbers(values: pd.Series | np.ndarray) -> list[float | None]:
    """Values with few digits; none where they are not finite, which JSON cannot say."""
    return [
        float(f"{v:.{_DIGITS}g}") if np.isfinite(v) else None for v in np.asarray(values, float)
    ]

"""How things look: the same colour for the same agent everywhere, readable in print."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from purejax_simba import drawing
from purejax_simba.report.methods import Method, Published

# Okabe and Ito, "Color universal design" (2008): distinct with every kind of colour vision.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, AMBER, GREY, BLACK = "#56B4E9", "#E69F00", "#7F7F7F", "#000000"
# Tol's "muted" ones (personal.sron.nl/~pault), where these are used up.
WINE, OLIVE, TEAL = "#882255", "#999933", "#44AA99"
# Colour and label.
_AGENTS = {
    "simba_v2": (BLUE, "SimbaV2"),
    "simba": (ORANGE, "SimBa"),
    "sac": (GREY, "SAC"),
    "bro": (GREEN, "BRO"),
    "crossq": (WINE, "CrossQ"),
    "redq": (OLIVE, "REDQ"),
    "droq": (TEAL, "DroQ"),
    "td3": (AMBER, "TD3"),
    "random": (BLACK, "random actions"),
}
_OF_PUBLISHED = {
    "simbaV2": BLUE,
    "simbav2": BLUE,
    "simba_plus": AMBER,
    "simba": ORANGE,
    "bro": GREEN,
    "tdmpc2": PURPLE,
    "mrq": SKY,
    "sac": GREY,
    "crossq": WINE,
    "redq": OLIVE,
    "droq": TEAL,
    "flashsac": BLACK,
    "xqc": WINE,
    "ppo": OLIVE,
    "fasttd3": AMBER,
}
_OTHERS = (SKY, PURPLE, GREEN, AMBER, BLACK, ORANGE, GREY, BLUE)
_DASHES = ("solid", (0, (5, 1.5)), (0, (6, 1.5, 1.5, 1.5)), (0, (3, 1)), (0, (9, 1.5)))
_SHADES = (0.0, -0.45, 0.4, -0.7, 0.65)
_MARKERS = "osD^vPX*<>"
# What published names begin with, and what their other parts mean.
_PUBLISHED_NAMES = {
    "simbaV2": "SimbaV2",
    "simbav2": "SimbaV2",
    "simba": "SimBa",
    "bro": "BRO",
    "tdmpc2": "TD-MPC2",
    "mrq": "MR.Q",
    "sac": "SAC",
    "crossq": "CrossQ",
    "redq": "REDQ",
    "droq": "DroQ",
    "flashsac": "FlashSAC",
    "fasttd3": "FastTD3",
    "xqc": "XQC",
    "ppo": "PPO",
}
_PARTS = {"reset": "resets", "gpu": "GPU", "cpu": ""}
LETTER = 0.065  # inches, about the width of one
FORMATS = (".pdf", ".svg", ".png")
_SETTINGS: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # letters stay letters
    "svg.fonttype": "none",
}


class Look(NamedTuple):
    """Of a method, in every figure.

    Attributes:
      color: as `#rrggbb`.
      dash: matplotlib's line style.
      marker: matplotlib's marker.
      label: for legends.
    """

    color: str
    dash: Any
    marker: str
    label: str


def looks(methods: Iterable[Method]) -> dict[str, Look]:
    """Name -> look. Experiments of the same agent have shades of its colour, and other dashes.
    Published algorithms of the same colour have other markers.

    Where an agent has more experiments than there are shades, the others get other colours. Where
    agents are compared, labels say which each is.
    """
    methods = list(methods)
    ours = [method for method in methods if not isinstance(method, Published)]
    compares_agents = len({method.agent for method in ours}) > 1
    found: dict[str, Look] = {}
    of_agent: dict[str, int] = {}
    others = 0
    for method in methods:
        if isinstance(method, Published):
            color = published_color(method.name)
            before = sum(look.color == color for look in found.values())
            marker = _MARKERS[before % len(_MARKERS)]
            found[method.name] = Look(color, "none", marker, label(method))
            continue
        number = of_agent.get(method.agent, 0)
        of_agent[method.agent] = number + 1
        known = _AGENTS.get(method.agent)
        if known and number < len(_SHADES):
            color = _shade(known[0], _SHADES[number])
        else:
            color = _OTHERS[others % len(_OTHERS)]
            others += 1
        dash, marker = _DASHES[number % len(_DASHES)], _MARKERS[number % len(_MARKERS)]
        name = label(method)
        if compares_agents and known and method.agent != name:
            name = f"{known[1]} ({name})"
        found[method.name] = Look(color, dash, marker, name)
    return found


def _shade(color: str, amount: float) -> str:
    """Towards white for amounts above 0, towards black below."""
    end = 255 if amount > 0 else 0
    parts = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(p + (end - p) * abs(amount)):02X}" for p in parts)


def published_color(algorithm: str) -> str:
    """The colour of a published algorithm, that of our agent of the same kind."""
    starts = [start for start in _OF_PUBLISHED if algorithm.startswith(start)]
    return _OF_PUBLISHED[max(starts, key=len)] if starts else BLACK


def _published_label(name: str) -> str:
    """`simbaV2_utd4_reset` -> SimbaV2 (UTD 4, resets); names of others stay."""
    family, *rest = name.split("_")
    if family not in _PUBLISHED_NAMES:
        return name
    parts = [re.sub(r"^utd(?=\d)", "UTD ", _PARTS.get(part, part)) for part in rest]
    words = ", ".join(part for part in parts if part)
    return f"{_PUBLISHED_NAMES[family]} ({words})" if words else _PUBLISHED_NAMES[family]


def label(method: Method) -> str:
    """What a method is called in legends."""
    if isinstance(method, Published):
        return f"{_published_label(method.name)}, {method.source}"
    return method.name


def pyplot() -> Any:
    """matplotlib's pyplot with these settings, for files only."""
    module = drawing.pyplot()
    module.rcParams.update(_SETTINGS)
    return module


def save(figure: Any, directory: Path, name: str) -> list[Path]:
    """Writes `<name>.pdf`, `.svg` and `.png` and closes the figure; returns the files."""
    directory.mkdir(parents=True, exist_ok=True)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # once is enough for all formats
    paths = [directory / f"{name}{suffix}" for suffix in FORMATS]
    for path in paths:
        figure.savefig(path)
    pyplot().close(figure)
    return paths


def first_digits(value: float, _: int = 0) -> str:
    """Ticks of a logarithmic axis between powers of ten: 20 and 50, the others without a label."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def steps_label(step: float, _: int = 0) -> str:
    """Env steps on an axis: 500k, 1M."""
    if step >= 1e6:
        return f"{step / 1e6:g}M"
    return f"{step / 1e3:g}k" if step >= 1e3 else f"{step:g}"

"""How methods look: the same colour for the same agent everywhere, readable in print."""

from collections.abc import Iterable, Set
from typing import Any, NamedTuple

from purejax_simba.report.methods import Method, Published

# Okabe and Ito, "Color universal design" (2008): distinct with every kind of colour vision.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY, AMBER, GREY, BLACK = "#56B4E9", "#E69F00", "#7F7F7F", "#000000"
# Tol's "muted" ones (personal.sron.nl/~pault), where these are used up.
WINE, OLIVE, TEAL, INDIGO = "#882255", "#999933", "#44AA99", "#332288"
# Colour and label of an agent.
AGENTS = {
    "simba_v2": (BLUE, "SimbaV2"),
    "simba_plus": (AMBER, "SimBa+"),
    "simba": (ORANGE, "SimBa"),
    "sac": (GREY, "SAC"),
    "bro": (GREEN, "BRO"),
    "crossq": (WINE, "CrossQ"),
    "redq": (OLIVE, "REDQ"),
    "droq": (TEAL, "DroQ"),
    "td3": (AMBER, "TD3"),
    "flash_sac": (BLACK, "FlashSAC"),
    "random": (INDIGO, "random actions"),
    "tdmpc2": (PURPLE, "TD-MPC2"),
    "mrq": (SKY, "MR.Q"),
    "flashsac": (BLACK, "FlashSAC"),
    "fasttd3": (AMBER, "FastTD3"),
    "xqc": (WINE, "XQC"),
    "ppo": (OLIVE, "PPO"),
}
# Of what is no agent, too.
OTHERS = (SKY, PURPLE, GREEN, AMBER, BLACK, ORANGE, GREY, BLUE)
_SHADES = (0.0, -0.45, 0.4, -0.7, 0.65)
# As plotly names them; and what they are in matplotlib.
DASHES: dict[str, Any] = {
    "solid": "solid",
    "dash": (0, (5, 1.5)),
    "dashdot": (0, (6, 1.5, 1.5, 1.5)),
}
DASHES |= {"dot": (0, (3, 1)), "longdash": (0, (9, 1.5))}
MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "cross": "P"}
MARKERS |= {"triangle-down": "v", "x": "X", "star": "*", "triangle-left": "<"}


class Look(NamedTuple):
    """Of a method, in every figure.

    Attributes:
      label: for legends.
      color: as `#rrggbb`.
      dash: of lines, one of `DASHES`.
      marker: of points, one of `MARKERS`.
    """

    label: str
    color: str
    dash: str = "solid"
    marker: str = "circle"


def looks(methods: Iterable[Method]) -> dict[Method, Look]:
    """Method -> look. Experiments of the same agent have shades of its colour, and other dashes.
    Published algorithms of the same colour have other markers.

    Where an agent has more experiments than there are shades, the others get other colours. No two
    experiments have the same colour and dash, as long as there are any left. Where agents are
    compared, labels say which each is.
    """
    methods = list(methods)
    compares_agents = len({m.agent for m in methods if not isinstance(m, Published)}) > 1
    found: dict[Method, Look] = {}
    of_agent: dict[str, int] = {}
    others = 0
    taken: set[tuple[str, str]] = set()
    for method in methods:
        if isinstance(method, Published):
            color, label = AGENTS.get(method.agent, (BLACK, ""))[0], method.label
            number = sum(look.color == color for look in found.values())
        else:
            number = of_agent.get(method.agent, 0)
            of_agent[method.agent] = number + 1
            label, known = method.name, AGENTS.get(method.agent)
            if known and number < len(_SHADES):
                color = _shade(known[0], _SHADES[number])
            else:
                color = OTHERS[others % len(OTHERS)]
                others += 1
            if compares_agents and known and method.agent != label:
                label = f"{known[1]} ({label})"
        dash, marker = ([*values][number % len(values)] for values in (DASHES, MARKERS))
        if not isinstance(method, Published):
            color, dash = _free(color, dash, taken)
            taken.add((color, dash))
        found[method] = Look(label, color, dash, marker)
    return found


def _free(color: str, dash: str, taken: Set[tuple[str, str]]) -> tuple[str, str]:
    """A colour and a dash that are not taken, as near to these as there are any.

    The same if they are free, or else another dash, or else another shade or colour.
    """
    shades = [_shade(other, amount) for amount in _SHADES for other in OTHERS]
    choices = [(other, each) for other in (color, *shades) for each in (dash, *DASHES)]
    return next((choice for choice in choices if choice not in taken), (color, dash))


def _shade(color: str, amount: float) -> str:
    """Towards white for amounts above 0, towards black below."""
    end = 255 if amount > 0 else 0
    parts = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(p + (end - p) * abs(amount)):02X}" for p in parts)


def steps_label(step: float, _: int = 0) -> str:
    """Env steps on an axis: 500k, 1M."""
    if step >= 1e6:
        return f"{step / 1e6:g}M"
    return f"{step / 1e3:g}k" if step >= 1e3 else f"{step:g}"

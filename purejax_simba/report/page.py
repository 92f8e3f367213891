"""One page that holds everything about runs and needs no network to be opened."""

import datetime
import json
import os
from collections.abc import Sequence
from pathlib import Path
from string import Template

import plotly.offline

from purejax_simba.config import ConfigError
from purejax_simba.report import charts, result_section, sections, sweep_section
from purejax_simba.report.html import Markup, escape, join, tag
from purejax_simba.report.methods import experiments_of, given_algorithms
from purejax_simba.report.reading import read
from purejax_simba.runs.result_files import replace_text
from purejax_simba.waiting import still

_ASSETS = Path(__file__).parent / "assets"


@still("reading and drawing")
def write_page(paths: Sequence[Path], output: Path, refresh: float | None = None) -> str:
    """Reads runs and writes the page about them.

    Args:
      paths: see `reading.read`.
      output: the file to write; links in it are relative to its directory.
      refresh: seconds after which a browser loads it again; None for never.

    Returns:
      A line that says what is in it.

    Raises:
      ConfigError: if a path does not exist, or the page cannot be written.
    """
    collection = read(paths)
    experiments = experiments_of(collection)
    specs: dict[str, charts.Spec] = {}
    place = output.resolve().parent
    parts = [
        sections.overview(experiments, place),
        sections.troubles(experiments),
        result_section.results(experiments),
        sections.curves(experiments, given_algorithms(collection), specs),
        sections.metrics(experiments, specs),
        *(
            sweep_section.sweep(directory, number, specs)
            for number, directory in enumerate(collection.sweeps)
        ),
        sections.videos(experiments, place),
        sections.configurations(experiments),
        sections.left_out(collection, place),
    ]
    shown = [part for part in parts if part is not None]
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    runs = f"{len(collection.runs)} run{'s' * (len(collection.runs) != 1)}"
    page = Template((_ASSETS / "page.html").read_text()).substitute(
        refresh=f'<meta http-equiv="refresh" content="{refresh:g}">' if refresh else "",
        title=escape(", ".join(experiment.name for experiment in experiments[:4]) or "No results"),
        subtitle=escape(f"{runs} in {', '.join(map(str, paths))}; {now}"),
        style=(_ASSETS / "page.css").read_text(),
        links=join(tag("a", part.title, href=f"#{part.name}") for part in shown),
        sections=join(Markup(part.content) for part in shown),
        # A script ends at the first "</", wherever that stands.
        charts=json.dumps(specs, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        plotly=plotly.offline.get_plotlyjs(),
        script=(_ASSETS / "page.js").read_text(),
    )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        replace_text(output, page)
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror}") from error
    size = os.path.getsize(output) / 1e6
    omitted = f", {len(collection.left_out)} things left out" if collection.left_out else ""
    return f"{output}: {runs}{omitted}, {size:.1f} MB"

"""Reports on runs: a page, figures, an index.

python -m purejax_simba.report <directory>...
python -m purejax_simba.report figures <directory>... --output <directory>
python -m purejax_simba.report index <directory>
"""

if __name__ == "__main__":
    from purejax_simba import stopping

    stopping.hear()  # while the rest is imported, too

import argparse
import sys
from pathlib import Path

from purejax_simba.agents import registry
from purejax_simba.commands import one_line_errors
from purejax_simba.config import ConfigError
from purejax_simba.errors import require
from purejax_simba.waiting import say, still

_PACKAGES = ("pandas", "plotly")
_SECONDS = 30.0
_DAY = 86_400.0


def page(words: list[str]) -> None:
    """Writes one self-contained HTML page about runs."""
    parser = _parser("python -m purejax_simba.report", page)
    parser.add_argument("--output", type=Path, default=Path("report.html"), help="the page")
    parser.add_argument(
        "--watch", action="store_true", help="write it again when runs get on, until Ctrl-C"
    )
    parser.add_argument("--interval", type=float, help=f"seconds, with --watch ({_SECONDS:g})")
    own = "of sweeps, if it is your own"
    parser.add_argument("--agent.name", action="append", default=[], dest="agents", help=own)
    arguments = parser.parse_args(words)
    interval = _SECONDS if arguments.interval is None else arguments.interval
    if not 0 < interval <= _DAY:
        raise ConfigError(f"--interval is {interval}: give seconds above 0, {_DAY:.0f} at most")
    if arguments.interval is not None and not arguments.watch:
        raise ConfigError("--interval is of no use without --watch")
    for agent in arguments.agents:
        registry.agent_settings(agent)
    from purejax_simba.report.page import watch, write_page

    if arguments.watch:
        watch(arguments.paths, arguments.output, interval)
    else:
        print(write_page(arguments.paths, arguments.output))


def figures(words: list[str]) -> None:
    """Draws the paper's kinds of figure as pdf, svg and png; without runs the published ones."""
    parser = _parser("python -m purejax_simba.report figures", figures, "*")
    parser.add_argument("--output", type=Path, required=True, help="a directory for the figures")
    arguments = parser.parse_args(words)
    from purejax_simba.report.charts import Figure, Panel, save
    from purejax_simba.report.figures import FIGURES
    from purejax_simba.report.methods import Methods
    from purejax_simba.report.reading import read
    from purejax_simba.report.sweeps import lineage_panels, steps_title
    from purejax_simba.sweep.lineage import has_lineage, read_lineage

    with still("reading"):
        collection = read(arguments.paths)
        methods = Methods(collection)
    lineages = [directory for directory in collection.sweeps if has_lineage(directory)]
    for path, reason in collection.left_out:
        say(f"left out: {path} {reason}")
    panels: list[Panel] = []
    for directory in lineages:
        try:
            lineage, x = read_lineage(directory), steps_title(directory)
            panels += lineage_panels(lineage, directory.name, x)
        except ConfigError as error:
            say(f"left out: {error}")
    # Of a population alone there is nothing to put beside published results.
    is_compared = methods.ours or len(collection.published) or not arguments.paths
    drawn = dict(FIGURES) if is_compared else {}
    if panels:
        drawn["lineages"] = lambda _: Figure(panels, size=(3.2, 2.2))
    if not drawn:
        raise ConfigError(f"no results in {', '.join(map(str, arguments.paths))}")
    for name, make in drawn.items():
        with still("drawing"):
            figure = make(methods)
            files = save(figure, arguments.output, name) if figure else []
        print(f"{name}: {', '.join(map(str, files)) or 'nothing to draw'}")


def index(words: list[str]) -> None:
    """Writes the table of the runs in a directory into its README.md."""
    parser = _parser("python -m purejax_simba.report index", index, 1)
    (directory,) = parser.parse_args(words).paths
    from purejax_simba.report.index import write_index

    with still("reading"):
        file = write_index(directory)
    print(file)


def main(words: list[str]) -> int:
    """Runs the command line; returns the exit status."""
    commands = {"figures": figures, "index": index}
    with one_line_errors("give the same command again") as outcome:
        for name in _PACKAGES:
            require(name, "report")
        if words and words[0] in commands:
            commands[words[0]](words[1:])
        else:
            page(words)
    return outcome.status


def _parser(program: str, command, count: str | int = "+") -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description=command.__doc__.splitlines()[0])
    parser.add_argument(
        "paths",
        nargs=count,
        type=Path,
        metavar="directory",
        help="run directories, what is above them, or result files (csv)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""One page that holds everything about runs and needs no network to be opened."""

import base64
import contextlib
import datetime
import html
import json
import mimetypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
import plotly.offline

from purejax_simba.files import check_output, write_text
from purejax_simba.report import figures, tables
from purejax_simba.report.charts import Figure, Panel, Series, chart
from purejax_simba.report.methods import Methods, is_ambiguous
from purejax_simba.report.published import normalized_metric
from purejax_simba.report.reading import Collection, Run, read, result_files
from purejax_simba.report.sections import Charts, Section, cards, details, legend, note, table
from purejax_simba.report.sessions import overview, sessions_of, troubles_of
from purejax_simba.report.style import looks
from purejax_simba.report.sweeps import sweep_section
from purejax_simba.stopping import stop_requests
from purejax_simba.waiting import count_of, still

_ASSETS = Path(__file__).parent / "assets"
# Videos are put into the page while they fit, and are links beyond.
MOST_VIDEO_BYTES = 3_000_000
# Lines of single seeds would make the page too large beyond so many values.
MOST_SEED_VALUES = 200_000
_SESSION = ["experiment", "task", "begun", "updated", "status", "first_env_step", "env_step"]
_SESSION += ["startup_seconds", "seconds", "machine", "versions", "command"]
_RATES = (
    "Rates count all seeds that train together, of several configurations if that is how they were "
    "trained; wall time includes compilation and evaluation."
)
_LAST = (
    "At the last evaluation: interquartile mean over seeds with its bootstrap 95% interval, mean "
    "and standard deviation, of the seeds that have a value then."
)
_OTHER_EPISODES = (
    "Neither normalised nor beside published figures, because some runs have episodes of another "
    "length, and so returns of another size: "
)
_MIXED = (
    "Runs with a dataset count updates, and the others environment steps: no figure over tasks has "
    "both."
)
_ORIGIN = (
    "Means over seeds at the last env step that both have; the difference is ours less the "
    "published one, with Welch's 95% interval. Published are means from the files that accompany "
    "SimbaV2 (arXiv 2502.15280), of the same agent with as many updates per env step; network "
    "sizes, batches and the rest are its paper's, and SimbaV2's were made with an earlier version "
    "of its code."
)
_AMBIGUOUS = (
    "On the MuJoCo suite it is unknown what the names of the published files count: utd2 may be "
    "two updates per env step, or one, which is the published default. Runs are beside both."
)
# See `tests.returns`.
_IN_OTHER_VERSIONS = ("myosuite/myo-pose", "myosuite/myo-reach-hard")
_VERSIONS = (
    "Published runs on MyoSuite were made with a version before 3, in which myo-reach-hard ended "
    "nearer to its targets and the target of myo-pose was another one; the returns of their "
    "untrained policies are those of such a version. There ours are not of the same task."
)
_NORMALISED = (
    "(score - low) / (high - low) per task, the paper's; over the tasks of each suite that the "
    "experiment has, at the last env step at which all were evaluated; stratified bootstrap 95% "
    "intervals."
)
_CURVES = (
    "Mean over seeds with its 95% interval; thin lines are seeds, markers published means. Drag to "
    "zoom, double-click to go back."
)
_CLICK = " Click on a name to hide it."
_KEY = " There are too many names for a legend in every chart; point at a line to see its name."


@still("reading and drawing")
def write_page(paths: Sequence[Path], output: Path, refresh: float | None = None) -> str:
    """Reads runs and writes the page about them; returns a line that says what is in it.

    Args:
      paths: see `reading.read`.
      output: the file to write; links in it are relative to its directory.
      refresh: seconds after which a browser loads it again; None for never.

    Raises:
      ConfigError: if a path does not exist, or the page cannot be written.
    """
    collection = read(paths)
    check_output(output)
    methods, runs = Methods(collection), collection.runs
    charts = Charts()
    place = output.resolve().parent
    sections = [_overview(runs, place), _troubles(runs)]
    if methods.ours:
        sections += [_results(methods), _curves(methods, charts), _summaries(methods, charts)]
        sections.append(_metrics(methods, charts))
    numbered = enumerate(collection.sweeps)
    sections += [sweep_section(directory, number, charts) for number, directory in numbered]
    sections += [_videos(runs, place), _configurations(methods), _left_out(collection, place)]
    shown = [section for section in sections if section.content]
    count = count_of(len(runs), "run")
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    page = Template((_ASSETS / "page.html").read_text()).substitute(
        refresh=f'<meta http-equiv="refresh" content="{refresh:g}">' if refresh else "",
        title=html.escape(", ".join(e.name for e in methods.ours[:4]) or "No results"),
        subtitle=html.escape(f"{count} in {', '.join(map(str, paths))}; {now}"),
        style=(_ASSETS / "page.css").read_text(),
        links="\n".join(f'<a href="#{s.name}">{html.escape(s.title)}</a>' for s in shown),
        sections="\n".join(
            f'<section id="{s.name}"><h2>{html.escape(s.title)}</h2>{s.content}</section>'
            for s in shown
        ),
        # A script ends at the first "</", wherever that stands.
        charts=json.dumps(charts, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        plotly=plotly.offline.get_plotlyjs(),
        script=(_ASSETS / "page.js").read_text(),
    )
    write_text(output, page)
    size = os.path.getsize(output) / 1e6
    left_out = len(collection.left_out)
    omitted = f", {count_of(left_out, 'thing')} left out" if left_out else ""
    return f"{output}: {count}{omitted}, {size:.1f} MB"


def watch(paths: Sequence[Path], output: Path, interval: float) -> None:
    """Writes the page whenever result files change, until a signal, then once more.

    A browser that shows the page loads it again after each interval, in seconds.

    Raises:
      SystemExit: after a signal, with the status that shells give it.
    """
    seen: dict[Path, tuple[int, int]] | None = None
    with stop_requests("a last page") as request:
        while request.signal is None:
            now = {}
            for file in result_files(paths):
                with contextlib.suppress(OSError):  # replaced just now
                    status = file.stat()
                    now[file] = (status.st_mtime_ns, status.st_size)
            if now != seen:
                seen = now
                print(write_page(paths, output, interval), flush=True)
            request.wait(interval)
        print(write_page(paths, output), flush=True)
        raise SystemExit(128 + request.signal)


def _overview(runs: Sequence[Run], place: Path) -> Section:
    rows = pd.DataFrame(overview(run) | {"files": _links(run, place)} for run in runs)
    content = table(rows, links="files") + note(_RATES)
    if any(run.sessions for run in runs):
        sessions = pd.concat([sessions_of(run) for run in runs])[_SESSION].rename(
            columns=lambda name: name.replace("_", " ")
        )
        sessions = _counted(sessions, all(run.is_offline for run in runs))
        content += details("Commands, versions and machines", table(sessions))
    return Section("runs", "Runs", content)


def _troubles(runs: Sequence[Run]) -> Section:
    rows = [
        {"experiment": run.experiment, "task": run.task, "what": line}
        for run in runs
        for line in troubles_of(run)
    ]
    content = table(pd.DataFrame(rows)) if rows else ""
    return Section("troubles", "Diverged, missing, failed or unfinished", content)


def _results(methods: Methods) -> Section:
    rows = _counted(tables.results(methods.ours), methods.are_offline)
    content = note(_LAST) + table(rows)
    compared = tables.comparisons(methods.ours)
    if len(compared):
        words = note(_ORIGIN) + note(_AMBIGUOUS) * any(map(is_ambiguous, compared.task))
        words += note(_VERSIONS) * any(task in _IN_OTHER_VERSIONS for task in compared.task)
        content += f"<h3>Beside the published figures</h3>{words}{table(compared)}"
    others = [task for task in methods.tasks if not methods.has_published_episodes(task)]
    content += note(_OTHER_EPISODES + ", ".join(others)) * bool(others)
    content += note(_MIXED) * methods.are_mixed
    aggregates = _counted(tables.aggregates(methods.ours), methods.are_offline)
    if len(aggregates):
        content += f"<h3>Normalised scores</h3>{note(_NORMALISED)}{table(aggregates)}"
    compared = tables.aggregate_comparisons(methods.ours)
    if len(compared):
        content += f"<h3>Normalised means beside the published ones</h3>{table(compared)}"
    return Section("results", "Results", content)


def _counted(rows: pd.DataFrame, are_updates: bool) -> pd.DataFrame:
    """The rows with columns named after what is counted, where all of it is updates."""
    names = {name: name.replace("env step", "update") for name in rows}
    return rows.rename(columns=names) if are_updates else rows


def _curves(methods: Methods, charts: Charts) -> Section:
    figure = figures.learning_curves(methods, with_seeds=_with_seeds(methods))
    places, has_legend = [], []
    for task, panel in zip(methods.tasks, figure.panels, strict=True):
        drawn = chart(panel)
        has_legend.append(drawn["layout"]["showlegend"])
        places.append(charts.card(f"curves/{task}", f"{task}: {normalized_metric(task)}", drawn))
    words = note(_CURVES + _CLICK * any(has_legend) + _KEY * (not all(has_legend)))
    key = "" if all(has_legend) else legend([s for p in figure.panels for s in p.series])
    return Section("curves", "Learning curves", words + key + cards(places))


def _summaries(methods: Methods, charts: Charts) -> Section:
    """The figures over several tasks, of which only those with something to show are there."""
    found: list[tuple[str, Figure]] = [
        (name, figure)
        for name, draw in figures.FIGURES.items()
        if name not in ("learning_curves", "norms") and (figure := draw(methods))
    ]
    places = [
        charts.card(
            f"{name}/{panel.title}",
            f"{name.replace('_', ' ').capitalize()}{': ' * bool(panel.title)}{panel.title}",
            chart(panel, figure.y),
        )
        for name, figure in found
        for panel in figure.panels
    ]
    return Section("summaries", "Over all tasks", cards(places) if places else "")


def _metrics(methods: Methods, charts: Charts) -> Section:
    """Everything else that was measured, a group of charts per task."""
    look, content = looks(methods.ours), ""
    for task in methods.tasks:
        shown = [experiment for experiment in methods.ours if task in experiment.runs]
        metrics = set().union(*(e.runs[task].metrics.metric for e in shown))
        places = []
        for metric in sorted(metrics - {normalized_metric(task)}):
            series = []
            for experiment in shown:
                curve = experiment.curve(task, metric)
                seeds = experiment.runs[task].table(metric) if _with_seeds(methods) else None
                series.append(Series(look[experiment], curve, True, seeds))
            shown_series = [s for s in series if len(s.curve)]
            drawn = chart(Panel(metric, shown_series, figures.steps_title(methods)))
            places.append(charts.card(f"metrics/{task}/{metric}", metric, drawn))
        content += details(task, cards(places)) if places else ""
    return Section("metrics", "Losses and diagnostics", content)


def _with_seeds(methods: Methods) -> bool:
    runs = (run for experiment in methods.ours for run in experiment.runs.values())
    return sum(len(run.metrics) for run in runs) <= MOST_SEED_VALUES


def _videos(runs: Sequence[Run], place: Path) -> Section:
    """Videos of policies, in the page while they are small."""
    content, room = "", MOST_VIDEO_BYTES
    films = [(run, path, title) for run in runs for path, title in run.films.items()]
    for run, path, title in films:
        source = html.escape(_link(path, place))
        if path.stat().st_size <= room:
            room -= path.stat().st_size
            kind = mimetypes.guess_type(path.name)[0] or "video/mp4"
            source = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
        player = f'<video src="{source}" controls loop muted preload="metadata"></video>'
        if path.suffix in (".gif", ".png"):
            player = f'<img src="{source}" alt="{html.escape(path.stem)}">'
        words = html.escape(f"{run.experiment}, {run.task}, {title}")
        content += f"<div>{player}<p>{words}</p></div>"
    return Section("videos", "Videos", f'<div class="videos">{content}</div>' if content else "")


def _configurations(methods: Methods) -> Section:
    """What differs between experiments, and every value of each."""
    known = {experiment.name: experiment.config for experiment in methods.ours if experiment.config}
    content = f"<h3>What differs</h3>{table(_different(known))}" if len(known) > 1 else ""
    for experiment in methods.ours:
        of_tasks = {task: run.config for task, run in experiment.runs.items() if run.config}
        if len(of_tasks) > 1 and len(rows := _different(of_tasks)):
            content += details(f"What differs between the tasks: {experiment.name}", table(rows))
    for name, config in known.items():
        own = pd.DataFrame(sorted(config.items()), columns=["name", "value"], dtype=object)
        content += details(f"All values: {name}, {config.get('task')}", table(own.map(_plain)))
    return Section("configurations", "Configurations", content)


def _different(configs: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The settings that are not the same in all configurations, a row each."""
    values = pd.DataFrame(configs, dtype=object).sort_index().map(_plain)
    settings = values.drop(["task", "experiment", "output", "seed"], errors="ignore")
    different = settings[settings.nunique(axis=1) > 1]
    return different.rename_axis("setting").reset_index()


def _plain(value: object) -> str:
    return "" if value is None or value is pd.NA or value != value else str(value)


def _left_out(collection: Collection, place: Path) -> Section:
    rows = [(_relative(path, place), reason) for path, reason in collection.left_out]
    content = table(pd.DataFrame(rows, columns=["what", "why"])) if rows else ""
    return Section("left-out", "Left out", content)


def _links(run: Run, place: Path) -> str:
    is_file = run.directory.is_file()
    files = [run.directory] if is_file else sorted(filter(Path.is_file, run.directory.iterdir()))
    return ", ".join(
        f'<a href="{html.escape(_link(path, place))}">{html.escape(path.name)}</a>'
        for path in files
    )


def _link(path: Path, place: Path) -> str:
    return _relative(path, place).replace("%", "%25").replace("#", "%23").replace("?", "%3F")


def _relative(path: Path, place: Path) -> str:
    return Path(os.path.relpath(os.path.realpath(path), place)).as_posix()

"""The sections of the page."""

import base64
import html
import mimetypes
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from purejax_simba.report.charts import MOST_SEED_VALUES, Spec, learning_curve, metric_choices
from purejax_simba.report.html import UNKNOWN, Markup, details, join, section, table, tag
from purejax_simba.report.methods import Experiment, Published
from purejax_simba.report.published import normalized_metric
from purejax_simba.report.reading import Collection, Run
from purejax_simba.report.sessions import FACTS, Sessions

# Videos are put into the page while they fit, and are links beyond.
MOST_VIDEO_BYTES = 3_000_000


class Section(NamedTuple):
    """A section of the page.

    Attributes:
      name: for links.
      title: for people.
      content: HTML.
    """

    name: str
    title: str
    content: Markup


def make(name: str, title: str, *parts: Markup) -> Section:
    """A section with these parts."""
    return Section(name, title, section(name, title, *parts))


def note(text: str) -> Markup:
    """A sentence of explanation."""
    return tag("p", text, class_="note")


def chart(name: str, title: str, choices: Sequence[str] = ()) -> Markup:
    """A place for the chart of this name, with a choice if it has several."""
    parts = [tag("h3", title)]
    if choices:
        options = join(tag("option", choice, value=choice) for choice in choices)
        parts.append(tag("select", options, data_chart=name, aria_label=f"metric of {title}"))
    parts.append(tag("div", "", class_="chart", data_chart=name))
    return tag("div", join(parts), class_="card")


def overview(experiments: Sequence[Experiment], place: Path) -> Section:
    """What was run: a row per run."""
    header = ["experiment", "task", "agent", "seeds", "env steps", "of", "status", "wall time"]
    header += ["env steps/s", "updates/s", "devices", "files"]
    rows = []
    for experiment in experiments:
        for run in experiment.runs.values():
            sessions = Sessions(run)
            rows.append(
                [
                    experiment.name,
                    run.task,
                    run.agent or UNKNOWN,
                    len(run.seeds),
                    run.env_step,
                    run.total_steps,
                    sessions.status,
                    sessions.wall_time,
                    sessions.env_steps_per_second,
                    sessions.updates_per_second,
                    sessions.devices,
                    _links(run, place),
                ]
            )
    words = (
        "Rates count all seeds that train together, of several configurations if that is how they "
        "were trained; wall time includes compilation and evaluation."
    )
    parts = [table(header, rows), note(words)]
    facts = [row for e in experiments for run in e.runs.values() for row in Sessions(run).facts()]
    if facts:
        parts.append(details("Commands, versions and machines", table(FACTS, facts)))
    return make("runs", "Runs", *parts)


def troubles(experiments: Sequence[Experiment]) -> Section | None:
    """Seeds that diverged, missing values, sessions that failed, runs that are not finished."""
    rows = []
    for experiment in experiments:
        for run in experiment.runs.values():
            for seed, step in sorted(run.diverged.items()):
                words = f"seed {seed} diverged at env step {step:,}: its results end there"
                rows.append([experiment.name, run.task, words])
            for (seed, metric), lost in run.missing.groupby(["seed", "metric"]):
                words = (
                    f"{metric} of seed {seed} was not finite at {_steps(lost.env_step)}: "
                    "it is missing there, and means are of the other seeds"
                )
                rows.append([experiment.name, run.task, words])
            rows += [[experiment.name, run.task, line] for line in Sessions(run).troubles()]
    if not rows:
        return None
    return make(
        "troubles",
        "Diverged, missing, failed or unfinished",
        table(["experiment", "task", "what"], rows),
    )


def _steps(steps: Iterable[int]) -> str:
    first, *others = sorted(steps)
    more = f" and {len(others)} other evaluation{'s' * (len(others) > 1)}" if others else ""
    return f"env step {first:,}{more}"


def curves(
    experiments: Sequence[Experiment], given: Sequence[Published], specs: dict[str, Spec]
) -> Section | None:
    """A chart per task; `given` are published algorithms to show beside."""
    if not experiments:
        return None
    parts = []
    for number, task in enumerate(_tasks(experiments)):
        name = f"curve-{number}"
        specs[name] = learning_curve(experiments, task, _with_seeds(experiments), given)
        parts.append(chart(name, f"{task}: {normalized_metric(task)}"))
    return make(
        "curves",
        "Learning curves",
        note(
            "Mean over seeds with its 95% interval; thin lines are seeds, markers published means. "
            "Click on a name to hide it, drag to zoom, double-click to go back."
        ),
        tag("div", join(parts), class_="charts"),
    )


def metrics(experiments: Sequence[Experiment], specs: dict[str, Spec]) -> Section | None:
    """A chart per task for everything else that was measured, one at a time."""
    parts = []
    for number, task in enumerate(_tasks(experiments)):
        spec = metric_choices(experiments, task, _with_seeds(experiments))
        if spec["choices"]:
            name = f"metrics-{number}"
            specs[name] = spec
            parts.append(chart(name, task, list(spec["choices"])))
    if not parts:
        return None
    return make("metrics", "Losses and diagnostics", tag("div", join(parts), class_="charts"))


def videos(experiments: Sequence[Experiment], place: Path) -> Section | None:
    """Videos of policies, in the page while they are small."""
    parts = []
    room = MOST_VIDEO_BYTES
    for experiment in experiments:
        for run in experiment.runs.values():
            for path, title in run.films:
                size = path.stat().st_size
                source = _link(path, place)
                if size <= room:
                    room -= size
                    kind = mimetypes.guess_type(path.name)[0] or "video/mp4"
                    data = base64.b64encode(path.read_bytes()).decode()
                    source = f"data:{kind};base64,{data}"
                words = tag("p", f"{experiment.name}, {run.task}, {title}")
                parts.append(tag("div", join([_player(path, source), words])))
    if not parts:
        return None
    return make("videos", "Videos", tag("div", join(parts), class_="videos"))


def _player(path: Path, source: str) -> Markup:
    if path.suffix in (".gif", ".png"):
        return Markup(f'<img src="{html.escape(source)}" alt="{html.escape(path.stem)}">')
    return tag("video", "", src=source, controls="", loop="", muted="", preload="metadata")


def configurations(experiments: Sequence[Experiment]) -> Section | None:
    """What differs between experiments, and every value of each."""
    known = [experiment for experiment in experiments if experiment.config]
    if not known:
        return None
    names = sorted(set().union(*(experiment.config for experiment in known)))
    parts = []
    ignored = ("task", "experiment", "output", "seed")
    if len(known) > 1:
        different = [
            name
            for name in names
            if name not in ignored and len({str(e.config.get(name)) for e in known}) > 1
        ]
        rows = [[name, *(_plain(e.config.get(name)) for e in known)] for name in different]
        parts += [tag("h3", "What differs"), table(["", *(e.name for e in known)], rows)]
    for experiment in known:
        values = [[name, _plain(value)] for name, value in sorted(experiment.config.items())]
        parts.append(details(f"All values: {experiment.name}", table(["name", "value"], values)))
    return make("configurations", "Configurations", *parts)


def left_out(collection: Collection, place: Path) -> Section | None:
    """What could not be read, and why."""
    if not collection.left_out:
        return None
    rows = [[_relative(path, place), reason] for path, reason in collection.left_out]
    return make("left-out", "Left out", table(["what", "why"], rows))


def _plain(value: Any) -> str:
    return "" if value is None else str(value)


def _tasks(experiments: Sequence[Experiment]) -> list[str]:
    return sorted(set().union(*(experiment.runs for experiment in experiments)))


def _with_seeds(experiments: Sequence[Experiment]) -> bool:
    values = sum(len(run.metrics) for e in experiments for run in e.runs.values())
    return values <= MOST_SEED_VALUES


def _links(run: Run, place: Path) -> Markup:
    if run.directory.is_file():
        return tag("a", run.directory.name, href=_link(run.directory, place))
    files = sorted(path for path in run.directory.iterdir() if path.is_file())
    return Markup(", ".join(tag("a", path.name, href=_link(path, place)) for path in files))


def _link(path: Path, place: Path) -> str:
    return _relative(path, place).replace("%", "%25").replace("#", "%23").replace("?", "%3F")


def _relative(path: Path, place: Path) -> str:
    return Path(os.path.relpath(path.resolve(), place)).as_posix()

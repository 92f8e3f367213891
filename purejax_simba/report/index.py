"""The index of the runs in a directory, in its README.md between two marks."""

from pathlib import Path

from purejax_simba.config import ConfigError
from purejax_simba.report.html import UNKNOWN
from purejax_simba.report.reading import Run, read
from purejax_simba.report.tables import LastScore, last_scores, seeds_of
from purejax_simba.runs.result_files import CONFIG_FILE, CURVE_FILE, METRICS_FILE, replace_text
from purejax_simba.runs.session_record import RECORD_FILE

BEGIN, END = "<!-- index of runs: begin -->", "<!-- index of runs: end -->"
INDEX_FILE = "README.md"
_HEADER = ["run", "env steps", "seeds", "return", "date", "versions", "machine", "files"]


def write_index(directory: Path) -> str:
    """Writes the table of all runs below a directory into its README.md.

    What stands there outside of the two marks stays; without marks the table goes to the end.

    Returns:
      A line that says what was written.

    Raises:
      ConfigError: if there are no runs, or the file cannot be written.
    """
    collection = read([directory])
    if not collection.runs:
        raise ConfigError(f"no results in {directory}")
    path = directory / INDEX_FILE
    lines = [_row(_HEADER), _row(["---"] * len(_HEADER))]
    lines += [_row(_cells(run, directory)) for run in collection.runs]
    places: dict[str, list[str]] = {}
    for run in (run for run in collection.runs if run.sessions):
        place = f"`{_place(run, directory)}`"
        places.setdefault(str(run.sessions[0].get("command")), []).append(place)
    commands = [f"- {', '.join(runs)}: `{command}`" for command, runs in places.items()]
    table = "\n".join([BEGIN, "", *lines, "", *commands, *([""] if commands else []), END])
    try:
        text = path.read_text() if path.exists() else "# Results\n"
        if BEGIN in text and END in text:
            before, _, rest = text.partition(BEGIN)
            text = before + table + rest.partition(END)[2]
        else:
            text = f"{text.rstrip()}\n\n{table}\n"
        replace_text(path, text)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    return f"{path}: {len(collection.runs)} runs"


def _cells(run: Run, directory: Path) -> list[str]:
    session = run.sessions[-1] if run.sessions else {}
    versions = session.get("versions") or {}
    shown = [f"{name} {versions[name]}" for name in ("jax", "mujoco") if name in versions]
    if "revision" in versions:
        shown.append(f"commit {versions['revision'][:12]}")
    score = last_scores(run)
    files = [
        f"[{name}]({(run.directory / name).relative_to(directory).as_posix()})"
        for name in (METRICS_FILE, CURVE_FILE, CONFIG_FILE, RECORD_FILE)
        if (run.directory / name).is_file()
    ]
    return [
        f"`{_place(run, directory)}`",
        f"{run.env_step:,}",
        str(seeds_of(score.seeds, score.missing)),
        _show(score),
        str(session.get("begun", UNKNOWN)).partition("T")[0],
        ", ".join(shown) or UNKNOWN,
        str(session.get("machine", UNKNOWN)),
        ", ".join(files),
    ]


def _show(score: LastScore) -> str:
    if not score.seeds:
        return UNKNOWN
    return f"{score.mean:.1f} ± {score.std:.1f}" if score.seeds > 1 else f"{score.mean:.1f}"


def _place(run: Run, directory: Path) -> str:
    return run.directory.relative_to(directory).as_posix()


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"

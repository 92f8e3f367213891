"""The index of the runs in a directory, in its README.md between two marks."""

import html
import os
import re
import subprocess
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from purejax_simba.config import ConfigError
from purejax_simba.files import check_output, read_bytes, reading, write_text
from purejax_simba.report.methods import Experiment
from purejax_simba.report.published import RETURN
from purejax_simba.report.reading import Run, read
from purejax_simba.report.sections import UNKNOWN, seeds_of
from purejax_simba.report.tables import results
from purejax_simba.runs.result_files import CONFIG_FILE, CURVE_FILE, METRICS_FILE
from purejax_simba.runs.session_record import RECORD_FILE
from purejax_simba.waiting import count_of

BEGIN, END = "<!-- index of runs: begin -->", "<!-- index of runs: end -->"
INDEX_FILE = "README.md"
_HEADER = ["run", "env steps", "seeds", "return", "date", "versions", "machine", "files"]


def write_index(directory: Path) -> str:
    """Writes the table of all runs below a directory into its README.md; returns a line about it.

    Runs that git ignores are not in it: who reads the file elsewhere does not have them. What
    stands there outside of the two marks stays; without marks the table goes to the end.

    Raises:
      ConfigError: if there are no runs, or the file cannot be written.
    """
    found = read([directory]).runs
    ignored = _ignored([run.directory for run in found], directory)
    runs = [run for run in found if run.directory not in ignored]
    left_out = f", without {len(found) - len(runs)} that git ignores" if ignored else ""
    if not runs:
        raise ConfigError(f"no results in {directory}{left_out}")
    path = directory / INDEX_FILE
    lines = [_HEADER, ["---"] * len(_HEADER), *(_cells(run, directory) for run in runs)]
    bar = "\\|"  # in code too
    table = [f"| {' | '.join(cell.replace('|', bar) for cell in line)} |" for line in lines]
    places: dict[str, list[str]] = {}
    for run in (run for run in runs if run.sessions):
        command = str(run.sessions[0].get("command"))
        places.setdefault(command, []).append(_code(_place(run, directory)))
    commands = [f"- {', '.join(of_runs)}: {_code(known)}" for known, of_runs in places.items()]
    text = "\n".join([BEGIN, "", *table, "", *commands, *([""] if commands else []), END])
    known = "# Results\n"
    check_output(path)
    if path.exists():
        with reading(path):
            known = read_bytes(path).decode()
    if BEGIN in known and END in known:
        before, _, rest = known.partition(BEGIN)
        text = before + text + rest.partition(END)[2]
    else:
        text = f"{known.rstrip()}\n\n{text}\n"
    write_text(path, text)
    return f"{path}: {count_of(len(runs), 'run')}{left_out}"


def _ignored(places: Sequence[Path], directory: Path) -> set[Path]:
    """Those that git ignores; none where there is no git, or no work tree."""
    names = b"\0".join(os.fsencode(place.absolute()) for place in places)
    try:
        command = ["git", "check-ignore", "--stdin", "-z"]
        told = subprocess.run(command, cwd=directory, input=names, capture_output=True)
    except OSError:
        return set()
    answered = set(told.stdout.split(b"\0"))
    return {place for place in places if os.fsencode(place.absolute()) in answered}


def _code(text: str) -> str:
    """As it is, within backticks of which it does not have as many."""
    text = " ".join(text.split())
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " * bool(longest)
    return f"{fence}{space}{text}{space}{fence}"


def _plain(text: str) -> str:
    """Words that are neither HTML nor Markdown."""
    return re.sub(r"([\\`*\[\]])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _cells(run: Run, directory: Path) -> list[str]:
    session = run.sessions[-1] if run.sessions else {}
    versions = session.get("versions") or {}
    shown = [f"{name} {versions[name]}" for name in ("jax", "mujoco") if name in versions]
    if "revision" in versions:
        shown.append(f"commit {versions['revision'][:12]}")
    found = results([Experiment(run.experiment, [run])]).set_index("metric").loc[RETURN]
    spread = f" ± {found['std']:.1f}" if found.seeds > 1 else ""
    files = [
        f"[{name}]({urllib.parse.quote((run.directory / name).relative_to(directory).as_posix())})"
        for name in (METRICS_FILE, CURVE_FILE, CONFIG_FILE, RECORD_FILE)
        if (run.directory / name).is_file()
    ]
    return [
        _code(_place(run, directory)),
        f"{run.env_step:,}",
        str(seeds_of(found.seeds, found.missing)),
        f"{found['mean']:.1f}{spread}" if found.seeds else UNKNOWN,
        _plain(str(session.get("begun", UNKNOWN)).partition("T")[0]),
        _plain(", ".join(shown) or UNKNOWN),
        _plain(str(session.get("machine", UNKNOWN))),
        ", ".join(files),
    ]


def _place(run: Run, directory: Path) -> str:
    return run.directory.relative_to(directory).as_posix()

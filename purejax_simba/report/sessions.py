"""How runs were made: their sessions in words and numbers."""

from typing import Any

import numpy as np
import pandas as pd

from purejax_simba.report.reading import Run
from purejax_simba.report.sections import UNKNOWN
from purejax_simba.runs.session_record import FINISHED, RUNNING
from purejax_simba.waiting import count_of

_NUMBERS = ["first_env_step", "env_step", "updates", "seconds", "startup_seconds"]
_NUMBERS += ["runs_together"]
_WORDS = ["begun", "updated", "status", "machine", "devices", "versions", "command"]


def sessions_of(run: Run) -> pd.DataFrame:
    """A row per session; what was not recorded is 0 or `UNKNOWN`."""
    rows = pd.DataFrame(list(run.sessions)).reindex(columns=[*_NUMBERS, *_WORDS])
    numbers = rows[_NUMBERS].astype(float).replace([np.inf, -np.inf], np.nan).fillna(0.0)
    words = rows[_WORDS].astype(object).fillna(UNKNOWN).astype(str)
    words["versions"] = [
        ", ".join(f"{name} {version}" for name, version in known.items())
        if isinstance(known, dict)
        else UNKNOWN
        for known in rows.versions
    ]
    named = words.assign(experiment=run.experiment, task=run.task)
    return pd.concat([named, numbers], axis=1)


def status_of(run: Run) -> str:
    """How the last session ended, or how far the run is from its end."""
    total = run.total_steps
    is_short = isinstance(total, int | float) and run.env_step < total
    if not run.sessions:
        return "ended early" if is_short else UNKNOWN
    last = sessions_of(run).iloc[-1]
    if last.status == RUNNING:
        return f"running, or killed after {last.updated}"
    return "ended early" if last.status == FINISHED and is_short else last.status


def overview(run: Run) -> dict[str, Any]:
    """Of all sessions: how far it came and how fast, of all seeds that train together.

    With a dataset steps are updates, of which there is one rate.
    """
    sessions = sessions_of(run)
    seconds = sessions.seconds.sum()
    whole = round(seconds + sessions.startup_seconds.sum())
    minutes, rest = divmod(whole, 60)
    steps = ((sessions.env_step - sessions.first_env_step) * sessions.runs_together).sum()
    return {
        "experiment": run.experiment,
        "task": run.task,
        "agent": run.agent or UNKNOWN,
        "seeds": len(run.seeds),
        run.step_name: run.env_step,
        "of": run.total_steps,
        "status": status_of(run),
        "wall time": f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if whole else UNKNOWN,
        f"{run.step_name}/s": steps / seconds if seconds else None,
        "updates/s": sessions.updates.sum() / seconds if seconds else None,
        "devices": sessions.devices.iloc[-1] if len(sessions) else UNKNOWN,
    }


def wall_seconds(run: Run) -> pd.Series:
    """Seconds from the beginning of a run to the end of each evaluation or checkpoint, by env step.

    All that its sessions took counts, also what was lost when one was killed (of the time since it
    last noted anything nothing is known), and nothing between them. What was noted twice, by a
    session that had nothing left to do, counts from the first time. Evaluations whose time was not
    recorded are left out.
    """
    times: dict[int, float] = {}
    before = 0.0
    for session in run.sessions:
        first = session.get("first_env_step", 0)
        known = {step: passed for step, passed in times.items() if step <= first}
        times = {int(step): before + passed for step, passed in session.get("times", [])} | known
        before += session.get("startup_seconds", 0.0) + session.get("seconds", 0.0)
    return pd.Series(times, dtype=float)


def troubles_of(run: Run) -> list[str]:
    """Seeds that diverged, values that are missing, sessions that did not end well."""
    lines = [
        f"seed {seed} diverged at {step:,} {run.step_name}: its results end there"
        for seed, step in sorted(run.diverged.items())
    ]
    lost = run.metrics[run.metrics.value.isna()].sort_values("env_step")
    for (seed, metric), steps in lost.groupby(["seed", "metric"]).env_step:
        others = f" and {count_of(len(steps) - 1, 'other evaluation')}"
        lines.append(
            f"{metric} of seed {seed} was not finite at {steps.iloc[0]:,} {run.step_name}"
            f"{others * (len(steps) > 1)}: it is missing there, and means are of the other seeds"
        )
    lines += [
        f"the session begun {session.begun} {session.status}"
        for session in sessions_of(run).itertuples()
        if session.status.startswith("failed")
    ]
    status = status_of(run)
    if status.startswith(("ended early", "stopped", RUNNING)):
        goal = f" of {run.total_steps:,}" if isinstance(run.total_steps, int) else ""
        lines.append(f"{status}: {run.env_step:,}{goal} {run.step_name}")
    return lines

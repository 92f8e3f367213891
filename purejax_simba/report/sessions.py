"""How a run was made: its sessions in words and numbers."""

from typing import Any

from purejax_simba.report.html import UNKNOWN
from purejax_simba.report.reading import Run
from purejax_simba.runs.session_record import FINISHED, RUNNING

FACTS = ["experiment", "task", "begun", "ended", "status", "env steps", "seconds", "to start"]
FACTS += ["machine", "versions", "command"]


class Sessions:
    """The sessions of a run; nothing is known where nothing was recorded."""

    def __init__(self, run: Run):
        """Reads `run.sessions`."""
        self._run = run
        self._sessions = run.sessions

    @property
    def status(self) -> str:
        """How the last session ended, or how far the run is from its end."""
        total = self._run.total_steps
        is_short = isinstance(total, int | float) and self._run.env_step < total
        if not self._sessions:
            return "ended early" if is_short else UNKNOWN
        status = str(self._sessions[-1].get("status", UNKNOWN))
        if status == RUNNING:
            return f"running, or killed after {self._sessions[-1].get('updated', UNKNOWN)}"
        return "ended early" if status == FINISHED and is_short else status

    @property
    def wall_time(self) -> str:
        """Of all sessions, as h:mm:ss."""
        seconds = self._sum("seconds") + self._sum("startup_seconds")
        if not seconds:
            return UNKNOWN
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"

    @property
    def env_steps_per_second(self) -> float | None:
        """Of all seeds that train together."""
        steps = sum(
            (_number(s, "env_step") - _number(s, "first_env_step")) * _number(s, "runs_together")
            for s in self._sessions
        )
        return self._rate(steps)

    @property
    def updates_per_second(self) -> float | None:
        """Of all seeds that train together."""
        return self._rate(self._sum("updates"))

    @property
    def devices(self) -> str:
        """Of the last session."""
        return str(self._sessions[-1].get("devices", UNKNOWN)) if self._sessions else UNKNOWN

    def troubles(self) -> list[str]:
        """Lines about sessions that did not end well."""
        lines = [
            f"the session begun {s.get('begun', UNKNOWN)} {s['status']}"
            for s in self._sessions
            if str(s.get("status", "")).startswith("failed")
        ]
        if self.status.startswith(("ended early", "stopped", RUNNING)):
            total = self._run.total_steps
            goal = f" of {total:,}" if isinstance(total, int) else ""
            lines.append(f"{self.status}: {self._run.env_step:,}{goal} env steps")
        return lines

    def facts(self) -> list[list[Any]]:
        """A row per session, its columns `FACTS`."""
        return [self._row(session) for session in self._sessions]

    def _row(self, session: dict[str, Any]) -> list[Any]:
        steps = f"{_number(session, 'first_env_step'):,.0f} to {_number(session, 'env_step'):,.0f}"
        seconds = _number(session, "seconds") + _number(session, "startup_seconds")
        versions = session.get("versions")
        known = versions if isinstance(versions, dict) else {}
        return [
            self._run.experiment,
            self._run.task,
            session.get("begun"),
            session.get("updated"),
            session.get("status"),
            steps,
            seconds,
            _number(session, "startup_seconds"),
            session.get("machine"),
            ", ".join(f"{name} {version}" for name, version in known.items()),
            session.get("command"),
        ]

    def _sum(self, name: str) -> float:
        return sum(_number(session, name) for session in self._sessions)

    def _rate(self, count: float) -> float | None:
        seconds = self._sum("seconds")
        return count / seconds if seconds else None


def _number(session: dict[str, Any], name: str) -> float:
    value = session.get(name, 0)
    return float(value) if isinstance(value, int | float) else 0.0

"""Weights & Biases: one of its runs per seed, those of a configuration in one group."""

import netrc
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import wandb

from purejax_simba.errors import first_line
from purejax_simba.files import read_json, write_json
from purejax_simba.runs.result_files import WANDB_IDS_FILE
from purejax_simba.waiting import say

_INIT_SECONDS = 30.0
# Uploads that take longer at the end are left to `wandb sync`.
_FINISH_SECONDS = 60.0


class WandbLogger:
    """Logs to W&B, or where that cannot be reached to `<run directory>/wandb/` for `wandb sync`.

    The variables of W&B's own choose the rest: WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE.
    """

    def __init__(self, directory: Path, config: dict[str, Any]):
        """`directory` is that of the run, which remembers what its runs are called at W&B."""
        self._directory = directory
        self._config = config
        self._runs: dict[str, Any] = {}
        self._mode: Any = os.environ.get("WANDB_MODE")
        if self._mode is None and not _has_credentials():
            self._go_offline("nobody is logged in: `wandb login`")

    def write(self, run: str, env_step: int, metrics: Mapping[str, float]) -> None:
        """See `Logger.write`."""
        if run not in self._runs:
            self._runs[run] = self._start(run)
        self._runs[run].log(dict(metrics), step=env_step)

    def close(self) -> None:
        """Waits for what is still being uploaded, a minute per run at most."""
        for run in self._runs.values():
            run.finish()

    def _start(self, run: str) -> Any:
        try:
            return self._init(run)
        except wandb.Error as error:
            if self._mode in ("offline", "disabled"):
                raise
            self._go_offline(first_line(error))
            return self._init(run)

    def _init(self, run: str) -> Any:
        name = f"{self._config['experiment']}/{self._config['task']}"
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "purejax_simba"),
            group=name,
            name=f"{name} {run}",
            id=self._id(run),
            resume=None if self._mode == "offline" else "allow",
            config=self._config,
            dir=self._directory,
            mode=self._mode,
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                quiet=True,
                init_timeout=_INIT_SECONDS,
                finish_timeout=_FINISH_SECONDS,
            ),
        )

    def _id(self, run: str) -> str:
        path = self._directory / WANDB_IDS_FILE
        ids = read_json(path, dict[str, str], {})
        if run not in ids:
            ids[run] = secrets.token_hex(4)
            write_json(path, ids)
        return ids[run]

    def _go_offline(self, reason: str) -> None:
        self._mode = "offline"
        say(
            f"warning: W&B cannot be used ({reason}): logging to {self._directory}/wandb, "
            "for `wandb sync`"
        )


def _has_credentials() -> bool:
    """Whether W&B would begin without asking for a key, which a training has no answer to."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False

"""A run of a few hundred steps, and ways to stop it in between."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from purejax_simba.config import CheckpointConfig, Config, ReplayConfig
from purejax_simba.runs import session
from tests.helpers import tiny

STEPS, INTERVAL = 240, 60
CONFIG = Config(
    task="gymnax/Pendulum-v1",
    num_seeds=3,
    total_env_steps=STEPS,
    evaluation_interval=INTERVAL,
    num_evaluation_episodes=2,
    episode_length=50,
    learning_starts=40,
    agent=dataclasses.replace(tiny.AGENT, num_critics=1),
    replay=ReplayConfig(batch_size=16),
    checkpoint=CheckpointConfig(interval=40),
    experiment="simba_v2",
)


def config(output: Path | str, **changes: Any) -> Config:
    """That run, with results in `output`."""
    return dataclasses.replace(CONFIG, output=str(output), **changes)


@contextlib.contextmanager
def after_every_chunk(act: Callable[[session.Session], None]) -> Iterator[None]:
    """Calls `act` after every chunk of what trains inside.

    Chunks end anywhere, not only where a second is over.
    """
    show = session.Session._show

    def show_and_act(self: session.Session, *arguments: Any) -> None:
        show(self, *arguments)
        act(self)

    with (
        mock.patch.object(session.Session, "_show", show_and_act),
        mock.patch.object(session, "CHUNK_SECONDS", 0.0),
    ):
        yield


@contextlib.contextmanager
def at_interactions(moments: list[int], stop: Callable[[], None]) -> Iterator[None]:
    """Calls `stop` after the first chunk that reaches each of these interactions."""

    def act(training: session.Session) -> None:
        if moments and training.interactions >= moments[0]:
            moments.pop(0)
            stop()

    with after_every_chunk(act):
        yield

"""Event files for TensorBoard, below `<run directory>/tensorboard/`: a directory per run."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from purejax_simba.runs.result_files import TENSORBOARD_DIRECTORY


class TensorBoardLogger:
    """Writes scalars. See them with `tensorboard --logdir <output>`.

    Nothing is left to a thread of the library: where a disk is full, that would wait for ever.
    """

    def __init__(self, directory: Path, config: dict[str, Any]):
        """`directory` is that of the run."""
        self._directory = directory / TENSORBOARD_DIRECTORY
        # A session's own file: the last record of one that was killed may be torn.
        self._file = f"events.out.tfevents.{time.time():.0f}.{os.getpid()}"
        self._begun: set[str] = set()

    def write(self, run: str, env_step: int, metrics: Mapping[str, float]) -> None:
        """See `Logger.write`."""
        path = self._directory / run / self._file
        events = []
        if run not in self._begun:
            path.parent.mkdir(parents=True, exist_ok=True)
            events.append(Event(wall_time=time.time(), file_version="brain.Event:2"))
        summary = Summary(
            value=[Summary.Value(tag=tag, simple_value=value) for tag, value in metrics.items()]
        )
        events.append(Event(wall_time=time.time(), step=env_step, summary=summary))
        with path.open("ab") as file:
            records = RecordWriter(file)
            for event in events:
                records.write(event.SerializeToString())
        self._begun.add(run)

    def close(self) -> None:
        """Nothing is open."""

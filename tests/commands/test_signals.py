"""A run from its command line, stopped again and again."""

import csv
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import tiny

RUN = (
    "train.py --task gymnax/Pendulum-v1 --num-seeds 2 --total-env-steps 2000000 "
    "--evaluation-interval 1000000 --num-evaluation-episodes 2 --episode-length 50 "
    "--learning-starts 60 --agent.actor-hidden-dim 8 --agent.critic-hidden-dim 8 "
    "--agent.critic-num-blocks 1 --agent.num-bins 11 --replay.capacity 1000 --experiment stopped"
)


class Command:
    """A command line in a process of its own."""

    def __init__(self, words: str, cache: Path):
        self._process = subprocess.Popen(
            [sys.executable, *shlex.split(words)],
            cwd=tiny.ROOT,
            env=os.environ | {"XDG_CACHE_HOME": str(cache)},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = ""

    def wait_for(self, words: str) -> None:
        while words not in self.said:
            line = self._process.stderr.readline()
            assert line, f"{words} was not said: {self.said}"
            self.said += line

    def stop(self, *numbers: signal.Signals) -> int:
        for number in numbers:
            self._process.send_signal(number)
            self.said += self._process.stderr.readline()
        return self.end()

    def close(self) -> int:
        self._process.stderr.close()
        return self._process.wait(120)

    def end(self) -> int:
        self.said += self._process.communicate(timeout=120)[1]
        return self._process.returncode


@pytest.mark.slow
def test_a_run_is_stopped_in_every_phase_and_goes_on(tmp_path):
    def command(words: str) -> Command:
        return Command(words, tmp_path / "cache")

    directory = tmp_path / "stopped" / "gymnax" / "Pendulum-v1"
    begin = f"{RUN} --output {tmp_path}"

    def left() -> set[str]:
        return {file.name for file in directory.iterdir()}

    run = command(begin)
    run.wait_for("compiling")
    time.sleep(1.0)
    assert run.stop(signal.SIGTERM) == 143
    assert run.said.endswith("SIGTERM: interrupted while compiling gymnax/Pendulum-v1\n")
    assert left() == {"config.json", "metrics.csv", "run.json"}

    # The same command begins anew, and says how to go on.
    run = command(begin)
    run.wait_for(" 0 env steps: evaluation")
    assert run.stop(signal.SIGINT) == 130
    assert "SIGINT: stopping after the chunk under way" in run.said
    advice = run.said.splitlines()[-1].removeprefix("to go on: python ")
    assert left() >= {"config.json", "metrics.csv", "run.json", "checkpoints", "curve.png"}
    assert "running.lock" not in left()
    again = command(begin)
    assert again.end() == 2 and "already holds a run" in again.said

    # One at a time goes on, until nobody reads what it says.
    run = command(advice)
    run.wait_for(": resumed")
    other = command(advice)
    assert other.end() == 2 and "writes to" in other.said
    assert run.close() == 143
    assert "running.lock" not in left()

    # The second signal ends it at once, and what was there stays.
    run = command(advice)
    run.wait_for(": resumed")
    assert run.stop(signal.SIGTERM, signal.SIGINT) in (130, 143)
    assert "running.lock" not in left()
    run = command(advice)
    run.wait_for(": resumed")
    assert run.stop(signal.SIGTERM) == 143
    with (directory / "metrics.csv").open() as file:
        rows = [(row["seed"], row["metric"], row["env_step"]) for row in csv.DictReader(file)]
    assert len(set(rows)) == len(rows) > 0

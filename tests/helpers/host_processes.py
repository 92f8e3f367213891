"""Makes the environments of `host_environments`, and watches the processes they live in."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import envs

ROOT = Path(__file__).parent.parent.parent
FAKES = "gymnasium/tests.helpers.host_environments:test/"


def fake(name: str, **arguments):
    return envs.make(f"{FAKES}{name}-v0", **arguments)


def play_on_host(environment, steps: int) -> np.ndarray:
    """The results of some steps with zero actions, without a compiled program."""
    pool, count = environment.unwrapped._pool, 2
    every = np.ones(count, bool)
    episodes, _ = pool.reset(np.arange(count), np.full(count, -1), every)
    actions = np.zeros((count, environment.action_size), np.float32)
    results = [
        pool.step(episodes, np.full(count, step, np.int32), ~every, actions)
        for step in range(steps)
    ]
    return np.stack(results)


def gone(pid: int) -> bool:
    """Whether a process has ended (it may wait for its parent to notice)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_gone(pids, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not all(gone(pid) for pid in pids):
        assert time.monotonic() < end, "a worker process was left behind"
        time.sleep(0.02)


def worker_pids(environment) -> list[int]:
    return [worker.process.pid for worker in environment.unwrapped._pool._workers]


SCRIPT = """
import signal
import jax, jax.numpy as jnp, envs
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
environment = envs.make(
    "gymnasium/tests.helpers.host_environments:test/{name}-v0",
    host=envs.HostOptions(python="{python}"),
)
state, observation = environment.reset(jax.random.key(0))
inner = environment.inner._pool._workers
print(*[worker.process.pid for worker in inner], flush=True)
try:
    with envs.clear_errors():
        while True:
            state, timestep = environment.step(state, jnp.zeros(1))
except KeyboardInterrupt:
    print("interrupted")
"""


def shared_files(pid: int) -> set[str]:
    """The files behind the memory that a process writes to and shares with others."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split(maxsplit=5)[5] for line in lines if line.split()[1] == "rw-s"}


def check_nothing_is_left(name: str, number: int, python: str = "") -> None:
    """Steps an environment in a program, which is sent a signal."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(name=name, python=python)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        time.sleep(1.0)
        assert pids and not any(gone(pid) for pid in pids)
        for pid in pids:  # it has no name under which it could be left behind
            assert shared_files(pid) == {"/memfd:environments (deleted)"}
        process.send_signal(number)
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
    wait_until_gone(pids)
    if number == signal.SIGINT:
        assert (process.returncode, out, error) == (0, "interrupted\n", "")

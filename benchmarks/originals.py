"""The originals of tasks, to be measured and compared with: dm_control, Gymnasium, EnvPool."""

import importlib.util
import itertools
import json
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

import envs
from benchmarks import gymnasium_loop
from benchmarks.gymnasium_loop import NUM_ACTIONS
from envs.adapters.hosted import check_interpreter


class GymnasiumLoop:
    """Environments that a program in another process steps one after the other."""

    def __init__(self, name: str, count: int, python: str = ""):
        """Starts the process and makes the environments.

        Args:
          name: `<id>` or `<module>:<id>`.
          count: number of environments.
          python: the interpreter that has them; empty for this one.

        Raises:
          TaskError: if it does not have them.
        """
        python = python or sys.executable
        check_interpreter(python, "gymnasium")
        self._name = f"{name} in {python}"
        self._process = subprocess.Popen(
            [python, "-I", gymnasium_loop.__file__, name, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        weakref.finalize(self, _end, self._process)
        self._receive()

    def __call__(self, command: str, **arguments: Any) -> Any:
        """What a method of `gymnasium_loop.Loop` returns; arrays as nested lists.

        Raises:
          TaskError: if it raises.
        """
        assert self._process.stdin is not None
        print(json.dumps({"command": command, **arguments}), file=self._process.stdin, flush=True)
        return self._receive()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "its process ended"}
        if "error" in answer:
            raise envs.TaskError(f"{self._name}: {answer['error']}")
        return answer["result"]


def _end(process: subprocess.Popen[str]) -> None:
    process.communicate()  # closes its input, and waits


def available(host_python: str) -> tuple[str, ...]:
    """The published tasks that can be made here; prints which are left out, and why.

    Args:
      host_python: an interpreter that has what environments in worker processes need, or empty.
    """
    found = []
    for task_id in envs.tasks("all"):
        if missing := envs.spec(task_id).missing(host_python):
            print(f"left out: {task_id}: {missing}", file=sys.stderr)
        else:
            found.append(task_id)
    return tuple(found)


def in_a_loop(task_id: str, count: int, host_python: str) -> Callable[[int], None] | None:
    """Steps the original Python environments one after the other; None where there are none.

    Args:
      task_id: of the task.
      count: number of environments.
      host_python: an interpreter that has the original, where it cannot be installed here.
    """
    family, _, name = task_id.partition("/")
    official = envs.spec(task_id).official.removeprefix("gymnasium/")
    if family == "dmc":
        return _dmc_in_a_loop(name, count)
    if not official and family not in ("gymnasium", "mujoco"):
        return None
    try:
        loop = GymnasiumLoop(official or name, count, "" if family == "mujoco" else host_python)
    except envs.TaskError as error:
        print(f"left out: the original of {task_id}: {error}", file=sys.stderr)
        return None
    return lambda steps: loop("take", steps=steps)


def _dmc_in_a_loop(name: str, count: int) -> Callable[[int], None]:
    from dm_control import suite

    domain, task = name.split("-")
    loaded = [suite.load(domain, task, task_kwargs={"random": i}) for i in range(count)]
    specification = loaded[0].action_spec()
    shape = (NUM_ACTIONS, *specification.shape)
    generator = np.random.default_rng(0)
    actions = generator.uniform(specification.minimum, specification.maximum, shape)
    for environment in loaded:
        environment.reset()

    def take(steps: int) -> None:
        for step, environment in itertools.product(range(steps), loaded):
            # This begins a new episode by itself after the last step of one.
            environment.step(actions[step % NUM_ACTIONS])

    return take


def make_envpool(task_id: str, count: int) -> Any:
    """So many of EnvPool's environments; None where it is not installed or has no such task."""
    family, _, name = task_id.partition("/")
    if family == "dmc":
        name = "".join(part.title() for part in name.replace("-", "_").split("_")) + "-v1"
    elif family == "myosuite":
        name = envs.spec(task_id).official.rpartition(":")[2]
    if importlib.util.find_spec("envpool") is None:
        return None
    import envpool

    if name not in envpool.list_all_envs():
        return None
    return envpool.make(name, env_type="gymnasium", num_envs=count, seed=0)


def in_envpool(task_id: str, count: int) -> Callable[[int], None] | None:
    """Steps EnvPool's environments; None where there are none."""
    pool = make_envpool(task_id, count)
    if pool is None:
        return None
    space: Any = pool.action_space
    shape = (NUM_ACTIONS, count, *space.shape)
    actions = np.random.default_rng(0).uniform(space.low, space.high, shape).astype(space.dtype)
    pool.reset()

    def take(steps: int) -> None:
        for step in range(steps):
            pool.step(actions[step % NUM_ACTIONS])  # it begins new episodes by itself

    return take

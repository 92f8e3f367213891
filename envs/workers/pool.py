"""Stateful environments in worker processes: who has which, and one exchange per step for all.

Every episode has a number. It is played by a sub-environment, which lives in a slot of a worker; a
slot is free again when its episode has ended.
"""

import itertools
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np

from envs.host_call import HostEnvironmentError
from envs.workers.process import GOODBYE_SECONDS, WorkerError, WorkerProcess
from envs.workers.program import FLAGS
from envs.workers.routes import Group, Route, Slot, Worker, group_by_worker, send_reset, send_step

REWARD, TERMINATED, TRUNCATED, SUCCESS = range(FLAGS)


class _Workers(list[Worker]):
    """The processes of a pool; a list of its own type so that it outlives the pool to end them."""

    def close(self) -> None:
        """Ends all of them. What they were busy with is lost."""
        for worker in self:
            worker.process.hang_up()
        patience = GOODBYE_SECONDS
        for worker in self:
            worker.process.end(patience)
            patience = 0.1
        self.clear()


class HostPool:
    """Sub-environments of one kind. Methods may be called from several threads at once.

    Attributes:
      description: see there.
    """

    def __init__(
        self,
        name: str,
        source: dict[str, Any],
        *,
        time_limit: float,
        num_workers: int,
        workers_per_call: int,
        python: str = sys.executable,
    ):
        """Starts a first worker and waits for its description.

        Args:
          name: of the environment, for messages.
          source: what a worker makes environments from, see `program.Worker.make`.
          time_limit: seconds after which a worker that does not answer counts as hung.
          num_workers: processes at most.
          workers_per_call: processes among which the episodes of one `reset` are spread.
          python: the interpreter that runs them.

        Raises:
          HostEnvironmentError: if the environment cannot be made or used.
        """
        self.name = name
        self.episode_length: int | None = None
        self._source = source
        self._time_limit = time_limit
        self._num_workers = num_workers
        self._workers_per_call = workers_per_call
        self._python = python
        self._workers = _Workers()
        self._slots: dict[int, Slot] = {}  # by episode, the ended ones until the slot is reused
        self._routes: dict[bytes, Route] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._failure: HostEnvironmentError | None = None
        weakref.finalize(self, self._workers.close)
        try:
            self._workers.append(self._start())
            self.description = self._workers[0].process.describe()
        except WorkerError as error:
            self._workers.close()
            raise HostEnvironmentError(f"{name} {error}") from None
        self.episode_length = self.description.episode_length

    def reset(
        self, seeds: np.ndarray, previous: np.ndarray, wanted: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Begins episodes where `wanted`.

        Args:
          seeds: `(N,)`.
          previous: `(N,)` the episode that each follows, whose sub-environment it takes over, also
            from one that has not ended by itself; -1 for none.
          wanted: `(N,)` bool.

        Returns:
          Episode numbers `(N,)` and first observations `(N, O)`, zeros where not wanted.
        """
        rows = np.flatnonzero(wanted).tolist()
        groups = group_by_worker(self._claim(rows, previous.tolist(), seeds.tolist()))
        results = self._exchange(len(seeds), groups, send_reset)
        episodes = np.full(len(seeds), -1, np.int32)
        for group in groups:
            episodes[group.rows] = [slot.episode for slot in group.slots]
        return episodes, results[:, FLAGS:]

    def step(
        self, episodes: np.ndarray, steps: np.ndarray, ended: np.ndarray, actions: np.ndarray
    ) -> np.ndarray:
        """Steps the episodes that have not ended.

        Args:
          episodes: `(N,)` numbers.
          steps: `(N,)` steps that each has taken.
          ended: `(N,)` bool.
          actions: `(N, A)` float32.

        Returns:
          `(N, 4 + O)` float32: reward, terminated, truncated, success, observation; zeros where
          ended.
        """
        key = episodes.tobytes() + ended.tobytes()
        route = self._routes.get(key) or self._new_route(key, episodes, ended)
        if not np.array_equal(np.where(route.active, steps, -1), route.steps):
            raise self._stale()
        route.steps += route.active
        results = self._exchange(len(steps), route.groups, send_step, actions)
        terminated = results[:, TERMINATED] != 0
        truncated = results[:, TRUNCATED] != 0
        if self.episode_length is not None:
            truncated |= route.steps >= self.episode_length
        results[:, TRUNCATED] = truncated & ~terminated
        over = terminated | truncated
        if over.any():
            self._end_route(key)
            for group in route.groups:
                for slot, row in zip(group.slots, group.rows.tolist(), strict=True):
                    slot.running = not over[row]
        return results

    def close(self) -> None:
        """Ends all workers; whoever still steps an environment is told so."""
        with self._lock:
            self._failure = self._failure or HostEnvironmentError(f"{self.name} was closed")
            self._workers.close()

    def _new_route(self, key: bytes, episodes: np.ndarray, ended: np.ndarray) -> Route:
        """Finds the slots of a batch, and keeps them for the next step."""
        active = (~ended).astype(np.int32)
        route = Route(np.full(len(episodes), -1, np.int32), active, [])
        numbers, members = episodes.tolist(), []
        with self._lock:
            for row in np.flatnonzero(active).tolist():
                slot = self._slots.get(numbers[row])
                if slot is None or not slot.running or slot.route is route:
                    raise self._stale()
                if slot.route is not None:
                    self._drop(slot.route)
                slot.route = route
                route.steps[row] = slot.steps
                members.append((row, slot, True))
            route.groups = group_by_worker(members)
            if members:  # or no end of an episode would ever remove it
                self._routes[key] = route
        return route

    def _drop(self, route: Route) -> None:
        """Ends the way of a batch some of whose members go on in another one."""
        route.end()
        self._routes = {key: other for key, other in self._routes.items() if other is not route}

    def _end_route(self, key: bytes) -> None:
        with self._lock:
            route = self._routes.pop(key, None)
            if route is not None:
                route.end()

    def _stale(self) -> HostEnvironmentError:
        return self._fail(
            f"{self.name}: a state was stepped that is not the newest of its episode: "
            "environments on the host cannot be copied or go back"
        )

    def _exchange(
        self, count: int, groups: list[Group], send: Callable[..., None], *arguments: Any
    ) -> np.ndarray:
        """Lets workers work side by side, each on its group; returns `(count, 4 + O)`."""
        results = np.zeros((count, FLAGS + self.description.observation_size), np.float32)
        with ExitStack() as stack:
            for group in groups:
                stack.enter_context(group.worker.lock)
            if self._failure is not None:
                raise self._failure
            try:
                for group in groups:
                    send(group, *arguments)
                for group in groups:
                    group.worker.process.receive()
                    results[group.rows] = group.worker.process.results(group.indices)
            except WorkerError as error:
                raise self._fail_at(group, error.slot, str(error)) from None
            except BaseException:
                # An answer may be under way that nobody will read.
                self._fail(f"{self.name} was interrupted")
                raise
        if not np.isfinite(results).all():
            raise self._not_finite(groups, results)
        return results

    def _not_finite(self, groups: list[Group], results: np.ndarray) -> HostEnvironmentError:
        for group in groups:
            for row, index in zip(group.rows.tolist(), group.indices.tolist(), strict=True):
                reward, _, observation = np.split(results[row], [REWARD + 1, FLAGS])
                for what, values in {"reward": reward, "observation": observation}.items():
                    if not np.isfinite(values).all():
                        value = values[~np.isfinite(values)][0]
                        return self._fail_at(group, index, f"returned {value} in its {what}")
        return self._fail(f"{self.name} returned a flag that is not finite")

    def _claim(
        self, rows: list[int], previous: list[int], seeds: list[int]
    ) -> list[tuple[int, Slot, bool]]:
        """A slot for each row, and whether it continues there."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            chosen = []
            places: Iterator[Worker] | None = None
            for row in rows:
                slot = self._slots.get(previous[row])
                continues = slot is not None
                if slot is None:
                    places = places or itertools.cycle(self._least_busy(len(rows)))
                    worker = next(places)
                    free = (slot for slot in worker.slots if not slot.running)
                    slot = next(free, None) or worker.new_slot()
                elif slot.route is not None:
                    self._drop(slot.route)
                self._slots.pop(slot.episode, None)
                slot.episode = next(self._numbers)
                slot.seed, slot.steps, slot.running = seeds[row], 0, True
                self._slots[slot.episode] = slot
                chosen.append((row, slot, continues))
            return chosen

    def _start(self) -> Worker:
        return Worker(WorkerProcess(self._source, self._time_limit, self._python))

    def _least_busy(self, count: int) -> list[Worker]:
        """The workers for so many new episodes."""
        count = min(count, self._workers_per_call)
        missing = min(self._num_workers - len(self._workers), count)
        idle = sum(worker.load() == 0 for worker in self._workers)
        fresh = range(len(self._workers), len(self._workers) + max(0, missing - idle))
        try:
            for _ in fresh:
                self._workers.append(self._start())
            for index in fresh:
                self._workers[index].process.describe()
        except WorkerError as error:
            raise self._fail(f"{self.name} {error}") from None
        return sorted(self._workers, key=Worker.load)[:count]

    def _fail_at(self, group: Group, index: int, text: str) -> HostEnvironmentError:
        """The error of the slot that a worker was busy with, or else of the group's first."""
        found = group.indices.tolist().index(index) if index in group.indices else 0
        slot, row = group.slots[found], int(group.rows[found])
        steps = slot.steps if slot.route is None else slot.route.steps[row]
        at = f"step {steps} of the" if steps else "the reset of the"
        return self._fail(
            f"{self.name}: sub-environment {row} {text} at {at} episode with seed {slot.seed}"
        )

    def _fail(self, text: str) -> HostEnvironmentError:
        """Makes the error; every later call raises it too."""
        self._failure = self._failure or HostEnvironmentError(text)
        for worker in self._workers:
            worker.process.kill()
        return self._failure

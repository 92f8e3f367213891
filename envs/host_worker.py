"""The program of a worker process: stateful environments behind a socket.

It imports nothing but the standard library, numpy and the package of the environments, and it is
started by its path, so that an interpreter that has no more than these can run it.

Messages are pickled tuples `(command, *arguments)`, answers are `("done", result)` or
`("failed", slot, text)`. Numbers travel in shared memory: `HEADER` bytes that begin with the slot
being worked on (int32, -1 for none), then one record per slot, float32:
`[action..., reward, terminated, truncated, success, observation...]`.
"""

import fcntl
import mmap
import os
import pickle
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

HEADER = 64
FLAGS = 4  # reward, terminated, truncated, success
SUCCESS_KEYS = ("success", "is_success", "solved")
PROTOCOL = 4  # the newest that Python 3.7 reads


class Refused(Exception):
    """What an environment is or returned cannot be used; the text goes on from its name."""


def size_of(space):
    """Length of the flattened space."""
    from gymnasium import spaces

    try:
        return int(spaces.flatdim(space))
    except (NotImplementedError, ValueError):
        kind = type(space).__name__
        raise Refused(f"has {kind} observations, which have no fixed length") from None


def action_bounds(space):
    """Flat lower and upper bounds of a bounded box."""
    from gymnasium import spaces

    if not isinstance(space, spaces.Box):
        kind = type(space).__name__
        raise Refused(f"has {kind} actions; continuous ones (a Box) are needed")
    low, high = np.ravel(space.low), np.ravel(space.high)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise Refused(
            "has unbounded actions: wrap it in gymnasium.wrappers.RescaleAction or ClipAction "
            "where it is registered, or give its action space finite bounds"
        )
    return low, high


class GymnasiumEnvironments:
    """One gymnasium environment per slot."""

    def __init__(self, make):
        import gymnasium

        self._gymnasium = gymnasium
        self._make = make
        # The first is made for its spaces and becomes that of slot 0.
        self._spare = first = self._new()
        self._environments = {}
        self._space = first.observation_space
        self._is_box = isinstance(self._space, gymnasium.spaces.Box)
        self._size = size_of(self._space)
        self._actions = first.action_space
        self.low, self.high = action_bounds(self._actions)
        limit = first.spec.max_episode_steps if first.spec is not None else None
        self.description = {
            "observation_size": self._size,
            # Lists, because arrays are pickled in another way by every other numpy.
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "episode_length": limit,
        }

    def _new(self):
        if "spec" in self._make:
            return self._gymnasium.make(pickle.loads(self._make["spec"]), disable_env_checker=True)
        return self._gymnasium.make(self._make["id"], disable_env_checker=True)

    def reset(self, slots, seeds, continues, results, begin):
        """Begins an episode in each slot; `begin(slot)` is called before each."""
        for index, slot in enumerate(slots):
            begin(slot)
            environment = self._environments.get(slot)
            if environment is None:
                environment, self._spare = self._spare or self._new(), None
                self._environments[slot] = environment
            answer = environment.reset(seed=int(seeds[index]))
            if not (isinstance(answer, tuple) and len(answer) == 2):
                raise Refused("returned no (observation, info) from reset")
            results[slot, :FLAGS] = 0
            results[slot, FLAGS:] = self._flat(answer[0])

    def step(self, slots, actions, results, begin):
        """Steps each slot with its row of `actions`."""
        actions = np.minimum(np.maximum(actions, self.low), self.high)
        actions = actions.astype(self._actions.dtype, copy=False)
        actions = actions.reshape(-1, *self._actions.shape)
        flags, observations = [], []
        for index, slot in enumerate(slots):
            begin(slot)
            answer = self._environments[slot].step(actions[index])
            if not (isinstance(answer, tuple) and len(answer) == 5):
                raise Refused(
                    "returned no (observation, reward, terminated, truncated, info) from step"
                )
            observation, reward, terminated, truncated, info = answer
            if np.ndim(reward):
                if np.size(reward) != 1:
                    raise Refused(f"returned a reward of shape {np.shape(reward)}")
                reward = np.ravel(reward)[0]
            success = any(np.all(info[key]) for key in SUCCESS_KEYS if key in info)
            flags.append((reward, terminated, truncated, success))
            observations.append(self._flat(observation))
        results[slots, :FLAGS] = flags
        results[slots, FLAGS:] = observations

    def _flat(self, observation):
        if self._is_box:
            if np.shape(observation) != self._space.shape:
                raise Refused(
                    f"returned an observation of shape {np.shape(observation)} where its space "
                    f"has {self._space.shape}"
                )
            return np.ravel(observation)
        flat = self._gymnasium.spaces.flatten(self._space, observation)
        if flat.shape != (self._size,):
            raise Refused(
                f"returned an observation of {flat.size} numbers where its space has {self._size}"
            )
        return flat

    def close(self):
        """Closes every environment."""
        for environment in [self._spare, *self._environments.values()]:
            if environment is not None:
                environment.close()


class EnvPoolEnvironments:
    """EnvPool's environments, as many in a pool as were begun together.

    EnvPool takes seeds where a pool is made and nowhere else, so an episode that follows another
    in its slot continues the random numbers of the first.
    """

    def __init__(self, make):
        import envpool

        self._make_pool = envpool.make
        self._name = make["id"]
        pool = self._new([0])
        self._pools = {}  # slot -> (pool, index in the pool)
        self._space = pool.observation_space
        self._actions = pool.action_space
        self.low, self.high = action_bounds(self._actions)
        limit = pool.spec.config.max_episode_steps
        self.description = {
            "observation_size": size_of(self._space),
            # Lists, because arrays are pickled in another way by every other numpy.
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "episode_length": int(limit) if 0 < limit < 2**31 - 1 else None,
        }

    def _new(self, seeds):
        return self._make_pool(
            self._name,
            env_type="gymnasium",
            num_envs=len(seeds),
            num_threads=1,
            seed=[int(seed) for seed in seeds],
        )

    def reset(self, slots, seeds, continues, results, begin):
        """Begins an episode in each slot, in a new pool unless it `continues` one."""
        results[slots, :FLAGS] = 0
        fresh = [i for i, slot in enumerate(slots) if not continues[i] or slot not in self._pools]
        if fresh:
            begin(slots[fresh[0]])
            pool = self._new([seeds[i] for i in fresh])
            for index, i in enumerate(fresh):
                self._pools[slots[i]] = (pool, index)
        for pool, indices, members in self._groups(slots):
            begin(members[0])
            observation, info = pool.reset(indices)
            order = self._order(indices, members, info)
            results[order, FLAGS:] = self._flat(observation, len(order))

    def step(self, slots, actions, results, begin):
        """Steps each slot with its row of `actions`."""
        actions = np.minimum(np.maximum(actions, self.low), self.high)
        actions = actions.astype(self._actions.dtype, copy=False)
        row = {slot: index for index, slot in enumerate(slots)}
        for pool, indices, members in self._groups(slots):
            begin(members[0])
            chosen = actions[[row[slot] for slot in members]]
            answer = pool.step(chosen.reshape(-1, *self._actions.shape), indices)
            observation, reward, terminated, truncated, info = answer
            order = self._order(indices, members, info)
            success = [info[key] for key in SUCCESS_KEYS if key in info]
            results[order, 0] = reward
            results[order, 1] = terminated
            results[order, 2] = truncated
            results[order, 3] = np.any(success, axis=0) if success else 0
            results[order, FLAGS:] = self._flat(observation, len(order))

    def _groups(self, slots):
        groups: dict = {}
        for slot in slots:
            pool, index = self._pools[slot]
            indices, members = groups.setdefault(id(pool), (pool, [], []))[1:]
            indices.append(index)
            members.append(slot)
        return [(pool, np.array(i, np.int32), members) for pool, i, members in groups.values()]

    def _order(self, indices, members, info):
        slot = dict(zip(indices.tolist(), members))  # noqa: B905, unknown to old interpreters
        return [slot[int(index)] for index in info["env_id"]]

    def _flat(self, observation, count, space=None):
        space = self._space if space is None else space
        parts = getattr(space, "spaces", None)
        if parts is None:
            return np.reshape(observation, (count, -1))
        names = list(parts) if hasattr(parts, "keys") else range(len(parts))
        return np.concatenate(
            [self._flat(observation[name], count, parts[name]) for name in names], axis=1
        )

    def close(self):
        """Drops every pool."""
        self._pools.clear()


KINDS = {"gymnasium": GymnasiumEnvironments, "envpool": EnvPoolEnvironments}


class Worker:
    """Answers messages until the socket closes."""

    def __init__(self, connection, memory):
        self._connection = connection
        self._memory = memory
        self._environments: Any = None
        self._capacity = 0
        self._header = np.full(1, -1, np.int32)

    def serve(self):
        """Runs until the other end is closed."""
        while True:
            try:
                command, *arguments = pickle.loads(self._connection.recv_bytes())
            except EOFError:
                break
            try:
                answer: tuple = ("done", getattr(self, command)(*arguments))
            except BaseException as error:
                answer = ("failed", int(self._header[0]), describe(error))
            try:
                self._connection.send_bytes(pickle.dumps(answer, PROTOCOL))
            except OSError:  # nobody waits any more
                break
        if self._environments is not None:
            self._environments.close()

    def make(self, make):
        """Loads the environments' package and describes the environment."""
        if "path" in make:
            sys.path[:] = make["path"]
        sys.path.extend(make.get("more_path", ()))
        kind: Any = KINDS[make["kind"]]
        self._environments = kind(make)
        return self._environments.description

    def reset(self, capacity, slots, seeds, continues):
        """Begins episodes; the memory has room for `capacity` slots."""
        self._map(capacity)
        self._environments.reset(slots, seeds, continues, self._results, self._begin)
        self._begin(-1)

    def step(self, slots):
        """Takes a step in each slot."""
        self._environments.step(slots, self._actions[slots], self._results, self._begin)
        self._begin(-1)

    def _begin(self, slot):
        self._header[0] = slot

    def _map(self, capacity):
        if capacity != self._capacity:
            size = self._environments.low.size
            self._capacity = capacity
            self._header, records = map_memory(
                self._memory,
                capacity,
                size + FLAGS + self._environments.description["observation_size"],
            )
            self._actions, self._results = records[:, :size], records[:, size:]


def map_memory(memory, capacity, record_size):
    """The header and the records of a file descriptor, as arrays that share its memory."""
    mapped = mmap.mmap(memory, HEADER + 4 * capacity * record_size)
    header = np.frombuffer(mapped, np.int32, 1)
    records = np.frombuffer(mapped, np.float32, capacity * record_size, HEADER)
    return header, records.reshape(capacity, record_size)


def describe(error):
    """One line for an exception, with the place it was raised at."""
    if isinstance(error, Refused):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    kind = type(error).__name__
    where = f"{os.path.basename(place.filename)}:{place.lineno}"
    return f"raised {kind}{': ' if text else ''}{text} ({where})"


def main():
    """Serves the descriptors given on the command line: socket, memory, lifeline."""
    socket, memory, lifeline = map(int, sys.argv[1:])
    # The kernel ends this process when the lifeline breaks, whatever it is busy with: nobody else
    # holds its other end but the process that started this one.
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    Worker(Connection(socket), memory).serve()


if __name__ == "__main__":
    main()

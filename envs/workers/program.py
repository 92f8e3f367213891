"""The program of a worker process: stateful environments behind a socket.

It imports nothing but the standard library, numpy and the package of the environments, and it is
started by its path, so that an interpreter that has no more than these can run it.

Messages are pickled tuples `(command, *arguments)`, answers are `("done", result)` or
`("failed", slot, text)`. Numbers travel in shared memory: `HEADER` bytes that begin with the slot
being worked on (int32, -1 for none), then one row per slot, float32:
`[action..., reward, terminated, truncated, success, observation...]`.
"""

import fcntl
import mmap
import os
import pickle
import sys
import traceback
import warnings
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

HEADER = 64
FLAGS = 4  # reward, terminated, truncated, success
SUCCESS_KEYS = ("success", "is_success", "solved")
MOST_STEPS = 2**31 - 1
NUMBERS = "biuf"  # kinds of arrays that hold real numbers
LARGEST = 2**22  # integers up to here, and the halves between them, are exact in float32
PROTOCOL = 4  # the newest that Python 3.7 reads


class Refused(Exception):
    """What an environment is or returned cannot be used; the text goes on from its name."""


def parts_of(space, path=()):
    """The parts of a space in the order in which they are flattened: `[(path, space), ...]`.

    Entries of a dictionary come in the order of their names, at every level, however the
    dictionary was made; entries of a tuple in their own. A path says where a part is.
    """
    from gymnasium import spaces

    keys: Any
    if isinstance(space, spaces.Dict):
        keys = sorted(space.spaces, key=str)
    elif isinstance(space, spaces.Tuple):
        keys = list(range(len(space.spaces)))
    else:
        return [(path, space)]
    return [part for key in keys for part in parts_of(space.spaces[key], (*path, key))]


def seen_first(parts, privileged):
    """The parts with those of the entries `privileged` of a dictionary last.

    Returns:
      They, and how many numbers the others have; None where no entry is privileged.
    """
    names = sorted({str(path[0]) for path, _ in parts if path})
    for name in privileged:
        if name not in names:
            known = f"of {', '.join(names)}" if names else "that are no dictionary"
            raise Refused(f"has observations {known}: there is no {name!r} to keep from actors")
    if not privileged:
        return parts, None
    seen = [part for part in parts if str(part[0][0]) not in privileged]
    if not seen:
        raise Refused("has no observation that is not kept from actors: keep fewer")
    others = [part for part in parts if str(part[0][0]) in privileged]
    return seen + others, sum(size_of(space) for _, space in seen)


def entry(value, path):
    """What a nested value holds at a path."""
    for key in path:
        value = value[key]
    return value


def name_of(path):
    """Of a part, for messages."""
    return "/".join(str(key) for key in path)


def layout_of(parts):
    """Names and shapes of parts as they are flattened."""
    from gymnasium import spaces

    return [
        [name_of(path), list(space.shape) if isinstance(space, spaces.Box) else [size_of(space)]]
        for path, space in parts
    ]


def size_of(space):
    """Length of a part when it is flattened."""
    from gymnasium import spaces

    try:
        return int(spaces.flatdim(space))
    except (NotImplementedError, ValueError):
        kind = type(space).__name__
        raise Refused(f"has {kind} observations, which have no fixed length") from None


def action_range(low, high, dtype):
    """Flat lower and upper ends of what [-1, 1] is mapped to, for actions between two bounds.

    Integers are rounded: half of one more at both ends gives each of them an equal share.
    """
    low, high = np.ravel(low).astype(np.float64), np.ravel(high).astype(np.float64)
    with np.errstate(over="ignore"):
        width = (high - low).astype(np.float32)  # the largest floats stand for infinity, too
    if not np.isfinite(width).all():
        raise Refused(
            "has unbounded actions: wrap it in gymnasium.wrappers.RescaleAction or ClipAction "
            "where it is registered, or give its action space finite bounds"
        )
    is_integer = np.dtype(dtype).kind in "biu"
    if is_integer and max(np.abs(low).max(), np.abs(high).max()) > LARGEST:
        raise Refused(f"has integer actions beyond {LARGEST}: give its action space lower bounds")
    margin = 0.5 if is_integer else 0.0
    return low - margin, high + margin


class Actions:
    """What a box takes for rows of actions in its `action_range`."""

    def __init__(self, space):
        from gymnasium import spaces

        if not isinstance(space, spaces.Box):
            kind = type(space).__name__
            raise Refused(f"has {kind} actions; continuous ones (a Box) are needed")
        self.low, self.high = action_range(space.low, space.high, space.dtype)
        self._space = space
        self._is_integer = np.dtype(space.dtype).kind in "biu"

    def take(self, actions):
        """From `(n, size)` float32 to `(n, *shape)` of the space's own type."""
        if self._is_integer:
            actions = np.floor(actions.astype(np.float64) + 0.5)
        low, high = np.ravel(self._space.low), np.ravel(self._space.high)
        actions = np.minimum(np.maximum(actions, low), high)
        actions = actions.astype(self._space.dtype, copy=False)
        return actions.reshape(-1, *self._space.shape)


def numbers(what, values, count):
    """Numbers of `count` environments, one each."""
    array = np.asarray(values)
    if array.dtype.kind not in NUMBERS:
        raise Refused(f"returned {values!r:.60} as {what}: a number is needed")
    if array.size != count or (count > 1 and len(array) != count):
        raise Refused(f"returned {what} of shape {array.shape}: one number is needed")
    return array.reshape(count)


def number(what, value):
    """One number, which may be an array of one element."""
    return value if isinstance(value, (float, int)) else numbers(what, value, 1)[0]


def flag(what, value):
    """A truth value, given as such or as a number."""
    found = number(what, value)
    if found != found:
        raise Refused(f"returned {found} as {what}")
    return bool(found)


def is_solved(info):
    """Whether a step's information says that the task is solved; NaN and None do not."""
    solved = False
    for key in SUCCESS_KEYS:
        value = info.get(key)
        if value is not None:
            found = number(f"info[{key!r}]", value)
            solved |= bool(found) and found == found
    return solved


def declared(limit):
    """A limit that can be reached, or None: steps are counted in 32 bits."""
    return int(limit) if limit is not None and 0 < limit < MOST_STEPS else None


def described(parts, num_seen, actions, limit):
    """What is said of an environment; lists, because every numpy pickles arrays in its own way."""
    return {
        "layout": layout_of(parts),
        "observation_size": sum(size_of(space) for _, space in parts),
        "actor_observation_size": num_seen,
        "low": actions.low.tolist(),
        "high": actions.high.tolist(),
        "episode_length": declared(limit),
    }


class GymnasiumEnvironments:
    """One gymnasium environment per slot."""

    def __init__(self, make):
        import gymnasium

        self._gymnasium = gymnasium
        self._make = make
        # The first is made for its spaces and becomes that of slot 0.
        self._spare = first = self._new(None)
        self._limit, limit = None, self._limit_of(first)
        wanted = make.get("max_episode_steps")
        if wanted is not None and limit is not None and wanted > limit:
            first.close()
            self._limit = wanted
            self._spare = first = self._new(wanted)
            limit = self._limit_of(first)
        self._environments = {}
        parts = parts_of(first.observation_space)
        self._parts, num_seen = seen_first(parts, make.get("privileged", ()))
        self._actions = Actions(first.action_space)
        self.description = described(self._parts, num_seen, self._actions, limit)

    def _new(self, limit):
        known = pickle.loads(self._make["spec"]) if "spec" in self._make else self._make["id"]
        return self._gymnasium.make(known, max_episode_steps=limit, disable_env_checker=True)

    def _limit_of(self, environment):
        """The lowest limit among its wrappers; without any, what it says of itself, or None."""
        limits = []
        outer = environment
        while isinstance(environment, self._gymnasium.Wrapper):
            if isinstance(environment, self._gymnasium.wrappers.TimeLimit):
                limits.append(environment._max_episode_steps)
            environment = environment.env
        if limits or outer.spec is None:
            return min(limits) if limits else None
        return outer.spec.max_episode_steps

    def reset(self, slots, seeds, continues, results, begin):
        """Begins an episode in each slot; `begin(slot)` is called before each."""
        for index, slot in enumerate(slots):
            begin(slot)
            environment = self._environments.get(slot)
            if environment is None:
                environment, self._spare = self._spare or self._new(self._limit), None
                self._environments[slot] = environment
            answer = environment.reset(seed=int(seeds[index]))
            if not (isinstance(answer, tuple) and len(answer) == 2):
                raise Refused("returned no (observation, info) from reset")
            results[slot, :FLAGS] = 0
            results[slot, FLAGS:] = self._flat(answer[0])

    def step(self, slots, actions, results, begin):
        """Steps each slot with its row of `actions`."""
        actions = self._actions.take(actions)
        flags, observations = [], []
        for index, slot in enumerate(slots):
            begin(slot)
            answer = self._environments[slot].step(actions[index])
            if not (isinstance(answer, tuple) and len(answer) == 5 and isinstance(answer[4], dict)):
                raise Refused(
                    "returned no (observation, reward, terminated, truncated, info) from step"
                )
            observation, reward, terminated, truncated, info = answer
            flags.append(
                (
                    number("reward", reward),
                    flag("terminated", terminated),
                    flag("truncated", truncated),
                    is_solved(info),
                )
            )
            observations.append(self._flat(observation))
        results[slots, :FLAGS] = flags
        results[slots, FLAGS:] = observations

    def _flat(self, observation):
        parts = [self._flat_part(observation, path, space) for path, space in self._parts]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _flat_part(self, observation, path, space):
        value = entry(observation, path)
        if not isinstance(space, self._gymnasium.spaces.Box):
            return self._gymnasium.spaces.flatten(space, value)
        array = np.asarray(value)
        what = f"an observation {name_of(path)}" if path else "an observation"
        if array.shape != space.shape:
            raise Refused(
                f"returned {what} of shape {array.shape} where its space has {space.shape}"
            )
        if array.dtype.kind not in NUMBERS:
            raise Refused(f"returned {what} of type {array.dtype}: numbers are needed")
        return np.ravel(array)

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

        # It gives bounds of float64 to boxes of float32, of which Gymnasium warns in colours.
        warnings.filterwarnings("ignore", ".*precision lowered by casting", UserWarning)
        self._make_pool = envpool.make
        self._name = make["id"]
        self._options = {}
        pool = self._new([0])
        limit = declared(pool.spec.config.max_episode_steps)
        wanted = make.get("max_episode_steps")
        if wanted is not None and limit is not None and wanted > limit:
            self._options, limit = {"max_episode_steps": wanted}, wanted
        self._pools = {}  # slot -> (pool, index in the pool)
        parts = parts_of(pool.observation_space)
        self._parts, num_seen = seen_first(parts, make.get("privileged", ()))
        self._sizes = [size_of(space) for _, space in self._parts]
        self._actions = Actions(pool.action_space)
        self.description = described(self._parts, num_seen, self._actions, limit)

    def _new(self, seeds):
        return self._make_pool(
            self._name,
            env_type="gymnasium",
            num_envs=len(seeds),
            num_threads=1,
            seed=[int(seed) for seed in seeds],
            **self._options,
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
        for pool, indices, together in self._groups(slots):
            begin(together[0])
            observation, info = pool.reset(indices)
            order = self._order(indices, together, info)
            results[order, FLAGS:] = self._flat(observation, len(order))

    def step(self, slots, actions, results, begin):
        """Steps each slot with its row of `actions`."""
        actions = self._actions.take(actions)
        row = {slot: index for index, slot in enumerate(slots)}
        for pool, indices, together in self._groups(slots):
            begin(together[0])
            answer = pool.step(actions[[row[slot] for slot in together]], indices)
            observation, reward, terminated, truncated, info = answer
            order = self._order(indices, together, info)
            results[order, 0] = numbers("reward", reward, len(order))
            ends = {"terminated": terminated, "truncated": truncated}
            for column, (what, values) in enumerate(ends.items(), 1):
                values = numbers(what, values, len(order))
                for slot in np.array(order)[values != values]:
                    begin(int(slot))
                    raise Refused(f"returned nan as {what}")
                results[order, column] = values != 0
            solved = np.zeros(len(order), bool)
            for key in SUCCESS_KEYS:
                if info.get(key) is not None:
                    values = numbers(f"info[{key!r}]", info[key], len(order))
                    solved |= (values != 0) & (values == values)
            results[order, 3] = solved
            results[order, FLAGS:] = self._flat(observation, len(order))

    def _groups(self, slots):
        groups: dict = {}
        for slot in slots:
            pool, index = self._pools[slot]
            indices, together = groups.setdefault(id(pool), (pool, [], []))[1:]
            indices.append(index)
            together.append(slot)
        return [(pool, np.array(i, np.int32), together) for pool, i, together in groups.values()]

    def _order(self, indices, together, info):
        slot = dict(zip(indices.tolist(), together))  # noqa: B905, unknown to old interpreters
        return [slot[int(index)] for index in info["env_id"]]

    def _flat(self, observation, count):
        parts = []
        for (path, _), size in zip(self._parts, self._sizes):  # noqa: B905, as above
            part = np.reshape(entry(observation, path), (count, -1))
            if part.shape[1] != size:
                name = f" {name_of(path)}" if path else ""
                raise Refused(
                    f"returned an observation{name} of {part.shape[1]} numbers where its space has "
                    f"{size}"
                )
            parts.append(part)
        return np.concatenate(parts, axis=1)

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
            size = len(self._environments.description["low"])
            self._capacity = capacity
            self._header, rows = map_memory(
                self._memory,
                capacity,
                size + FLAGS + self._environments.description["observation_size"],
            )
            self._actions, self._results = rows[:, :size], rows[:, size:]


def map_memory(memory, capacity, row_size):
    """The header and the rows of a file descriptor, as arrays that share its memory."""
    mapped = mmap.mmap(memory, HEADER + 4 * capacity * row_size)
    header = np.frombuffer(mapped, np.int32, 1)
    rows = np.frombuffer(mapped, np.float32, capacity * row_size, HEADER)
    return header, rows.reshape(capacity, row_size)


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

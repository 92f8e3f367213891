"""Steps Gymnasium environments one after the other, as anybody would.

A program for the interpreter that has them, which needs numpy and Gymnasium and nothing of this
package (see `benchmarks.originals`). Its arguments are the id of an environment and how many of
them to make. It says in a line whether that went well, and then answers every line of its input,
`{"command": ..., arguments}`; answers are `{"result": ...}` or `{"error": ...}`. It ends with its
input.
"""

import json
import os
import sys
from typing import Any

import gymnasium
import numpy as np

NUM_ACTIONS = 64  # random actions that the steps of `take` take in turn


class Loop:
    """Environments of one kind. Its methods are the commands."""

    def __init__(self, name, count):
        self._environments = [gymnasium.make(name, disable_env_checker=True) for _ in range(count)]
        space: Any = self._environments[0].action_space
        shape = (NUM_ACTIONS, *space.shape)
        actions = np.random.default_rng(0).uniform(space.low, space.high, shape)
        self._space, self._actions = space, actions.astype(space.dtype)
        for seed, environment in enumerate(self._environments):
            environment.reset(seed=seed)

    def take(self, steps):
        """Takes so many steps in every environment."""
        for step in range(steps):
            action = self._actions[step % NUM_ACTIONS]
            for environment in self._environments:
                _, _, terminated, truncated, _ = environment.step(action)
                if terminated or truncated:
                    environment.reset()

    def play(self, actions, seeds, limit):
        """Plays episodes one after the other in every environment.

        Args:
          actions: `(T, N, A)`, from -1 for the lowest to 1 for the highest.
          seeds: `(T + 1, N)`, of an episode that begins after so many steps.
          limit: steps after which an episode ends, unless its own limit is lower.

        Returns:
          `first`, the first observations, `(N, O)`; and `(T, N, ...)` each: `observation`,
          `reward`, `terminated`, `truncated`, `solved`, and `following`, the observations to act
          on next.
        """
        low, high = self._space.low, self._space.high
        actions = low + (np.asarray(actions) + 1) / 2 * (high - low)
        actions = actions.astype(self._space.dtype)
        names = ("observation", "reward", "terminated", "truncated", "solved", "following")
        played: dict = {name: [[] for _ in actions] for name in names}
        first = []
        for index, environment in enumerate(self._environments):
            observation, _ = environment.reset(seed=seeds[0][index])
            first.append(observation.tolist())
            length = 0
            for step, action in enumerate(actions[:, index]):
                observation, reward, terminated, truncated, info = environment.step(action)
                length += 1
                truncated = not terminated and (truncated or length == limit)
                played["observation"][step].append(observation.tolist())
                played["reward"][step].append(float(reward))
                played["terminated"][step].append(bool(terminated))
                played["truncated"][step].append(bool(truncated))
                played["solved"][step].append(bool(info.get("solved", False)))
                if terminated or truncated:
                    observation, _ = environment.reset(seed=seeds[step + 1][index])
                    length = 0
                played["following"][step].append(observation.tolist())
        return {"first": first, **played}

    def versions(self, packages):
        """Of installed packages, as `name version, ...`."""
        from importlib import metadata

        return ", ".join(f"{package} {metadata.version(package)}" for package in packages)


def main():
    """Serves the standard input."""
    name, count = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what environments print is no answer
    sys.path.append(os.getcwd())

    def answer(function, **arguments):
        try:
            result = {"result": function(**arguments)}
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            result = {"error": text}
        print(json.dumps(result), file=answers, flush=True)

    loops = []
    answer(lambda: loops.append(Loop(name, int(count))))
    for line in sys.stdin:
        request = json.loads(line)
        answer(getattr(loops[0], request.pop("command")), **request)


if __name__ == "__main__":
    main()

"""Originals in worker processes (physics `official`) against their package in a plain loop.

Both are given the same seeds and the same actions, over the ends of episodes, and must return the
same: nothing may come between but the rounding to float32.
"""

from collections.abc import Iterator

import jax
import numpy as np

import envs
from benchmarks.originals import GymnasiumLoop
from tests.helpers.host_play import SHAPE, play
from tests.parity.reference import Check, relative_error

BOUND = 1e-6
COUNT = int(np.prod(SHAPE))


def compare_hosted(task_id: str, steps: int, seed: int, python: str) -> Iterator[Check]:
    """All checks of one task, whose package the interpreter `python` has (empty for this one)."""
    known = envs.spec(task_id)
    options = envs.HostOptions(python=python)
    environment = envs.make(task_id, "official", action_repeat=1, host=options)
    loop = GymnasiumLoop(known.official.removeprefix("gymnasium/"), COUNT, python)
    packages = (known.package, "mujoco", "gymnasium")
    yield Check("versions", True, versions := loop("versions", packages=packages), versions)

    actions = jax.random.uniform(
        jax.random.key(seed), (steps, *SHAPE, environment.action_size), minval=-1.0
    )
    played = play(environment, actions)
    ours = {name: np.asarray(leaf) for name, leaf in vars(played.timesteps).items()}
    ours |= {"following": played.following, "solved": ours.pop("success")}
    ours = {name: leaf.reshape(steps, COUNT, *leaf.shape[3:]) for name, leaf in ours.items()}
    theirs = loop(
        "play",
        actions=np.asarray(actions, np.float64).reshape(steps, COUNT, -1).tolist(),
        seeds=played.seeds.reshape(steps + 1, COUNT).tolist(),
        limit=known.episode_length,
    )
    first = relative_error(played.first.reshape(COUNT, -1), theirs["first"])
    errors = {
        name: relative_error(ours[name], theirs[name])
        for name in ("observation", "reward", "following")
    }
    largest = max(first, *errors.values())
    yield Check(
        "adapter",
        largest < BOUND,
        f"max error of observations {max(first, errors['observation'], errors['following']):.1e}, "
        f"of rewards {errors['reward']:.1e} in {COUNT} times {steps} steps",
        f"{largest:.0e} in {COUNT * steps}",
    )
    counts = {name: int(ours[name].sum()) for name in ("terminated", "truncated", "solved")}
    same = all(np.array_equal(ours[name], theirs[name]) for name in counts)
    text = ", ".join(f"{count} {name}" for name, count in counts.items())
    yield Check("ends and successes", same, f"{text}: {'agree' if same else 'DIFFER'}", text)

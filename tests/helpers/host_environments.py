"""Environments with known behaviour, registered with gymnasium when this module is imported.

All are counted: an observation is (seed of the episode, steps taken, episodes begun, process id).
"""

import os
import signal
import time
from collections import OrderedDict

import gymnasium
import numpy as np
from gymnasium import spaces

LIMIT = 7


class Counting(gymnasium.Env):
    """Pays the action; terminates after `ends_after` steps; solved in step 2."""

    observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float64)
    action_space = spaces.Box(-1.0, 3.0, (1,), np.float32)

    def __init__(self, ends_after=10**6, trouble_at=None, trouble_after_episodes=1):
        self.ends_after = ends_after
        self.trouble_at = trouble_at
        self.trouble_after_episodes = trouble_after_episodes
        self.episodes = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed, self.steps = seed, 0
        self.episodes += 1
        return self.observe(), {}

    def step(self, action):
        assert action.shape == (1,) and action.dtype == np.float32
        self.steps += 1
        if self.steps == self.trouble_at and self.episodes >= self.trouble_after_episodes:
            self.trouble()
        terminated = self.steps >= self.ends_after
        info = {"is_success": True} if self.steps == 2 else {}
        return self.observe(), float(action[0]), terminated, False, info

    def observe(self):
        # Seeds have 31 bits, of which float32 keeps the first 24.
        return np.array([self.seed, self.steps, self.episodes, os.getpid()], np.float64)

    def trouble(self):
        """What goes wrong at step `trouble_at`."""


class Staggered(Counting):
    """Terminates after 2 to 5 steps, as its seed will have it."""

    def reset(self, *, seed=None, options=None):
        self.ends_after = 2 + seed % 4
        return super().reset(seed=seed)


class Raises(Counting):
    """Raises an error of two lines."""

    def trouble(self):
        raise ValueError("out of\npaper")


class Hangs(Counting):
    """Never returns."""

    def trouble(self):
        while True:
            time.sleep(1.0)


class Dies(Counting):
    """Takes its process with it."""

    def trouble(self):
        os._exit(7)


class Crashes(Counting):
    """Dies of a signal."""

    def trouble(self):
        os.kill(os.getpid(), signal.SIGSEGV)


class ReturnsNaN(Counting):
    """Returns NaN in its observation."""

    def trouble(self):
        self.seed = np.nan


class ChangesShape(Counting):
    """Returns an observation that its space does not have."""

    def trouble(self):
        self.observe = lambda: np.zeros(3)


class Slow(Counting):
    """Takes long, within reason."""

    def step(self, action):
        time.sleep(0.2)
        return super().step(action)


class Dictionary(Counting):
    """The numbers of `Counting` in a nested dictionary, whose spaces are against the alphabet."""

    observation_space = spaces.Dict(
        OrderedDict(
            [
                (
                    "b",
                    spaces.Dict(
                        OrderedDict(
                            [
                                ("y", spaces.Box(0, 99, (2, 1))),
                                ("x", spaces.Tuple([spaces.Discrete(3)])),
                            ]
                        )
                    ),
                ),
                ("a", spaces.Box(0, 99, ())),
            ]
        )
    )

    def observe(self):
        steps, episodes, _ = super().observe()[1:]
        return {"a": steps, "b": {"x": (self.steps % 3,), "y": np.array([[steps], [episodes]])}}


class Named(Counting):
    """Parts of one length in a nested dictionary, which only their names tell apart."""

    observation_space = spaces.Dict(
        OrderedDict(
            [
                ("target", spaces.Box(-9, 9, (2,))),
                (
                    "hand",
                    spaces.Dict(
                        OrderedDict(
                            [("tip", spaces.Box(-9, 9, (2,))), ("palm", spaces.Box(-9, 9, (2,)))]
                        )
                    ),
                ),
                ("noise", spaces.Box(-9, 9, (2,))),
            ]
        )
    )

    def observe(self):
        steps = np.array([self.steps, -self.steps], np.float32)
        return {"target": steps, "noise": steps / 8, "hand": {"palm": steps / 2, "tip": steps / 4}}


class Wide(Named):
    """Takes other actions."""

    action_space = spaces.Box(-1.0, 2.0, (1,), np.float32)


class Answers(Counting):
    """Answers as it is told to; in the sub-environment that is made last, or in every one."""

    made = 0

    def __init__(self, only_last_of=0, **answers):
        super().__init__()
        type(self).made += 1
        self.answers = answers if only_last_of in (0, self.made) else {}

    def step(self, action):
        names = ("observation", "reward", "terminated", "truncated", "info")
        return tuple((dict(zip(names, super().step(action), strict=True)) | self.answers).values())


class Steered(Counting):
    """Pays its integer action; those of another range are wrong."""

    def __init__(self, low=0, high=4, dtype="int32"):
        super().__init__()
        self.action_space = spaces.Box(low, high, (1,), np.dtype(dtype))

    def step(self, action):
        assert self.action_space.contains(action)
        self.steps += 1
        return self.observe(), float(action[0]), False, False, {}


def limited(limit_of_its_own):
    """Already limited where gymnasium gets it."""
    return gymnasium.wrappers.TimeLimit(Counting(), limit_of_its_own)


class Unbounded(Counting):
    """Takes any action."""

    action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)


class Words(Counting):
    """Observes text of any length."""

    observation_space = spaces.Sequence(spaces.Discrete(3))


class Unmakeable(Counting):
    """Cannot be made."""

    def __init__(self):
        raise RuntimeError("no screen")


class Draws(Counting):
    """Fails as MuJoCo does where there is no screen."""

    def __init__(self):
        raise RuntimeError("an OpenGL platform library has not been loaded")


class Early(Counting):
    """Truncates after 3 steps, whatever its limit; terminates then, too, in odd episodes."""

    def step(self, action):
        observation, reward, _, _, info = super().step(action)
        return (
            observation,
            reward,
            self.steps == 3 and self.episodes % 2 == 1,
            self.steps == 3,
            info,
        )


def _register(environment, name=None, limit=LIMIT, **arguments):
    gymnasium.register(
        f"test/{name or environment.__name__}-v0",
        entry_point=f"{__name__}:{environment.__name__}",
        max_episode_steps=limit,
        kwargs=arguments,
    )


_register(Counting)
_register(Counting, "Endless", limit=None)
for _kind in (Raises, Hangs, Dies, Crashes, ReturnsNaN, ChangesShape):
    _register(_kind, trouble_at=5)
_register(Dies, "DiesLate", trouble_at=5, trouble_after_episodes=20)
_register(Counting, "Age", limit=2**40)
_register(limited, "Limited", limit=None, limit_of_its_own=5)
for _kind in (
    Staggered,
    Slow,
    Dictionary,
    Named,
    Wide,
    Steered,
    Early,
    Unbounded,
    Words,
    Unmakeable,
    Draws,
):
    _register(_kind)

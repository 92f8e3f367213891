"""Gymnasium MuJoCo as the reference of the parity checks, see `tests.parity.reference`."""

import itertools
import math
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import mujoco
import numpy as np

from envs.physics.mujoco import STATE_SIGNATURE
from tests.parity.reference import Sizes


class GymnasiumReference:
    """A Gymnasium task that can be put into the state of a native environment.

    Its observations are judged together with the reward, as their last component, because the
    speeds that the rewards are made of come from quantities that no observation shows.
    """

    domain = ""  # of dm_control

    def __init__(self, task_id: str, seed: int, changes: tuple[str, ...]):
        """Makes the task of the same name. `changes` are the native task's, see `Task`."""
        with warnings.catch_warnings(action="ignore"):  # that there is a version 5
            limited = gymnasium.make(task_id.removeprefix("mujoco/"))
        self._limit = limited.spec.max_episode_steps
        self._environment = limited.unwrapped
        self._changes = changes
        self._environment.reset(seed=seed)
        self.model, self.data = self._environment.model, self._environment.data

    def sizes(self) -> Sizes:
        """See `Sizes`."""
        actions = self._environment.action_space
        return Sizes(
            observation=self._environment.observation_space.shape[0],
            action=actions.shape[0],
            episode_length=self._limit,
            interval=self._environment.dt,
            action_low=actions.low,
            action_high=actions.high,
        )

    def first_observation(self) -> np.ndarray:
        """Of an episode that Gymnasium starts by itself."""
        return self._environment.reset()[0]

    def state(self) -> np.ndarray:
        """What `bits` of a native environment hold."""
        size = mujoco.mj_stateSize(self.model, STATE_SIGNATURE)
        integration = np.empty(size)
        mujoco.mj_getState(self.model, self.data, integration, STATE_SIGNATURE)
        derived = [getattr(self.data, name).ravel() for name in self._changes]
        return np.concatenate([integration, *derived])

    def restore(self, bits: np.ndarray, variables: Any) -> np.ndarray:
        """Enters a state of the C engine; returns the observation, right for a first one."""
        size = mujoco.mj_stateSize(self.model, STATE_SIGNATURE)
        state = np.asarray(bits).view(np.float64)
        mujoco.mj_resetData(self.model, self.data)
        for derive in (lambda: mujoco.mj_forward(self.model, self.data), lambda: None):
            mujoco.mj_setState(self.model, self.data, state[:size], STATE_SIGNATURE)
            derive()  # it moves the warm start, so that the state is set again
        shapes = [getattr(self.data, name).shape for name in self._changes]
        ends = list(itertools.accumulate((math.prod(shape) for shape in shapes), initial=size))
        for name, shape, edges in zip(self._changes, shapes, itertools.pairwise(ends), strict=True):
            getattr(self.data, name)[:] = state[slice(*edges)].reshape(shape)
        return self._environment._get_obs()

    def rederive(self) -> None:
        """After a change of the state: nothing, because a step derives everything anew."""

    def start(
        self, qpos: np.ndarray, qvel: np.ndarray, act: np.ndarray, settling_steps: int
    ) -> np.ndarray:
        """Starts as Gymnasium would from given positions; returns what `state` does."""
        assert not act.size
        assert settling_steps == 0
        mujoco.mj_resetData(self.model, self.data)
        self._environment.set_state(qpos.astype(np.float64), qvel.astype(np.float64))
        return self.state()

    def substeps(self, control: np.ndarray) -> Iterator[None]:
        """Takes the simulation steps of one control interval, one at a time."""
        self.data.ctrl[:] = control
        for _ in range(self._environment.frame_skip):
            yield mujoco.mj_step(self.model, self.data)

    def step(self, control: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """Observation, reward, whether the episode terminated."""
        observation, reward, terminated, _, _ = self._environment.step(control)
        return observation, float(reward), bool(terminated)

    def judged(self, observation: Any, reward: Any) -> Any:
        """What MJX is judged by, see above."""
        return [*observation, reward]

"""dm_control as the reference of the parity checks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from envs.physics.mujoco import STATE_SIGNATURE


@dataclass(frozen=True)
class Check:
    """Outcome of one comparison; `figure` is what a table has room for."""

    name: str
    passed: bool
    detail: str
    figure: str = ""


@dataclass(frozen=True)
class Sizes:
    """What has to be the same before anything is computed; `interval` in seconds."""

    observation: int
    action: int
    episode_length: int
    interval: float
    action_low: np.ndarray
    action_high: np.ndarray


def relative_error(value: Any, reference: Any) -> float:
    """Largest |value - reference| / (1 + |reference|); infinite where one of them is NaN."""
    value, reference = np.asarray(value, np.float64), np.asarray(reference, np.float64)
    error = np.abs(value - reference) / (1 + np.abs(reference))
    return float(np.nan_to_num(error, nan=np.inf).max(initial=0.0))


def flatten(observation: dict[str, Any]) -> np.ndarray:
    """dm_control's observation as one vector, in dm_control's order."""
    return np.concatenate([np.ravel(part) for part in observation.values()])


class Reference:
    """A dm_control task that can be put into the state of a native environment."""

    def __init__(self, task_id: str, seed: int):
        """Loads the task of the same name."""
        from dm_control import suite  # which not every Python has

        domain, task = task_id.removeprefix("dmc/").split("-")
        self.domain = domain
        self.environment = suite.load(domain, task, task_kwargs={"random": seed})
        self.environment.reset()
        self.physics = self.environment.physics
        self.model = self.physics.model.ptr
        self.data = self.physics.data.ptr

    def sizes(self) -> Sizes:
        """See `Sizes`."""
        actions = self.environment.action_spec()
        return Sizes(
            observation=self.first_observation().size,
            action=actions.shape[0],
            episode_length=round(self.environment._step_limit),
            interval=self.environment.control_timestep(),
            action_low=actions.minimum,
            action_high=actions.maximum,
        )

    def first_observation(self) -> np.ndarray:
        """Of an episode that the suite starts by itself."""
        return flatten(self.environment.reset().observation)

    def state(self) -> np.ndarray:
        """What `bits` of a native environment hold."""
        return self.physics.get_state(STATE_SIGNATURE)

    def rederive(self) -> None:
        """What follows from positions and velocities, after they were changed."""
        mujoco.mj_step1(self.model, self.data)

    def judged(self, observation: Any, reward: Any) -> Any:
        """What MJX is judged by."""
        return observation

    def restore(self, bits: np.ndarray, variables: Any) -> np.ndarray:
        """Enters a state of the C engine, with the task's variables; returns the observation."""
        self.environment._reset_next_step = False
        self.environment._step_count = 0
        self.place_target(variables)
        state = np.asarray(bits).view(np.float64)
        # The second time is for the warm start, which `after_reset` moves.
        for derive in (self.physics.after_reset, self.rederive):
            mujoco.mj_setState(self.model, self.data, state, STATE_SIGNATURE)
            derive()
        return flatten(self.environment.task.get_observation(self.physics))

    def place_target(self, variables: Any) -> None:
        """Puts the target where the task's variables say, if there is one."""
        named = self.physics.named
        match self.domain:
            case "reacher":
                named.model.geom_pos["target", :2] = variables
            case "fish":
                named.model.geom_pos["target"] = variables
            case "finger" if np.size(variables):
                hinge = named.data.xanchor["hinge", ["x", "z"]]
                named.model.site_pos["target", ["x", "z"]] = hinge + np.asarray(variables)

    def start(
        self, qpos: np.ndarray, qvel: np.ndarray, act: np.ndarray, settling_steps: int
    ) -> np.ndarray:
        """Starts as the suite would from given positions; returns the integration state."""
        with self.physics.reset_context():
            self.data.qpos[:] = qpos
            self.data.qvel[:] = qvel
            self.data.act[:] = act
            if settling_steps:
                self.physics.step(nstep=settling_steps)
                self.data.time = 0
        return self.state()

    def substeps(self, action: np.ndarray) -> Iterator[None]:
        """Takes the simulation steps of one control interval, one at a time."""
        self.physics.set_control(action)
        for _ in range(self.environment._n_sub_steps):
            yield self.physics.step()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """Observation, reward, whether the episode terminated."""
        timestep = self.environment.step(action)
        return flatten(timestep.observation), timestep.reward, timestep.discount == 0.0

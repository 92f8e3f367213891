"""dm_control as the reference of the parity checks."""

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from dm_control import suite

from envs.physics.mujoco import STATE_SIGNATURE


@dataclass(frozen=True)
class Check:
    """Outcome of one comparison."""

    name: str
    passed: bool
    detail: str


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
        domain, task = task_id.removeprefix("dmc/").split("-")
        self.domain = domain
        self.environment = suite.load(domain, task, task_kwargs={"random": seed})
        self.environment.reset()
        self.physics = self.environment.physics
        self.model = self.physics.model.ptr
        self.data = self.physics.data.ptr

    def restore(self, bits: np.ndarray, variables: Any) -> np.ndarray:
        """Enters a state of the C engine, with the task's variables; returns the observation."""
        self.environment._reset_next_step = False
        self.environment._step_count = 0
        self.place_target(variables)
        state = np.asarray(bits).view(np.float64)
        # The second time is for the warm start, which `after_reset` moves.
        for derive in (self.physics.after_reset, lambda: mujoco.mj_step1(self.model, self.data)):
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
        return self.physics.get_state(STATE_SIGNATURE)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """Observation, reward, whether the episode terminated."""
        timestep = self.environment.step(action)
        return flatten(timestep.observation), timestep.reward, timestep.discount == 0.0


def bare(environment: Any) -> Any:
    """The environment under all wrappers."""
    while hasattr(environment, "inner"):
        environment = environment.inner
    return environment

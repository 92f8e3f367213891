"""HumanoidBench, whose robot is simplified for MJX, see `tests.parity.mjx`.

Two questions:

- What does the simpler model change? Both models step with the C engine, one control interval from
  states on the paths of random play. In the air they must agree exactly, and while nothing but
  feet touches in the median to `FEET_BOUND`; what other links do is only told.
- Is MJX the same as the C engine on the simpler model? See `tests.parity.mjx`. Feet touch boxes,
  slopes and each other with hulls, which MJX approximates: what that changes is told, states with
  such contacts are left out otherwise, and a free run is followed until the first of them.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

import envs
from envs.physics.mujoco import STATE_SIGNATURE
from envs.task import Task
from tests.parity.humanoid_bench import read_fields
from tests.parity.mjx import (
    STATES_PER_START,
    Path,
    approximate_states,
    check_float32,
    check_free_run,
    errors,
    first_approximate,
    make_step,
    mjx_single_steps,
    record,
    single_steps,
)
from tests.parity.reference import Check

FEET_BOUND = 2e-2
AIR, FEET, LIMBS = range(3)


class ModelReference:
    """The C engine on one of the models of a native task, as a reference of `tests.parity.mjx`.

    As with Gymnasium's tasks the reward is judged too, as the last component.
    """

    def __init__(self, task: Task, model: mujoco.MjModel):
        """`model` is the task's own or that for MJX."""
        self._task = task
        self.model, self.data = model, mujoco.MjData(model)
        self._judge, self._control = jax.jit(self._evaluate), jax.jit(task.control)

    def _evaluate(self, fields: dict[str, jax.Array], variables: Any) -> tuple:
        data = SimpleNamespace(**fields)
        return self._task.observe(data, variables), self._task.reward(data, variables)

    def state(self) -> np.ndarray:
        """What `bits` of a native environment hold."""
        state = np.empty(mujoco.mj_stateSize(self.model, STATE_SIGNATURE))
        mujoco.mj_getState(self.model, self.data, state, STATE_SIGNATURE)
        return state

    def restore(self, bits: np.ndarray, variables: Any) -> None:
        """Enters a state of the C engine, with the task's variables."""
        mujoco.mj_resetData(self.model, self.data)
        state = np.asarray(bits).view(np.float64)
        mujoco.mj_setState(self.model, self.data, state, STATE_SIGNATURE)
        self._variables = variables

    def rederive(self) -> None:
        """After a change of the state: nothing, because a step derives everything anew."""

    def substeps(self, action: np.ndarray) -> Iterator[None]:
        """Takes the simulation steps of one control interval, one at a time."""
        self.data.ctrl[:] = self._control(action)
        for _ in range(self._task.substeps):
            yield mujoco.mj_step(self.model, self.data)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """Observation and reward; ends are not judged."""
        for _ in self.substeps(action):
            pass
        if self._task.reading == "dm_control":
            mujoco.mj_step1(self.model, self.data)
        observation, reward = self._judge(read_fields(self._task, self.data), self._variables)
        return np.asarray(observation), float(reward), False

    def judged(self, observation: Any, reward: Any) -> Any:
        """What MJX is judged by, see above."""
        return [*observation, reward]

    def touching(self) -> int:
        """Whether nothing of the robot touches, or only its feet, or other links too."""
        bodies = self.model.geom_bodyid[self.data.contact.geom]
        links = bodies[self.model.body_rootid[bodies] == self.model.body("pelvis").rootid]
        feet = [self.model.body(f"{side}_ankle_link").id for side in ("left", "right")]
        if not links.size:
            return AIR
        return FEET if np.isin(links, feet).all() else LIMBS


def touching(reference: ModelReference, path: Path) -> np.ndarray:
    """What touches in the interval after every state, `(steps, starts)`."""
    results = np.zeros(path.actions.shape[:2], int)
    for step, start in np.ndindex(*results.shape):
        reference.restore(path.bits[step, start], None)
        for _ in reference.substeps(path.actions[step, start]):
            results[step, start] = max(results[step, start], reference.touching())
    return results


def check_simplified(reference: ModelReference, simple: ModelReference, path: Path) -> Check:
    """The first question."""
    error = errors(
        single_steps(simple, path, np.arange(len(path.actions)), None), path.observations
    )
    kinds = np.maximum(touching(reference, path), touching(simple, path))
    kept = [error[kinds == kind] for kind in (AIR, FEET, LIMBS)]
    highest = float(kept[AIR].max(initial=0.0))
    feet, limbs = (float(np.median(kept[kind])) for kind in (FEET, LIMBS))
    return Check(
        "one interval, simplified model",
        highest == 0.0 and feet < FEET_BOUND,
        f"max error {highest:.1e} over {kept[AIR].size} states in the air, median {feet:.1e} over "
        f"{kept[FEET].size} on the feet, {limbs:.1e} over {kept[LIMBS].size} with other links",
        f"{feet:.0e}, {limbs:.0e}",
    )


def tell_approximate(path: Path, approximate: np.ndarray, observations: np.ndarray) -> Check:
    """How far MJX is from the C engine on the simpler model where it approximates a contact."""
    error = errors(observations, path.observations)[approximate]
    median, most = np.quantile(error, (0.5, 0.9)) if error.size else (0.0, 0.0)
    return Check(
        "one interval, hulls in mjx",
        True,
        f"median error {median:.1e}, 90% {most:.1e} over {error.size} states with contacts that "
        f"MJX approximates, of {approximate.size}",
        f"{median:.0e} ({error.size} of {approximate.size})",
    )


def compare_simplified(task_id: str, steps: int, seed: int) -> Iterator[Check]:
    """All checks of one task."""
    native = envs.make(task_id, "mujoco", action_repeat=1).unwrapped
    reference = ModelReference(native.task, native.task.model)
    simple = ModelReference(native.task, native.task.mjx_model())
    yield check_simplified(reference, simple, record(reference, native, steps, seed))
    path = record(simple, native, steps, seed)
    step = make_step(simple, envs.make(task_id, "mjx", action_repeat=1).unwrapped, path.variables)
    every = np.arange(steps)
    approximate = approximate_states(simple, path, every)
    yield tell_approximate(path, approximate, mjx_single_steps(step, path, every, jnp.float32))
    chosen = np.linspace(0, steps - 1, min(steps, STATES_PER_START)).astype(int)
    yield check_float32(simple, path, chosen, approximate[chosen], step, seed)
    yield check_free_run(simple, path, step, seed, first_approximate(approximate))

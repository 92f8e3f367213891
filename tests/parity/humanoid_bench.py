"""HumanoidBench against recorded transitions of the official code.

`data/humanoid_bench/` was recorded with humanoid_bench 0.2 on mujoco 3.1.6, from noisy resets, with
zero, small and full random actions: `qpos0, qvel0, action` -> `observation, reward, terminated,
actuator_force`, the reward's terms (`term/...`), and first observations of episodes. The stage of
the maze before each step is in `stage_before`.

The official code reads derived quantities as the last substep used them. Positions before that
substep follow from those after it, velocities from stepping back; the latter only where this
MuJoCo finds the contact forces of that one, which it does not where a foot is on the floor
(since then mujoco changed the contacts of meshes and planes). The recorded forces of the
actuators tell: they depend on the same velocities.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from envs.humanoid_bench.base import NOISE
from envs.humanoid_bench.maze import Progress
from envs.task import Task, TaskEnvironment
from tests.parity.reference import Check, relative_error

DATA = Path(__file__).parent.parent / "recorded" / "humanoid_bench"
BOUND = 1e-4
FORCE_BOUND = 1e-3  # N m, of actuators whose torque is up to 300, where a step back succeeded
FEWEST_STEPS_BACK = 5
# Depends on velocities before the last substep. Bounded loosely where these are not known: in
# two milliseconds a contact force does not change the velocity by more.
OF_VELOCITY = ("reward", "term/move", "term/dont_move")
VELOCITY_BOUND = 5e-3
# Over ten substeps: in the air nothing differs but rounding; on the ground, see above.
FREE_BOUND = 1e-6
MEDIAN_BOUND = 5e-3  # m and rad
ITERATIONS = 20


@cache
def load(name: str) -> dict[str, np.ndarray]:
    """The recorded rows of a task."""
    with np.load(DATA / f"h1-{name}.npz") as file:
        return dict(file)


def step_back(task: Task, row: dict[str, np.ndarray]) -> tuple[mujoco.MjData, float]:
    """The simulation after the last substep that led to a row, with what that substep derived.

    Returns:
      It, and by how much its actuators' forces miss the recorded ones.
    """
    model = task.model
    data = mujoco.MjData(model)
    qpos, qvel = np.split(row["observation"][: model.nq + model.nv], [model.nq])
    before = qpos.copy()
    mujoco.mj_integratePos(model, before, qvel, -model.opt.timestep)
    guess = qvel.copy()
    for _ in range(ITERATIONS):
        mujoco.mj_resetData(model, data)
        data.ctrl[:] = control(model, row["action"])
        data.qpos[:], data.qvel[:] = before, guess
        mujoco.mj_step(model, data)
        guess += qvel - data.qvel
    return data, float(np.abs(data.actuator_force - row["actuator_force"]).max())


def read_fields(task: Task, data: mujoco.MjData) -> dict[str, np.ndarray]:
    """What the task's functions read of a simulation."""
    fields = {name: np.asarray(getattr(data, name), np.float32) for name in task.fields}
    matrices = {name: fields[name].reshape(-1, 3, 3) for name in fields if name.endswith("mat")}
    return fields | matrices


def control(model: mujoco.MjModel, action: np.ndarray) -> np.ndarray:
    """The controls that an action in [-1, 1] stands for."""
    low, high = model.actuator_ctrlrange.T
    return low + (action + 1) / 2 * (high - low)


def _variables(row: dict[str, np.ndarray], name: str) -> Any:
    if name == "reach":
        return jnp.asarray(row["observation"][-3:], jnp.float32)
    if name == "maze":
        return Progress(jnp.int32(row["stage_before"]), jnp.zeros((), bool))
    return ()


def _rows(name: str) -> Iterator[dict[str, np.ndarray]]:
    recorded = load(name)
    for number in range(len(recorded["reward"])):
        yield {key: rows[number] for key, rows in recorded.items() if key != "reset_observation"}


def check_formulas(environment: TaskEnvironment, name: str) -> Iterator[Check]:
    """Observation, reward, its terms and the end of an episode, from the recorded states."""
    task: Any = environment.task

    @jax.jit
    def evaluate(fields: dict[str, jax.Array], variables: Any) -> dict[str, jax.Array]:
        data = SimpleNamespace(**fields)
        variables = task.advance(data, variables)
        terms = {f"term/{key}": value for key, value in task.terms(data, variables).items()}
        return terms | {
            "observation": task.observe(data, variables),
            "reward": task.reward(data, variables),
            "terminated": task.terminated(data, variables),
        }

    exact, loose, steps_back, ends = 0.0, 0.0, 0, 0
    for row in _rows(name):
        data, force_error = step_back(task, row)
        known = force_error < FORCE_BOUND
        steps_back += known
        data.actuator_force[:] = row["actuator_force"]
        fields = read_fields(task, data)
        ours = evaluate(fields, _variables(row, name))
        ends += bool(ours["terminated"]) == bool(row["terminated"])
        for key in (key for key in row if key in ours and key != "terminated"):
            error = relative_error(ours[key], row[key])
            if known or key not in OF_VELOCITY:
                exact = max(exact, error)
            else:
                loose = max(loose, error)
    count = len(load(name)["reward"])
    yield Check(
        "recorded rewards",
        exact < BOUND and loose < VELOCITY_BOUND and steps_back >= FEWEST_STEPS_BACK,
        f"largest error {exact:.1e}, {loose:.1e} of what depends on velocities in the "
        f"{count - steps_back} of {count} rows where these are not known",
        f"{exact:.0e} ({loose:.0e})",
    )
    yield Check("recorded ends", ends == count, f"{ends} of {count} agree", f"{ends}/{count}")


def check_steps(environment: TaskEnvironment, name: str) -> Check:
    """One step of ten substeps from the recorded states."""
    model = environment.task.model
    data = mujoco.MjData(model)
    free, errors = 0.0, []
    for row in _rows(name):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:] = row["qpos0"], row["qvel0"]
        data.ctrl[:] = control(model, row["action"])
        mujoco.mj_forward(model, data)
        contacts = 0
        for _ in range(environment.task.substeps):
            mujoco.mj_step(model, data)
            contacts += data.ncon
        errors.append(relative_error(data.qpos, row["observation"][: model.nq]))
        if contacts == 0:
            free = max(free, errors[-1])
    median = float(np.median(errors))
    return Check(
        "recorded step",
        free < FREE_BOUND and median < MEDIAN_BOUND,
        f"error of positions {free:.1e} in the air, with contacts median {median:.1e}, "
        f"largest {max(errors):.1e}",
        f"{median:.0e} ({max(errors):.0e})",
    )


def check_starts(environment: TaskEnvironment, name: str) -> Check:
    """The recorded starts lie within the noise of ours, and ours within that of theirs."""
    task = environment.task
    keys = jax.random.split(jax.random.key(0), 64)
    qpos, qvel, _ = jax.vmap(task.initialize)(keys)
    ours = np.concatenate([qpos, qvel], 1)
    theirs = load(name)["reset_observation"][:, : ours.shape[1]]
    # Quaternions are normalised after the noise, which moves them a little further.
    reach = 2.2 * NOISE
    if name == "sit_hard":  # starts anywhere in front of the chair, in many directions
        ours, theirs = (np.delete(rows, [0, 1, 3, 6], 1) for rows in (ours, theirs))
    distance = np.abs(ours[:, None] - theirs[None]).max()
    return Check("recorded starts", bool(distance < reach), f"at most {distance:.1e} apart", "ok")


def compare_recorded(environment: TaskEnvironment, name: str) -> Iterator[Check]:
    """All checks of one task."""
    yield from check_formulas(environment, name)
    yield check_steps(environment, name)
    yield check_starts(environment, name)

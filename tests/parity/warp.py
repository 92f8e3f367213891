"""MuJoCo Warp against the C engine, one control interval from each state on paths of that engine.

Both are the same functions of the task over the same model, so this asks about the engine alone:
observations, rewards, ends, and how many contacts there are where an interval has led.

Warp computes in float32. How far rounding may carry a state within an interval depends on the state
(a contact may be made a substep sooner or later), so the bound is measured: the C engine runs from
the same states disturbed by one unit in the last place of float32, and the median and the 90th
percentile of Warp's error must stay within `FLOAT32_FACTOR` times those of that disturbance, or
below `ROUNDING`, what float32 leaves of an observation. Ends and numbers of contacts must agree in
all but a `DOUBTFUL` part of the states: there a rounding decides.

Where shapes touch for which both engines descend on a distance (meshes, cylinders, ellipsoids and
boxes, not with planes), what they find depends on where each stops, and Warp descends in float32:
these states are left out, and how far they are apart in the median is told. (Of a cylinder in a
mesh, as the arms of the H1 are in its body at random, each may find another way out, as deep to
a tenth, in another direction.)

Where Warp has to take another solver, how far both engines are apart with it is told, and how far
the C engine is from itself.
"""

import copy
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

import envs
from envs.physics.mjx import MjxState
from envs.physics.mujoco import MujocoState
from envs.physics.simulations import STATE_SIGNATURE
from envs.task import TaskEnvironment, TaskState
from tests.helpers.c_engine import in_c_engine
from tests.parity.mjx import FLOAT32_FACTOR, ROUNDING, UNIT_IN_LAST_PLACE, errors
from tests.parity.reference import Check

STARTS = 4
EXACT_SHAPES = (mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CAPSULE)
STATES_PER_START = 40
DOUBTFUL = 0.02


def record(exact: TaskEnvironment, steps: int, seed: int) -> tuple[Any, np.ndarray]:
    """States along random play, all in one row, and the actions in them."""
    states, _ = jax.jit(jax.vmap(exact.reset))(jax.random.split(jax.random.key(seed), STARTS))
    low, high = exact.action_low, exact.action_high
    shape = (steps, STARTS, exact.action_size)
    actions = np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)

    def play(states: Any, action: jax.Array) -> tuple[Any, Any]:
        return jax.vmap(exact.step)(states, action)[0], states

    _, path = jax.jit(lambda states: jax.lax.scan(play, states, actions))(states)
    chosen = np.linspace(0, steps - 1, min(steps, STATES_PER_START)).astype(int)
    path, actions = jax.tree.map(
        lambda leaf: np.asarray(leaf)[chosen].reshape(-1, *leaf.shape[2:]), (path, actions)
    )
    return path, actions


def entered(exact: TaskEnvironment, physics: MujocoState) -> dict[str, np.ndarray]:
    """The same states for Warp."""
    size = mujoco.mj_stateSize(exact.physics.model, STATE_SIGNATURE)
    names = ("time", "qpos", "qvel", "act", "qacc_warmstart")
    rows = []
    for data, bits in zip(in_c_engine(exact, physics), physics.bits, strict=True):
        rows.append({name: np.array(getattr(data, name)) for name in names})
        rest = np.ascontiguousarray(bits).view(np.float64)[size:]
        for name in exact.task.changes:
            shape = getattr(data, name).shape
            rows[-1][name] = rest[: np.prod(shape)].reshape(shape)
            rest = rest[np.prod(shape) :]
    return {name: np.stack([row[name] for row in rows]).astype(np.float32) for name in rows[0]}


def disturbed(bits: np.ndarray, seed: int) -> np.ndarray:
    """The states a rounding of float32 away."""
    states = np.ascontiguousarray(bits).view(np.float64)
    signs = np.random.default_rng(seed).choice([-1, 1], states.shape)
    return (states * (1 + UNIT_IN_LAST_PLACE * signs)).view(np.uint32)


def descended(exact: TaskEnvironment, physics: MujocoState, controls: np.ndarray) -> np.ndarray:
    """In which states something touches in the interval whose contacts are found by descent."""
    found = np.zeros(len(physics.bits), bool)
    for row, data in enumerate(in_c_engine(exact, physics)):
        data.ctrl[:] = controls[row]
        for _ in range(exact.task.substeps):
            mujoco.mj_step(data.model, data)
            kinds = data.model.geom_type[data.contact.geom.reshape(-1, 2)]
            simple = np.isin(kinds, EXACT_SHAPES).all(1)
            simple |= (kinds == mujoco.mjtGeom.mjGEOM_PLANE).any(1)
            found[row] |= not simple.all()
    return found


def judge(name: str, ours: np.ndarray, yardstick: np.ndarray) -> Check:
    """Whether an error is what rounding makes of a state."""
    own, theirs = (np.quantile(error, (0.5, 0.9)) for error in (ours, yardstick))
    return Check(
        name,
        bool((own <= np.maximum(FLOAT32_FACTOR * theirs, ROUNDING)).all()),
        f"median error {own[0]:.1e}, 90% {own[1]:.1e}, max {ours.max():.1e} over {len(ours)} "
        f"states, against {theirs[0]:.1e}, {theirs[1]:.1e}, {yardstick.max():.1e} of a disturbed C "
        "engine",
        f"{own[1]:.0e} ({theirs[1]:.0e}), {ours.max():.0e}",
    )


def compare_warp(task_id: str, steps: int, seed: int) -> Iterator[Check]:
    """All checks of one task."""
    exact = envs.make(task_id, "mujoco", action_repeat=1).unwrapped
    warp = envs.make(task_id, "warp", action_repeat=1).unwrapped
    path, actions = record(exact, steps, seed)
    step = jax.jit(jax.vmap(exact.step))
    solver = warp.physics.model.opt.solver
    if solver != exact.physics.model.opt.solver:
        _, usual = step(path, actions)
        exact = with_solver(exact, solver)
        step = jax.jit(jax.vmap(exact.step))
        _, other = step(path, actions)
        apart = errors(other.observation, usual.observation)
        median, most = np.quantile(apart, (0.5, 0.9))
        yield Check(
            "one interval, solver of warp",
            True,
            f"the C engine with Warp's solver is off by {median:.1e} in the median, 90% "
            f"{most:.1e}, max {apart.max():.1e}",
            f"{median:.0e} ({most:.0e})",
        )
    after, reference = step(path, actions)
    bits = disturbed(path.physics.bits, seed)
    nearby = TaskState(path.physics.replace(bits=bits), path.variables)
    _, yardstick = step(nearby, actions)
    varied = path.physics.varied
    start = MjxState(carried=entered(exact, path.physics), fields={}, varied=varied)
    _, ours = jax.jit(jax.vmap(warp.step))(TaskState(start, path.variables), actions)

    controls = np.asarray(jax.vmap(exact.task.control)(actions))
    left_out = descended(exact, path.physics, controls)

    def compare(name: str, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = (getattr(each, name).reshape(len(states), -1) for each in (ours, yardstick))
        known = getattr(reference, name).reshape(len(states), -1)
        own, theirs = (errors(value, known)[states] for value in values)
        return own, theirs

    yield judge("one interval, warp", *compare("observation", ~left_out))
    yield judge("rewards, warp", *compare("reward", ~left_out))
    if left_out.any():
        own, theirs = (np.median(each) for each in compare("observation", left_out))
        yield Check(
            "descent, warp",
            True,
            f"median error {own:.1e} over {left_out.sum()} states where contacts are found by "
            f"descent, {theirs:.1e} of a disturbed C engine",
            f"{own:.0e} ({theirs:.0e}), {left_out.sum()} of {len(left_out)}",
        )
    differ = int((np.asarray(ours.terminated) != np.asarray(reference.terminated)).sum())
    yield Check(
        "ends, warp",
        differ <= DOUBTFUL * len(actions),
        f"{differ} of {len(actions)} ends differ",
        f"{differ} of {len(actions)}",
    )
    positions = jnp.asarray(entered(exact, after.physics)["qpos"])
    counts, theirs = (
        np.asarray(jax.jit(jax.vmap(each.physics.contacts))(positions, varied))
        for each in (warp, exact)
    )
    differ = int((counts != theirs).sum())
    yield Check(
        "contacts, warp",
        differ <= DOUBTFUL * len(actions),
        f"{differ} of {len(actions)} numbers of contacts differ; {theirs.mean():.1f} in the mean, "
        f"{theirs.max()} at most",
        f"{differ} of {len(actions)} ({theirs.max()})",
    )


def with_solver(native: TaskEnvironment, solver: int) -> TaskEnvironment:
    """The same in the C engine with another solver."""
    task = copy.copy(native.task)
    task.model = copy.copy(task.model)
    task.model.opt.solver = solver
    return TaskEnvironment(task, "mujoco")

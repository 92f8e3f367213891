"""The native tasks of MyoSuite against MyoSuite itself, which has to be installed here.

An episode of MyoSuite, put into the pose and the goal that a native task has drawn, with the same
actions: observations, rewards, ends and successes with the C engine must agree to `C_BOUND`.
Controls are sigmoids in float32 of both, whose last place depends on the library that computes the
exponential; contacts make much of that, so MyoSuite gets the native controls, and its own must be
within `CONTROL_BOUND` of them. What does not vary from reset to reset must be the same in both.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any
from unittest import mock

import jax
import mujoco
import numpy as np
from scipy import stats

import envs
from tests.parity.reference import Check, relative_error

C_BOUND = 1e-5
CONTROL_BOUND = 1e-6
SEEDS = 10
STEPS = 100
RESETS = 300
SIGNIFICANCE = 1e-3


def make_original(task_id: str) -> Any:
    """The task of MyoSuite, without its limit."""
    import gymnasium
    import myosuite  # noqa: F401  # which registers its tasks

    return gymnasium.make(envs.spec(task_id).official.rpartition(":")[2]).unwrapped


def place_goal(original: Any, task: Any, variables: Any, varied: dict[str, np.ndarray]) -> None:
    """Gives MyoSuite the goal of a native task, and what its model is."""
    for name, values in varied.items():
        getattr(original.model, name)[:] = values
    match type(task).__name__:
        case "Hold":
            from myosuite.utils.mujoco_geom_utils import refresh_geom_derived_fields

            original.model.site_pos[original.goal_sid] = variables
            bodies = (original.model.geom_bodyid[-1],)
            refresh_geom_derived_fields(original.model, original._mj_spec, bodies)
        case "Reach":
            original.model.site_pos[original.target_sids] = variables[0]
        case "Pose":
            original.target_jnt_value = np.asarray(variables, np.float64)
        case "PenTwirl":
            x, y = (
                -np.arcsin(variables[1] / np.cos(np.arcsin(variables[0]))),
                np.arcsin(variables[0]),
            )
            half = np.array([x, y]) / 2
            (cx, cy), (sx, sy) = np.cos(half), np.sin(half)
            original.model.body_quat[original.target_obj_bid] = [cx * cy, sx * cy, cx * sy, sx * sy]


def enter(original: Any, control: np.ndarray, action: np.ndarray) -> None:
    """In the place of MyoSuite's own way from an action to controls."""
    original.data.ctrl[:] = control


def compare_myosuite(task_id: str, steps: int, seed: int) -> Iterator[Check]:
    """All checks of one task."""
    steps = min(steps, STEPS)
    native = envs.make(task_id, "mujoco", action_repeat=1).unwrapped
    original = make_original(task_id)
    reset, step = jax.jit(native.reset), jax.jit(native.step)
    control = jax.jit(native.task.control)
    error, control_error, ends, differ = 0.0, 0.0, 0, 0
    random = np.random.default_rng(seed)
    for episode in range(SEEDS):
        state, observation = reset(jax.random.key(seed + episode))
        original.reset(seed=seed + episode)
        mujoco.mj_resetData(original.model, original.data)
        bits = np.asarray(state.physics.bits).view(np.float64)
        signature = mujoco.mjtState.mjSTATE_INTEGRATION
        mujoco.mj_setState(original.model, original.data, bits, signature)
        drawn = jax.tree.map(np.asarray, (state.variables, state.physics.varied))
        place_goal(original, native.task, *drawn)
        mujoco.mj_forward(original.model, original.data)
        error = max(error, relative_error(observation, original.get_obs()))
        for _ in range(steps):
            action = random.uniform(-1, 1, native.action_size).astype(np.float32)
            state, ours = step(state, action)
            given = np.asarray(control(action))
            original._apply_action(action)
            control_error = max(control_error, relative_error(given, original.data.ctrl))
            with mock.patch.object(original, "_apply_action", partial(enter, original, given)):
                theirs, reward, terminated, _, known = original.step(action)
            error = max(error, relative_error(ours.observation, theirs))
            error = max(error, relative_error(ours.reward, reward))
            solved = bool(known["solved"])
            ends += terminated
            differ += (bool(ours.terminated), bool(ours.success)) != (terminated, solved)
    yield Check(
        "roll-out, mujoco",
        error < C_BOUND and control_error < CONTROL_BOUND and differ == 0,
        f"max error {error:.1e} of observations and rewards in {SEEDS} episodes of {steps} steps, "
        f"of controls {control_error:.1e}; {ends} ends, {differ} ends or successes differ",
        f"{error:.0e}",
    )
    keys = jax.random.split(jax.random.key(seed), RESETS)
    states, first = jax.jit(jax.vmap(native.reset))(keys)
    varied = [values.reshape(RESETS, -1) for values in states.physics.varied.values()]
    first = np.concatenate([first, *varied], 1, dtype=np.float64)

    def begin() -> np.ndarray:
        """First observation, and what varies in the model."""
        observation, _ = original.reset()
        fields = [getattr(original.model, name).ravel() for name in states.physics.varied]
        return np.concatenate([observation, *fields])

    theirs = np.stack([begin() for _ in keys])
    same = (np.ptp(first, 0) < C_BOUND) & (np.ptp(theirs, 0) < C_BOUND)
    p_values = [
        stats.ks_2samp(a, b, method="asymp").pvalue
        for a, b in zip(first.T[~same], theirs.T[~same], strict=True)
    ]
    smallest = min(1.0, min(p_values, default=1.0) * len(p_values or [1]))
    apart = float(np.abs(first - theirs).max(0)[same].max())
    yield Check(
        "distribution of resets",
        smallest > SIGNIFICANCE and apart < C_BOUND,
        f"smallest corrected p-value {smallest:.3f} over {len(p_values)} components, others are "
        f"{apart:.1e} apart",
        f"{smallest:.2f}",
    )

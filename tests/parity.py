"""Compares the native tasks with dm_control and Gymnasium.

    python -m tests.parity dmc/cheetah-run --steps 200 --seed 3
    python -m tests.parity mujoco/Ant-v4 --physics mujoco
    python -m tests.parity all --physics mujoco

One line per check; exit status 1 if any fails. Errors are relative to 1 + |reference|.

With the C engine everything is the same computation: an episode starts with the same bits, and
whole roll-outs agree to `C_BOUND`, which leaves room for the rounding of observations to
float32 and nothing else. How MJX is judged is told in `tests.parity_mjx`.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from scipy import stats

import envs
from envs.task import TaskState
from tests.parity_mjx import compare_mjx
from tests.parity_reference import Check, Reference, bare, relative_error

C_BOUND = 1e-5
RESETS = 300
STATES = 200
SIGNIFICANCE = 1e-3  # of the reset test as a whole, all components together


def check_shape(task_id: str, environment: Any, reference: Reference) -> Check:
    """Sizes and times."""
    native = bare(environment)
    sizes = reference.sizes()
    timestep = native.task.substeps * native.task.model.opt.timestep
    ours = (environment.observation_size, environment.action_size, environment.episode_length)
    theirs = (sizes.observation, sizes.action, sizes.episode_length)
    passed = (
        ours == theirs
        and np.isclose(timestep, sizes.interval)
        and np.array_equal(native.action_low.astype(sizes.action_low.dtype), sizes.action_low)
        and np.array_equal(native.action_high.astype(sizes.action_high.dtype), sizes.action_high)
    )
    return Check("sizes, times, ranges", passed, f"{ours} against {theirs}")


def check_start(environment: Any, reference: Reference, seed: int) -> Check:
    """The original's own way into an episode, from the positions that the task drew."""
    native = bare(environment)
    qpos, qvel, _ = native.task.initialize(jax.random.key(seed))
    theirs = reference.start(np.asarray(qpos), np.asarray(qvel), native.task.settling_steps)
    ours = np.asarray(jax.jit(native.physics.reset)(qpos, qvel).bits).view(np.float64)
    error = float(np.abs(ours - theirs).max())
    return Check("start of an episode, mujoco", error == 0.0, f"max difference {error:.1e}")


def check_resets(environment: Any, reference: Reference, seed: int) -> Check:
    """Two-sample Kolmogorov-Smirnov test per component of the first observation."""
    keys = jax.random.split(jax.random.key(seed), RESETS)
    _, ours = jax.jit(jax.vmap(environment.reset))(keys)
    theirs = np.stack([reference.first_observation() for _ in keys])
    # Rounded, so that components that do not vary are not told apart by rounding errors.
    ours, theirs = np.round(np.asarray(ours, np.float64), 5), np.round(theirs, 5)
    p_values = [
        stats.ks_2samp(a, b, method="asymp").pvalue for a, b in zip(ours.T, theirs.T, strict=True)
    ]
    smallest = min(p_values) * len(p_values)
    return Check(
        "distribution of resets",
        smallest > SIGNIFICANCE,
        f"smallest corrected p-value {min(smallest, 1.0):.3f} over {len(p_values)} components",
    )


def check_rollout(environment: Any, reference: Reference, steps: int, seed: int) -> Check:
    """The same start and the same actions in the C engine."""
    state, observation = jax.jit(environment.reset)(jax.random.key(seed))
    start = state.environment
    errors = [relative_error(observation, reference.restore(start.physics.bits, start.variables))]
    reward_errors = [0.0]
    terminations_agree = True
    step = jax.jit(environment.step)
    random = np.random.default_rng(seed)
    for _ in range(steps):
        action = random.uniform(-1, 1, environment.action_size).astype(np.float32)
        state, timestep = step(state, action)
        observation, reward, terminated = reference.step(reference.control(action))
        errors.append(relative_error(timestep.observation, observation))
        reward_errors.append(relative_error(timestep.reward, reward))
        terminations_agree &= bool(timestep.terminated) == terminated
    passed = max(errors + reward_errors) < C_BOUND and terminations_agree
    return Check(
        f"roll-out of {steps} steps, mujoco",
        passed,
        f"max error of observations {max(errors):.1e}, of rewards {max(reward_errors):.1e}, "
        f"terminations {'agree' if terminations_agree else 'DIFFER'}",
    )


def check_states(environment: Any, reference: Reference, seed: int) -> Check:
    """One step from states near the default pose, where random roll-outs rarely find reward."""
    native = bare(environment)
    model = native.task.model
    random = np.random.default_rng(seed)
    qpos = (model.qpos0 + random.normal(0, 0.2, (STATES, model.nq))).astype(np.float32)
    qvel = random.normal(0, 1, (STATES, model.nv)).astype(np.float32)
    actions = random.uniform(-1, 1, (STATES, model.nu)).astype(np.float32)
    physics = jax.vmap(native.physics.reset)(qpos, qvel)
    variables: Any = ()
    if getattr(reference, "domain", "") == "reacher":
        finger = np.asarray(physics.fields["geom_xpos"])[:, model.geom("finger").id, :2]
        variables = (finger + random.normal(0, 0.02, finger.shape)).astype(np.float32)
    states = TaskState(physics=physics, variables=variables)
    _, ours = jax.jit(jax.vmap(native.step))(states, actions)
    rewards = np.empty(STATES)
    errors = []
    for row in range(STATES):
        state = jax.tree.map(lambda leaf, row=row: leaf[row], states)
        reference.restore(state.physics.bits, state.variables)
        observation, rewards[row], _ = reference.step(actions[row])
        errors.append(relative_error(ours.observation[row], observation))
        errors.append(relative_error(ours.reward[row], rewards[row]))
    passed = max(errors) < C_BOUND and rewards.max() > 0
    return Check(
        f"step from {STATES} states, mujoco",
        passed,
        f"max error {max(errors):.1e}, rewards from {rewards.min():.2f} to {rewards.max():.2f}",
    )


def make_reference(task_id: str, seed: int) -> Any:
    """The original of a task."""
    if task_id.startswith("dmc/"):
        return Reference(task_id, seed)
    from tests.parity_gymnasium import GymnasiumReference

    native = bare(envs.make(task_id, "mujoco"))
    return GymnasiumReference(task_id, seed, native.task.changes)


def compare(task_id: str, steps: int, seed: int, physics: str) -> Iterator[Check]:
    """All checks of one task."""
    reference = make_reference(task_id, seed)
    if physics in ("mujoco", "both"):
        environment = envs.make(task_id, "mujoco", action_repeat=1)
        yield check_shape(task_id, environment, reference)
        yield check_start(environment, reference, seed)
        yield check_resets(environment, reference, seed)
        yield check_states(environment, reference, seed)
        yield check_rollout(environment, reference, steps, seed)
    if physics in ("mjx", "both"):
        yield from compare_mjx(task_id, reference, steps, seed)


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", help="task id, or `all`")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--physics", choices=("mujoco", "mjx", "both"), default="both")
    arguments = parser.parse_args()
    native = tuple(task for task in envs.tasks() if envs.spec(task).physics)
    failures = 0
    for task_id in native if arguments.task == "all" else (envs.spec(arguments.task).id,):
        for check in compare(task_id, arguments.steps, arguments.seed, arguments.physics):
            verdict = "ok  " if check.passed else "FAIL"
            print(f"{verdict} {task_id}: {check.name}: {check.detail}", flush=True)
            failures += not check.passed
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

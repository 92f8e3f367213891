"""Compares the native tasks with dm_control.

    python -m tests.parity dmc/cheetah-run --steps 200 --seed 3
    python -m tests.parity all

One line per check; exit status 1 if any fails. Errors are relative to 1 + |reference|.

With the C engine everything is the same computation, up to the rounding of observations to
float32, so whole roll-outs must agree to 1e-5.

MJX computes in float32. How far that may lie from float64 depends on the state: a contact can
amplify a rounding error by orders of magnitude. The bound is therefore measured instead of
chosen: the C engine itself is run in float64 from states disturbed by a float32 rounding
error, and MJX must not be further off than `AMPLIFICATION` times the effect of that.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from dm_control import suite
from scipy import stats

import envs
from envs.physics.mujoco import STATE_SIGNATURE

C_BOUND = 1e-5
RESETS = 300
SIGNIFICANCE = 1e-3  # of the reset test as a whole, all components together


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
        """Enters a state of the C engine at the start of an episode; returns the observation."""
        self.environment.reset()
        if self.domain == "reacher":
            self.physics.named.model.geom_pos["target", :2] = variables
        state = np.asarray(bits).view(np.float64)
        # The second time is for the warm start, which `after_reset` moves.
        for derive in (self.physics.after_reset, lambda: mujoco.mj_step1(self.model, self.data)):
            mujoco.mj_setState(self.model, self.data, state, STATE_SIGNATURE)
            derive()
        return flatten(self.environment.task.get_observation(self.physics))

    def start(self, qpos: np.ndarray, qvel: np.ndarray, settling_steps: int) -> np.ndarray:
        """Starts as the suite would from given positions; returns the integration state."""
        with self.physics.reset_context():
            self.data.qpos[:] = qpos
            self.data.qvel[:] = qvel
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


def check_shape(task_id: str, environment: Any, reference: Reference) -> Check:
    """Sizes and times."""
    native = bare(environment)
    spec = reference.environment.action_spec()
    observation = flatten(reference.environment.reset().observation)
    timestep = native.task.substeps * native.task.model.opt.timestep
    ours = (environment.observation_size, environment.action_size, environment.episode_length)
    theirs = (observation.size, spec.shape[0], round(reference.environment._step_limit))
    passed = (
        ours == theirs
        and np.isclose(timestep, reference.environment.control_timestep())
        and np.array_equal(native.action_low, spec.minimum)
        and np.array_equal(native.action_high, spec.maximum)
    )
    return Check("sizes, times, ranges", passed, f"{ours} against {theirs}")


def check_start(environment: Any, reference: Reference, seed: int) -> Check:
    """The suite's own way into an episode, from the positions that the task drew."""
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
    theirs = np.stack([flatten(reference.environment.reset().observation) for _ in keys])
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
        observation, reward, terminated = reference.step(action)
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


def compare(task_id: str, steps: int, seed: int, physics: str) -> Iterator[Check]:
    """All checks of one task."""
    reference = Reference(task_id, seed)
    if physics in ("mujoco", "both"):
        environment = envs.make(task_id, "mujoco", action_repeat=1)
        yield check_shape(task_id, environment, reference)
        yield check_start(environment, reference, seed)
        yield check_resets(environment, reference, seed)
        yield check_rollout(environment, reference, steps, seed)


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", help="task id, or `all`")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--physics", choices=("mujoco", "mjx", "both"), default="both")
    arguments = parser.parse_args()
    native = tuple(task for task in envs.tasks() if task.startswith("dmc/"))
    failures = 0
    for task_id in native if arguments.task == "all" else (envs.spec(arguments.task).id,):
        for check in compare(task_id, arguments.steps, arguments.seed, arguments.physics):
            verdict = "ok  " if check.passed else "FAIL"
            print(f"{verdict} {task_id}: {check.name}: {check.detail}", flush=True)
            failures += not check.passed
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

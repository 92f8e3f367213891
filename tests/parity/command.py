"""Compares the tasks with dm_control, Gymnasium, MyoSuite, and recordings of HumanoidBench.

    python -m tests.parity dmc/cheetah-run --steps 200 --seed 3
    python -m tests.parity mujoco/Ant-v4 --physics mujoco
    python -m tests.parity myosuite/myo-reach --physics official --host-python ~/myo/bin/python
    python -m tests.parity all --seed 3 --report results/parity.md

One line per check; exit status 1 if any fails. Errors are relative to 1 + |reference|.

With the C engine everything is the same computation: an episode starts with the same bits, and
whole roll-outs agree to `C_BOUND`, which leaves room for the rounding of observations to
float32 and nothing else. How MJX is judged is told in `tests.parity.mjx` and (HumanoidBench)
`tests.parity.simplified`, how recordings are used in `tests.parity.humanoid_bench`, and what is
asked of originals in worker processes in `tests.parity.hosted`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy import stats

import envs
from benchmarks.originals import available
from envs.dmc.models import sensor_slice
from envs.task import TaskState
from purejax_simba.commands import one_line_errors
from tests.parity.hosted import compare_hosted
from tests.parity.humanoid_bench import compare_recorded
from tests.parity.mjx import compare_mjx
from tests.parity.myosuite import STEPS, compare_myosuite
from tests.parity.reference import Check, Reference, relative_error
from tests.parity.report import Report
from tests.parity.simplified import ModelReference, compare_simplified
from tests.parity.warp import compare_warp

C_BOUND = 1e-5
RESETS = 300
STATES = 200
# Standard deviation of positions and velocities around the pose of `check_states`. A ball near
# the middle of the cup, a finger that spins, a fish that does not move through its dense water
# so fast that the simulation fails.
USUAL_DEVIATIONS = (0.2, 1.0)
DEVIATIONS = {"ball_in_cup": (0.03, 1.0), "finger": (0.2, 20.0), "fish": (0.2, 0.1)}
BALL_IN_CUP = (0.0, 0.0, 0.0, 0.35)
# Fields of a model that only say how it looks or where its files are.
NO_PHYSICS = {
    *("geom_rgba", "site_rgba", "mat_rgba", "nbuffer", "npaths", "paths"),
    *("mesh_pathadr", "skin_pathadr", "tex_pathadr"),
}
# What the suite changes in a model for an episode (targets), and the energy flag.
MOVED_BY_THE_SUITE = {
    "acrobot": {"enableflags"},
    "cartpole": {"enableflags"},
    "finger": {"site_pos", "site_size"},
    "fish": {"geom_pos"},
    "pendulum": {"enableflags"},
    "reacher": {"geom_pos", "geom_size"},
}
SIGNIFICANCE = 1e-3  # of the reset test as a whole, all components together


def check_shape(task_id: str, environment: Any, reference: Reference) -> Check:
    """Sizes and times."""
    native = environment.unwrapped
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


def check_compiled_model(environment: Any, reference: Reference) -> Check:
    """Every number of the model and of its options."""
    compiled = environment.unwrapped.task.model
    differences = []
    for ours, theirs in ((compiled, reference.model), (compiled.opt, reference.model.opt)):
        for name in sorted(set(dir(theirs)) - NO_PHYSICS):
            value = getattr(theirs, name)
            if name.startswith("_") or not isinstance(value, int | float | np.ndarray):
                continue
            if not np.array_equal(value, getattr(ours, name)):
                differences.append(name)
    allowed = MOVED_BY_THE_SUITE.get(reference.domain, set())
    detail = f"differs in {sorted(differences)}, may in {sorted(allowed)}"
    return Check("model", set(differences) <= allowed, detail)


def check_start(environment: Any, reference: Reference, seed: int) -> Check:
    """The original's own way into an episode, from the positions that the task drew."""
    native = environment.unwrapped
    qpos, qvel, _ = native.draw(jax.random.key(seed))
    act = native.task.activate(jax.random.key(seed))
    theirs = reference.start(*map(np.asarray, (qpos, qvel, act)), native.task.settling_steps)
    ours = np.asarray(jax.jit(native.physics.reset)(qpos, qvel, act).bits).view(np.float64)
    error = float(np.abs(ours - theirs).max())
    detail = f"max difference {error:.1e}"
    return Check("start of an episode, mujoco", error == 0.0, detail, f"{error:.0e}")


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
        f"{min(smallest, 1.0):.2f}",
    )


def check_rollout(environment: Any, reference: Reference, steps: int, seed: int) -> Check:
    """The same start and the same actions in the C engine."""
    native = environment.unwrapped
    state, observation = jax.jit(native.reset)(jax.random.key(seed))
    errors = [relative_error(observation, reference.restore(state.physics.bits, state.variables))]
    reward_errors = [0.0]
    terminations_agree = True
    step = jax.jit(native.step)
    random = np.random.default_rng(seed)
    for _ in range(steps):
        action = random.uniform(native.action_low, native.action_high).astype(np.float32)
        state, timestep = step(state, action)
        observation, reward, terminated = reference.step(action)
        errors.append(relative_error(timestep.observation, observation))
        reward_errors.append(relative_error(timestep.reward, reward))
        terminations_agree &= bool(timestep.terminated) == terminated
    passed = max(errors + reward_errors) < C_BOUND and terminations_agree
    return Check(
        "roll-out, mujoco",
        passed,
        f"max error of observations {max(errors):.1e}, of rewards {max(reward_errors):.1e} in "
        f"{steps} steps, terminations {'agree' if terminations_agree else 'DIFFER'}",
        f"{max(errors + reward_errors):.0e}",
    )


def near_targets(
    native: Any, domain: str, fields: dict[str, jax.Array], random: np.random.Generator
) -> Any:
    """The task's variables, with targets (where there are any) close to what has to reach them."""
    model = native.task.model
    match domain:
        case "reacher":
            body = np.asarray(fields["geom_xpos"])[:, model.geom("finger").id, :2]
        case "fish":
            body = np.asarray(fields["geom_xpos"])[:, model.geom("mouth").id]
        case "finger" if np.size(native.task.initialize(jax.random.key(0))[2]):
            sensors = np.asarray(fields["sensordata"])
            tip, spinner = (sensor_slice(model, name) for name in ("tip", "spinner"))
            body = (sensors[:, tip] - sensors[:, spinner])[:, ::2]
        case _:
            return ()
    return (body + random.normal(0, 0.02, body.shape)).astype(np.float32)


def check_states(environment: Any, reference: Reference, seed: int) -> Check:
    """One step from states near the default pose, where random roll-outs rarely find reward."""
    native = environment.unwrapped
    model = native.task.model
    random = np.random.default_rng(seed)
    pose = BALL_IN_CUP if reference.domain == "ball_in_cup" else model.qpos0
    distance, speed = DEVIATIONS.get(reference.domain, USUAL_DEVIATIONS)
    qpos = (pose + random.normal(0, distance, (STATES, model.nq))).astype(np.float32)
    qvel = random.normal(0, speed, (STATES, model.nv)).astype(np.float32)
    low, high = native.action_low, native.action_high
    actions = random.uniform(low, high, (STATES, model.nu)).astype(np.float32)
    physics = jax.vmap(native.physics.reset)(qpos, qvel)
    variables = near_targets(native, reference.domain, physics.fields, random)
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
        "one step, mujoco",
        passed,
        f"max error {max(errors):.1e} from {STATES} states, rewards from {rewards.min():.2f} to "
        f"{rewards.max():.2f}",
        f"{max(errors):.0e}",
    )


def make_reference(task_id: str, seed: int) -> Any:
    """The original of a task."""
    if task_id.startswith("dmc/"):
        return Reference(task_id, seed)
    from tests.parity.gymnasium import GymnasiumReference

    native = envs.make(task_id, "mujoco").unwrapped
    return GymnasiumReference(task_id, seed, native.task.changes)


def compare(
    task_id: str, steps: int, seed: int, physics: str, host_python: str = ""
) -> Iterator[Check]:
    """All checks of one task."""
    if physics == "warp":
        yield from compare_warp(task_id, steps, seed)
        return
    if physics == "official":
        yield from compare_hosted(task_id, steps, seed, host_python)
        return
    if task_id.startswith("myosuite/"):
        if physics in ("mujoco", "both"):
            yield from compare_myosuite(task_id, steps, seed)
        if physics in ("mjx", "both") and "mjx" in envs.spec(task_id).physics:
            native = envs.make(task_id, "mujoco", action_repeat=1).unwrapped
            reference = ModelReference(native.task, native.task.model)
            yield from compare_mjx(task_id, reference, min(steps, STEPS), seed)
        return
    if task_id.startswith("humanoid_bench/"):
        if physics in ("mujoco", "both"):
            yield from compare_recorded(envs.make(task_id).unwrapped, task_id.partition("h1-")[2])
        if physics in ("mjx", "both") and "mjx" in envs.spec(task_id).physics:
            yield from compare_simplified(task_id, steps, seed)
        return
    reference = make_reference(task_id, seed)
    if physics in ("mujoco", "both"):
        environment = envs.make(task_id, "mujoco", action_repeat=1)
        yield check_shape(task_id, environment, reference)
        yield check_compiled_model(environment, reference)
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
    engines = ("mujoco", "mjx", "warp", "both", "official")
    parser.add_argument("--physics", choices=engines, default="both")
    parser.add_argument("--host-python", default="", help="interpreter that has MyoSuite")
    parser.add_argument("--report", type=Path, help="write a table of the checks to this file")
    arguments = parser.parse_args()
    with one_line_errors("compare again") as outcome:
        outcome.status = 1 if compare_all(arguments) else 0
    return outcome.status


def compare_all(arguments: argparse.Namespace) -> int:
    """Prints a line per check; returns how many failed."""
    report = Report(arguments.report, arguments.steps, arguments.seed)
    if arguments.task == "all":
        official = arguments.physics == "official"
        chosen = [
            task
            for task in available(arguments.host_python if official else "")
            if envs.spec(task).official or not official
        ]
    else:
        chosen = [envs.spec(arguments.task).id]
    failures = 0
    for task_id in chosen:
        checks = []
        for check in compare(
            task_id, arguments.steps, arguments.seed, arguments.physics, arguments.host_python
        ):
            verdict = "ok  " if check.passed else "FAIL"
            print(f"{verdict} {task_id}: {check.name}: {check.detail}", flush=True)
            checks.append(check)
        failures += sum(not check.passed for check in checks)
        report.add(task_id, checks)
    return failures

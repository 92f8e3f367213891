"""Comparison of MJX with the original (dm_control, say), see `tests.parity.command`.

Three questions, kept apart:

- Is it the same model? MJX in float64, solvers run to convergence on both sides, one control
  interval from states on dm_control's paths: must agree to `MODEL_BOUND` everywhere. Left out
  are states with a contact for which MJX is an approximation by design. It adds 1e-6 to a
  denominator when it looks for the point of a capsule nearest to a sphere or to another capsule
  (and where the axes of two capsules cross, as limbs inside each other do in random starts, its
  contact normal is arbitrary); it treats boxes that spheres and capsules touch as any
  polyhedron; it descends on distance functions, a fixed number of steps,
  where ellipsoids and cylinders touch anything but a plane; it makes up to four points where two
  boxes touch, or the hull of a mesh anything but a plane, MuJoCo up to eight and the deepest one;
  and it has no collisions for what a task takes away in `mjx_model`. There, half of the states
  must agree to `APPROXIMATE_BOUND`.
  Where MJX has to take another solver, both must converge to the same; how far from that the
  original stops is told, because no other solver can stop at the same place. MJX has none of
  MuJoCo's iterations against slipping: what they change is told, and the original is then made
  to do without them.
- Is it float32-accurate? The same in float32, without the same states. How far rounding may
  carry a state within an interval depends on the state (a contact may be made a substep sooner
  or later), so the bound is measured: the C engine runs from the same states disturbed by one
  unit in the last place of float32, and the median and the 90th percentile of MJX's error must
  stay within `FLOAT32_FACTOR` times those of that disturbance, or below `ROUNDING`, what float32
  leaves of an observation after the substeps of an interval.
- Does it stay close when left alone? Both run freely from the same starts with the same
  actions. Chaos ends the agreement of any two float32 computations, so the yardstick is again
  the C engine, disturbed in that way at every step: in the median over the starts, MJX must
  stay within `FREE_ERROR` for at least half as long. Where most states have contacts that MJX
  approximates (a dog's limbs, which lie close together), each run ends at the first of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

import envs
from envs.physics.mjx import MjxState
from envs.task import TaskEnvironment, TaskState
from tests.parity.reference import Check, Reference

STARTS = 20
STATES_PER_START = 10
MODEL_BOUND = 1e-6
APPROXIMATE_BOUND = 1e-3
CONVERGED_ITERATIONS = 1000
FLOAT32_FACTOR = 10.0
FREE_ERROR = 1e-2
UNIT_IN_LAST_PLACE = 2.0**-23
ROUNDING = 32 * UNIT_IN_LAST_PLACE

CARRIED = ("time", "qpos", "qvel", "act", "qacc_warmstart", "sensordata")


@dataclass
class Path:
    """Episodes of the original from `STARTS` starts; the first two axes are step and start.

    Attributes:
      carried: name -> state before each step.
      bits: `(steps, starts, size)` integration state before each step.
      actions: `(steps, starts, action_size)`.
      observations: `(steps, starts, observation_size)` after each step.
      variables: the task's variables of each start.
    """

    carried: dict[str, np.ndarray]
    bits: np.ndarray
    actions: np.ndarray
    observations: np.ndarray
    variables: Any


def record(reference: Reference, native: Any, steps: int, seed: int) -> Path:
    """Plays random actions in the original."""
    random = np.random.default_rng(seed)
    names = (*CARRIED, *native.task.changes)
    starts, _ = jax.jit(jax.vmap(native.reset))(jax.random.split(jax.random.key(seed), STARTS))
    shape = (steps, STARTS, native.action_size)
    actions = random.uniform(native.action_low, native.action_high, shape).astype(np.float32)
    states: list[list[dict[str, np.ndarray]]] = []
    bits: list[list[np.ndarray]] = []
    observations: list[list[np.ndarray]] = []
    for start in range(STARTS):
        state = jax.tree.map(lambda leaf, start=start: np.asarray(leaf[start]), starts)
        reference.restore(state.physics.bits, state.variables)
        states.append([])
        bits.append([])
        observations.append([])
        for step in range(steps):
            states[-1].append({name: np.array(getattr(reference.data, name)) for name in names})
            bits[-1].append(reference.state())
            observations[-1].append(judged_step(reference, actions[step, start]))
    carried = {
        name: np.stack([[state[name] for state in row] for row in states], axis=1) for name in names
    }
    return Path(
        carried=carried,
        bits=np.stack(bits, axis=1),
        actions=actions,
        observations=np.stack(observations, axis=1),
        variables=starts.variables,
    )


def disturb(reference: Reference, random: np.random.Generator) -> None:
    """Moves the state of the original by one unit in the last place of float32."""
    for name in ("qpos", "qvel", "qacc_warmstart"):
        array = getattr(reference.data, name)
        array *= 1 + UNIT_IN_LAST_PLACE * random.choice([-1, 1], array.shape)
    reference.rederive()


def judged_step(reference: Any, action: np.ndarray) -> Any:
    """One control interval of the original."""
    observation, reward, _ = reference.step(action)
    return reference.judged(observation, reward)


def errors(values: Any, references: Any) -> np.ndarray:
    """Largest relative error (see `tests.parity.command`) over the last axis."""
    values, references = (np.asarray(each, np.float64) for each in (values, references))
    error = np.abs(values - references) / (1 + np.abs(references))
    return np.nan_to_num(error, nan=np.inf).max(-1)


def single_steps(
    reference: Reference, path: Path, chosen: np.ndarray, random: np.random.Generator | None
) -> np.ndarray:
    """The original one interval after the chosen states, disturbed or not.

    Returns:
      Observations, `(chosen, starts, observation_size)`.
    """
    results = np.empty_like(path.observations[chosen])
    for row, step in enumerate(chosen):
        for start in range(STARTS):
            variables = jax.tree.map(lambda leaf, start=start: leaf[start], path.variables)
            reference.restore(path.bits[step, start], variables)
            if random is not None:
                disturb(reference, random)
            results[row, start] = judged_step(reference, path.actions[step, start])
    return results


def approximate_states(reference: Reference, path: Path, chosen: np.ndarray) -> np.ndarray:
    """Whether MJX approximates a contact in the interval after the chosen states.

    Returns:
      `(chosen, starts)` bool.
    """
    results = np.zeros((len(chosen), STARTS), bool)
    for row, step in enumerate(chosen):
        for start in range(STARTS):
            variables = jax.tree.map(lambda leaf, start=start: leaf[start], path.variables)
            reference.restore(path.bits[step, start], variables)
            results[row, start] = approximated(reference)
            for _ in reference.substeps(path.actions[step, start]):
                results[row, start] |= approximated(reference)
    return results


def first_approximate(approximate: np.ndarray) -> np.ndarray:
    """The first step of each start that is marked, `(starts,)`; their number if none is."""
    return np.where(approximate.any(0), approximate.argmax(0), len(approximate))


def approximated(reference: Reference) -> bool:
    """Whether the original sees a contact of a kind that MJX approximates or does not have."""
    plane, sphere = mujoco.mjtGeom.mjGEOM_PLANE.value, mujoco.mjtGeom.mjGEOM_SPHERE.value
    pairs = reference.model.geom_type[reference.data.contact.geom.reshape(-1, 2)]
    exact = (pairs == plane).any(1) | (pairs == sphere).all(1)
    return not exact.all()


def make_step(reference: Reference, native: TaskEnvironment, variables: Any):
    """Compiles one interval of MJX for all starts: `(carried, actions) -> (carried, obs)`."""

    def step(carried, variables, action):
        physics = MjxState(carried=carried, fields={})
        state, timestep = native.step(TaskState(physics=physics, variables=variables), action)
        judged = reference.judged(timestep.observation, timestep.reward)
        return state.physics.carried, jnp.stack(judged)

    compiled = jax.jit(jax.vmap(step))
    return lambda carried, actions: compiled(carried, variables, actions)


def mjx_single_steps(step, path: Path, chosen: np.ndarray, dtype: Any) -> np.ndarray:
    """MJX's observations one interval after the chosen states."""
    results = []
    for index in chosen:
        carried = {name: jnp.asarray(values[index], dtype) for name, values in path.carried.items()}
        results.append(np.asarray(step(carried, jnp.asarray(path.actions[index]))[1]))
    return np.stack(results)


def check_model(
    task_id: str, reference: Reference, path: Path, chosen: np.ndarray, approximate: np.ndarray
) -> Iterator[Check]:
    """The first question."""
    definition = envs.make(task_id, "mjx", action_repeat=1).unwrapped.task
    options = (definition.model.opt, reference.model.opt)
    usual = [(option.tolerance, option.solver) for option in options]
    solver = definition.mjx_model().opt.solver
    for option in options:
        option.tolerance, option.solver = 0.0, solver
    try:
        jax.clear_caches()  # or JAX takes constants of what was traced in float32
        with jax.enable_x64(True):
            step = make_step(reference, TaskEnvironment(definition, "mjx"), path.variables)
            ours = mjx_single_steps(step, path, chosen, jnp.float64)
        theirs = single_steps(reference, path, chosen, None)
    finally:
        for option, (tolerance, solver) in zip(options, usual, strict=True):
            option.tolerance, option.solver = tolerance, solver
        jax.clear_caches()
    every = errors(ours, theirs)
    error = every[~approximate]
    yield Check(
        "one interval, mjx in float64",
        bool(error.max() < MODEL_BOUND) and error.size >= approximate.size / 4,
        f"max error {error.max():.1e} over {error.size} states, {approximate.sum()} left out",
        f"{error.max():.0e}",
    )
    if approximate.any():
        median, most = np.quantile(every[approximate], (0.5, 0.9))
        yield Check(
            "approximate contacts, mjx in float64",
            bool(median < APPROXIMATE_BOUND),
            f"median error {median:.1e}, 90% {most:.1e}, max {every[approximate].max():.1e} over "
            f"{approximate.sum()} states",
            f"{median:.0e} ({approximate.sum()} of {approximate.size})",
        )


def check_solver(
    reference: Reference, path: Path, chosen: np.ndarray, solver: mujoco.mjtSolver
) -> Check:
    """Whether the solver that MJX has to take finds what that of the original looks for."""
    found, sought = (
        converged_steps(reference, path, chosen, kind)
        for kind in (solver, reference.model.opt.solver)
    )
    error = errors(found, sought).max()
    left = errors(path.observations[chosen], sought)
    median, most = np.quantile(left, (0.5, 0.9))
    return Check(
        "one interval, solver of mjx",
        bool(error < MODEL_BOUND),
        f"max error {error:.1e} with both solvers converged; the original, as soon as it stops, "
        f"has a median error of {median:.1e}, 90% {most:.1e}, max {left.max():.1e}",
        f"{error:.0e} ({most:.0e})",
    )


def converged_steps(
    reference: Reference, path: Path, chosen: np.ndarray, solver: mujoco.mjtSolver
) -> np.ndarray:
    """`single_steps` with as many iterations of the given solver as it can use."""
    option = reference.model.opt
    usual = (option.solver, option.iterations, option.tolerance)
    option.solver, option.iterations, option.tolerance = solver, CONVERGED_ITERATIONS, 0.0
    try:
        return single_steps(reference, path, chosen, None)
    finally:
        option.solver, option.iterations, option.tolerance = usual


def tell_slipping(reference: Reference, path: Path, chosen: np.ndarray) -> Check:
    """What the original's iterations against slipping change. From here on it does without."""
    reference.model.opt.noslip_iterations = 0
    error = errors(single_steps(reference, path, chosen, None), path.observations[chosen])
    median, most = np.quantile(error, (0.5, 0.9))
    return Check(
        "one interval, free to slip",
        True,
        f"without iterations against slipping the original is off by {median:.1e} in the median, "
        f"90% {most:.1e}, max {error.max():.1e} over {error.size} states",
        f"{median:.0e} ({most:.0e})",
    )


def check_float32(
    reference: Reference,
    path: Path,
    chosen: np.ndarray,
    approximate: np.ndarray,
    step: Any,
    seed: int,
) -> Check:
    """The second question."""
    ours = mjx_single_steps(step, path, chosen, jnp.float32)
    disturbed = single_steps(reference, path, chosen, np.random.default_rng(seed))
    error, yardstick = (
        errors(values, path.observations[chosen])[~approximate] for values in (ours, disturbed)
    )
    ours, theirs = (np.quantile(values, (0.5, 0.9)) for values in (error, yardstick))
    return Check(
        "one interval, mjx in float32",
        bool((ours <= np.maximum(FLOAT32_FACTOR * theirs, ROUNDING)).all()),
        f"median error {ours[0]:.1e}, 90% {ours[1]:.1e}, max {error.max():.1e} against "
        f"{theirs[0]:.1e}, {theirs[1]:.1e}, {yardstick.max():.1e} of a disturbed C engine",
        f"{ours[1]:.0e} ({theirs[1]:.0e})",
    )


def check_free_run(
    reference: Reference, path: Path, step: Any, seed: int, ends: np.ndarray | None = None
) -> Check:
    """The third question; of each start until its step `ends`, `(starts,)`, where that is given."""
    steps = len(path.actions)
    ends = np.full(STARTS, steps) if ends is None else ends
    carried = {name: jnp.asarray(values[0], jnp.float32) for name, values in path.carried.items()}
    ours = np.empty_like(path.observations)
    for index in range(steps):
        carried, observation = step(carried, jnp.asarray(path.actions[index]))
        ours[index] = observation
    theirs = np.empty_like(path.observations)
    random = np.random.default_rng(seed)
    for start in range(STARTS):
        variables = jax.tree.map(lambda leaf, start=start: leaf[start], path.variables)
        reference.restore(path.bits[0, start], variables)
        for index in range(steps):
            disturb(reference, random)
            theirs[index, start] = judged_step(reference, path.actions[index, start])
    ours_agree, theirs_agree = (
        float(np.median(np.minimum(agreement(errors(values, path.observations)), ends)))
        for values in (ours, theirs)
    )
    return Check(
        "free run, mjx",
        ours_agree >= theirs_agree / 2,
        f"within {FREE_ERROR:.0e} for {ours_agree:.0f} of {steps} steps (median of {STARTS} "
        f"starts), a disturbed C engine for {theirs_agree:.0f}",
        f"{ours_agree:.0f} ({theirs_agree:.0f})",
    )


def agreement(error: np.ndarray) -> np.ndarray:
    """For each start, the number of steps before the error first exceeds `FREE_ERROR`."""
    exceeded = error > FREE_ERROR
    return np.where(exceeded.any(0), exceeded.argmax(0), len(error))


def compare_mjx(task_id: str, reference: Reference, steps: int, seed: int) -> Iterator[Check]:
    """All checks of MJX for one task."""
    starts = envs.make(task_id, "mujoco", action_repeat=1).unwrapped
    path = record(reference, starts, steps, seed)
    chosen = np.linspace(0, steps - 1, min(steps, STATES_PER_START)).astype(int)
    if reference.model.opt.noslip_iterations:
        yield tell_slipping(reference, path, chosen)
        path = record(reference, starts, steps, seed)
    approximate = approximate_states(reference, path, chosen)
    native = envs.make(task_id, "mjx", action_repeat=1).unwrapped
    solver = native.physics.model.opt.solver
    if solver != reference.model.opt.solver:
        yield check_solver(reference, path, chosen, solver)
    yield from check_model(task_id, reference, path, chosen, approximate)
    step = make_step(reference, native, path.variables)
    yield check_float32(reference, path, chosen, approximate, step, seed)
    ends = None
    if approximate.mean() > 0.5:
        ends = first_approximate(approximate_states(reference, path, np.arange(steps)))
    yield check_free_run(reference, path, step, seed, ends)

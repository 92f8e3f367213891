"""The table of the parity checks, one row per task, see `tests.parity.command`."""

from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from benchmarks.table import Table
from tests.parity.reference import Check

# Name of a check -> title of its column, and what the column shows.
COLUMNS = {
    "sizes, times, ranges": ("sizes", "sizes of observation and action, times, action ranges"),
    "model": ("model", "every number of the compiled model and its options"),
    "start of an episode, mujoco": ("start", "largest difference of the state after a reset"),
    "distribution of resets": (
        "resets",
        "smallest p-value of Kolmogorov-Smirnov tests of the components of first observations, "
        "times the number of components; above 0.001",
    ),
    "one step, mujoco": (
        "step, C",
        "largest error of observation and reward one step after random states near the default "
        "pose; below 1e-5",
    ),
    "roll-out, mujoco": (
        "roll-out, C",
        "largest error of observations and rewards over the whole roll-out; below 1e-5",
    ),
    "one interval, solver of mjx": (
        "solver",
        "where MJX has to use another solver: largest difference between the two, converged; below "
        "1e-6 (how far from there the original stops, 90th percentile)",
    ),
    "one interval, free to slip": (
        "slipping",
        "where the original has iterations against slipping, which MJX has not: median error after "
        "one control interval without them (90th percentile); only told. The next four are with "
        "an original that has none either",
    ),
    "one interval, mjx in float64": (
        "MJX, float64",
        "largest error after one control interval; below 1e-6",
    ),
    "approximate contacts, mjx in float64": (
        "approximate",
        "the same where MJX approximates a contact, median (number of such states); below 1e-3",
    ),
    "one interval, simplified model": (
        "simplified",
        "HumanoidBench: median error after one control interval of random play with the model "
        "for MJX in the C engine, on the feet (below 2e-2), and where other links touch; equal in "
        "the air. The next three are with that model on both sides",
    ),
    "one interval, hulls in mjx": (
        "hulls in MJX",
        "HumanoidBench: median error where MJX approximates contacts of hulls and limbs (number of "
        "such states); only told, and left out of the next two",
    ),
    "one interval, mjx in float32": (
        "MJX, float32",
        "90th percentile of the error after one control interval (that of the C engine disturbed "
        "by one unit in the last place of float32, of which it may be 10 times, or 4e-6)",
    ),
    "free run, mjx": (
        "free run",
        "steps until the error exceeds 0.01, median over starts (the C engine disturbed in that "
        "way at every step, of which it may be half); on HumanoidBench and of dogs until the "
        "first contact that MJX approximates",
    ),
    "one interval, solver of warp": (
        "solver, Warp",
        "where Warp has to take another solver: median error of the C engine with that one after "
        "one control interval (90th percentile); only told. The next four are with it in both",
    ),
    "one interval, warp": (
        "Warp",
        "90th percentile of the error of observations one control interval after states of random "
        "play (that of the C engine disturbed by one unit in the last place of float32, of which "
        "it may be 10 times, or 4e-6), largest error",
    ),
    "rewards, warp": ("rewards, Warp", "the same of rewards"),
    "descent, warp": (
        "descent, Warp",
        "where both engines descend to find contacts, left out of the two before: median error of "
        "observations (of the disturbed C engine), number of such states; only told",
    ),
    "ends, warp": ("ends, Warp", "the same: ends that differ, of all; at most 2%"),
    "contacts, warp": (
        "contacts, Warp",
        "the same: states whose number of contacts differs, of all; at most 2% (largest number)",
    ),
    "recorded rewards": (
        "recorded rewards",
        "HumanoidBench, from 22 recorded states: largest error of observation, reward and its "
        "terms; below 1e-4 (of what depends on velocities that were not recorded; below 5e-3)",
    ),
    "recorded ends": ("recorded ends", "the same: ends of episodes that agree"),
    "recorded step": (
        "recorded step",
        "the same: median error of positions after one step, with contacts that changed from "
        "mujoco 3.1.6 to this one; below 5e-3, and below 1e-6 in the air (largest error)",
    ),
    "recorded starts": ("recorded starts", "recorded starts lie within the noise of ours"),
    "versions": (
        "in workers",
        "the original runs in worker processes, with these packages, here in an interpreter of "
        "their own (`--host-python`)",
    ),
    "adapter": (
        "adapter",
        "the package through our adapter against the package in a plain loop, with the same seeds "
        "and actions: largest error of observations and rewards in so many steps; below 1e-6",
    ),
    "ends and successes": (
        "ends, successes",
        "the same: how many steps terminated, truncated and solved the task; all agree",
    ),
}
VERSIONED = ("mujoco", "mujoco-mjx", "jax", "dm-control", "gymnasium")


class Report:
    """The table as a file. Cells of earlier runs stay, if the same arguments made them."""

    def __init__(self, path: Path | None, steps: int, seed: int):
        """Reads what is there; None writes nothing."""
        # Not every Python has every original.
        found = {name: next(iter(metadata.distributions(name=name)), None) for name in VERSIONED}
        versions = ", ".join(f"{name} {each.version}" for name, each in found.items() if each)
        self._table = Table(
            path,
            "The tasks against the originals",
            f"Every row is made by `python -m tests.parity <task> --steps {steps} --seed {seed} "
            f"--report results/parity.md` with {versions}.",
            [
                "Errors are relative to 1 + |reference|; the modules in `tests/parity/` say how "
                "they are measured. Originals in worker processes, with `--physics official`; "
                "HumanoidBench, from recordings, whatever the steps and the seed."
            ],
            dict(COLUMNS.values()),
        )

    def add(self, task_id: str, checks: Iterable[Check]) -> None:
        """Enters the checks of a task and writes the file."""
        cells = {}
        for check in checks:
            figure = check.figure or ("ok" if check.passed else "")
            cells[COLUMNS[check.name][0]] = figure if check.passed else f"**FAIL** {figure}"
        self._table.add(task_id, cells)

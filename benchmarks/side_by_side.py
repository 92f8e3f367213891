"""Our runs beside those of the published code on the same tasks: curves and who is above whom."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.common import print_json
from purejax_simba import drawing
from purejax_simba.aggregates import (
    bootstrap_interval,
    improvement_interval,
    mean,
    probability_of_improvement,
)
from purejax_simba.commands import one_line_errors
from purejax_simba.config import ConfigError
from purejax_simba.runs.result_files import METRICS_FILE, read_returns

NAMES = ("ours", "published")
FIGURE = "side_by_side.png"


@dataclass(frozen=True)
class Arguments:
    """Compare `<directory>/ours/<task>/metrics.csv` with `<directory>/published/<task>/...`."""

    directory: tyro.conf.Positional[Path] = Path("results/side_by_side")
    """Where both are; `side_by_side.png` is drawn there."""


def common(*directories: Path) -> tuple[list[int], list[np.ndarray]]:
    """Env steps at which all seeds of both were evaluated, and returns `(steps, seeds)` of each."""
    both = [[dict(p) for _, p in sorted(read_returns(each).items())] for each in directories]
    steps = sorted(set.intersection(*(set(points) for seeds in both for points in seeds)))
    return steps, [np.array([[p[step] for p in seeds] for step in steps]) for seeds in both]


def compare(ours: Sequence[np.ndarray], published: Sequence[np.ndarray]) -> dict[str, Any]:
    """How probably a seed of ours is above one of the published code, with its 95% interval.

    Args:
      ours, published: returns `(steps, seeds)` on the same tasks, whose probabilities are averaged.

    Returns:
      Of the last evaluation and of the mean over evaluations: `last` and `mean`.
    """
    results: dict[str, Any] = {}
    for name, reduce in {"last": lambda x: x[-1], "mean": lambda x: x.mean(0)}.items():
        first, second = [*map(reduce, ours)], [*map(reduce, published)]
        results[name] = {
            "ours": np.round(np.concatenate(first), 1).tolist(),
            "published": np.round(np.concatenate(second), 1).tolist(),
            "probability_that_ours_is_above": float(probability_of_improvement(first, second)),
            "interval": [float(end) for end in improvement_interval(first, second)],
        }
    return results


def draw(file: Path, curves: dict[str, tuple[list[int], list[np.ndarray]]]) -> None:
    """Draws every seed, the means and their 95% intervals over seeds; a panel per task."""
    pyplot = drawing.pyplot()
    figure, panels = pyplot.subplots(
        1, len(curves), figsize=(4.2 * len(curves), 3.4), layout="constrained", squeeze=False
    )
    for axes, (task, (steps, returns)) in zip(panels[0], curves.items(), strict=True):
        for name, color, values in zip(NAMES, ("tab:blue", "tab:orange"), returns, strict=True):
            low, high = bootstrap_interval([values], mean)
            axes.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
            axes.plot(steps, values, color=color, alpha=0.3, linewidth=0.7)
            label = f"{name}, {values.shape[1]} seeds"
            axes.plot(steps, values.mean(1), color=color, linewidth=2, label=label)
        axes.set(title=task, xlabel="environment steps", ylabel="return")
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left")
    drawing.save(figure, file)


def main() -> int:
    """Runs the command line; returns the exit status."""
    directory = tyro.cli(Arguments).directory
    with one_line_errors("compare again") as outcome:
        curves = {}
        for file in sorted((directory / NAMES[0]).rglob(METRICS_FILE)):
            task = str(file.parent.relative_to(directory / NAMES[0]))
            other = directory / NAMES[1] / task / METRICS_FILE
            if other.exists():
                curves[task] = common(file.parent, other.parent)
        if not curves:
            raise ConfigError(f"{directory} has no task with results of both")
        for task, (steps, returns) in curves.items():
            ours, others = returns
            print_json({"task": task, "env_step": steps[-1]}, compare([ours], [others]))
        if len(curves) > 1:
            ours, others = zip(*(returns for _, returns in curves.values()), strict=True)
            print_json({"task": "all"}, compare(ours, others))
        draw(directory / FIGURE, curves)
    return outcome.status


if __name__ == "__main__":
    sys.exit(main())

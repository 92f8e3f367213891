"""The section of the page about a sweep."""

from pathlib import Path

from purejax_simba.report.charts import Spec
from purejax_simba.report.html import Markup, between, join, table, tag
from purejax_simba.report.sections import Section, chart, make, note
from purejax_simba.report.sweeps import SweepCharts, sweep_charts


def sweep(directory: Path, number: int, specs: dict[str, Spec]) -> Section:
    """Its ranking and its hyperparameters; or why there is none."""
    name, title = f"sweep-{number}", f"Sweep {directory.name}"
    try:
        found = sweep_charts(directory)
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        return make(name, title, note(f"{directory} cannot be read as a sweep: {error}"))
    parts = [tag("h3", "Ranking"), _ranking(found)]
    if found.importance:
        specs[f"{name}-importance"] = found.importance
        parts.append(
            note(
                "Importance is the share of the variance of scores that a hyperparameter explains "
                "by itself (epsilon squared, from groups of its values); what several explain only "
                "together counts for none."
            )
        )
        parts.append(tag("div", chart(f"{name}-importance", "Importance"), class_="charts wide"))
    if found.parallel:
        specs[f"{name}-parallel"] = found.parallel
        parts.append(
            tag("div", chart(f"{name}-parallel", "Parallel coordinates"), class_="charts wide")
        )
    slices = []
    for index, (axis, spec) in enumerate(found.slices.items()):
        specs[f"{name}-slice-{index}"] = spec
        slices.append(chart(f"{name}-slice-{index}", f"{found.score} against {axis}"))
    parts.append(tag("div", join(slices), class_="charts"))
    return make(name, title, *parts)


def _ranking(found: SweepCharts) -> Markup:
    axes = [axis.name for axis in found.results.axes]
    header = ["mean rank", "configuration", "task", *axes, "env step", "interquartile mean"]
    return table(
        [*header, "95% interval", "seeds", "diverged"],
        (
            [
                row.mean_rank,
                row.name,
                row.task,
                *(row.values[name] for name in axes),
                row.score.env_step,
                row.score.mean,
                between(*row.score.interval()),
                len(row.score.returns),
                row.score.diverged,
            ]
            for row in found.results.rows
        ),
    )

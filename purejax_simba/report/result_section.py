"""The section of the page with the tables of results."""

from collections.abc import Sequence

import pandas as pd

from purejax_simba.report import tables
from purejax_simba.report.html import Markup, between, table, tag
from purejax_simba.report.methods import Experiment, is_ambiguous
from purejax_simba.report.sections import Section, make, note

_ORIGIN = (
    "Means over seeds at the last env step that both have; the difference is ours less the "
    "published one, with Welch's 95% interval. Published are means from the files that accompany "
    "SimbaV2 (arXiv 2502.15280), of the same agent with as many updates; network sizes, batches "
    "and the rest are its paper's, and SimbaV2's were made with an earlier version of its code."
)
_AMBIGUOUS = (
    "On the MuJoCo suite it is unknown what the names of the published files count: utd2 may be "
    "two updates per env step, or one, which is the published default. Runs are beside both."
)


def results(experiments: Sequence[Experiment]) -> Section | None:
    """Tables of results, and beside the published figures."""
    if not experiments:
        return None
    found = tables.results_by_task(experiments)
    parts = [
        note(
            "At the last evaluation: interquartile mean over seeds with its bootstrap 95% "
            "interval, mean and standard deviation, of the seeds that have a value then."
        ),
        _results_table(found),
    ]
    compared = tables.comparisons_by_task(experiments)
    if len(compared):
        parts += [tag("h3", "Beside the published figures"), note(_ORIGIN)]
        if any(is_ambiguous(task) for task in compared.task):
            parts.append(note(_AMBIGUOUS))
        parts.append(_comparison_table(compared))
    aggregates = tables.aggregates(experiments)
    if len(aggregates):
        parts += [
            tag("h3", "Normalised scores"),
            note(
                "(score - low) / (high - low) per task, the paper's; over the tasks of each suite "
                "that the experiment has, at the last env step at which all were evaluated; "
                "stratified bootstrap 95% intervals."
            ),
            _aggregate_table(aggregates),
        ]
    compared = tables.aggregate_comparisons(experiments)
    if len(compared):
        parts += [
            tag("h3", "Normalised means beside the published ones"),
            _aggregate_comparison_table(compared),
        ]
    return make("results", "Results", *parts)


def _results_table(found: pd.DataFrame) -> Markup:
    header = ["experiment", "task", "metric", "env step", "seeds", "diverged"]
    header += ["interquartile mean", "95% interval", "mean", "std"]
    return table(
        header,
        (
            [
                r.experiment,
                r.task,
                r.metric,
                r.env_step,
                tables.seeds_of(r.seeds, r.missing),
                r.diverged,
                r.interquartile_mean,
                between(r.low, r.high),
                r.mean,
                r.std,
            ]
            for r in found.itertuples()
        ),
    )


def _comparison_table(found: pd.DataFrame) -> Markup:
    header = ["experiment", "task", "metric", "env step", "ours", "seeds", "published", "std"]
    header += ["seeds", "algorithm", "difference", "95% interval"]
    return table(
        header,
        (
            [
                r.experiment,
                r.task,
                r.metric,
                int(r.env_step),
                r.mean,
                tables.seeds_of(r.seeds, r.missing),
                r.published_mean,
                r.published_std,
                int(r.published_seeds),
                r.published_algorithm,
                r.difference,
                between(r.difference_low, r.difference_high),
            ]
            for r in found.itertuples()
        ),
    )


def _aggregate_table(found: pd.DataFrame) -> Markup:
    header = ["experiment", "suite", "tasks", "seeds", "env step"]
    for name in tables.STATISTICS:
        header += [name, "95% interval"]
    rows = []
    for _, row in found.iterrows():
        seeds = tables.seeds_of(row["seeds"], row["missing"])
        cells = [row["experiment"], row["suite"], row["tasks"], seeds, row["env_step"]]
        for name in tables.STATISTICS:
            cells += [row[name], between(row[f"{name} low"], row[f"{name} high"])]
        rows.append(cells)
    return table(header, rows)


def _aggregate_comparison_table(found: pd.DataFrame) -> Markup:
    header = ["experiment", "suite", "tasks", "env step", "ours", "seeds missing"]
    return table(
        [*header, "published", "algorithm"],
        (
            [
                r.experiment,
                r.suite,
                r.tasks,
                r.env_step,
                r.mean,
                r.missing,
                r.published_mean,
                r.published_algorithm,
            ]
            for r in found.itertuples()
        ),
    )

"""The section of the page with the tables of results."""

from collections.abc import Sequence

import pandas as pd

from purejax_simba.report import tables
from purejax_simba.report.html import Markup, between, table, tag
from purejax_simba.report.methods import Experiment
from purejax_simba.report.sections import Section, make, note


def results(experiments: Sequence[Experiment]) -> Section | None:
    """Tables of results, and beside the published figures."""
    if not experiments:
        return None
    found = tables.results_by_task(experiments)
    parts = [
        note(
            "At the last evaluation: interquartile mean over seeds with its bootstrap 95% "
            "interval, mean and standard deviation."
        ),
        _results_table(found),
    ]
    if "published_mean" in found and found.published_mean.notna().any():
        parts += [
            tag("h3", "Beside the published figures"),
            note(
                "Means over seeds at the last env step that both have; the difference is ours less "
                "the published one, with Welch's 95% interval. Published figures are those of the "
                "files that accompany arXiv 2502.15280, with its network sizes."
            ),
            _comparison_table(found[found.published_mean.notna()]),
        ]
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
                r.seeds,
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
    header = ["experiment", "task", "metric", "env step", "ours", "published", "std", "seeds"]
    header += ["algorithm", "difference", "95% interval"]
    return table(
        header,
        (
            [
                r.experiment,
                r.task,
                r.metric,
                int(r.compared_env_step),
                r.compared_mean,
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
    header = ["experiment", "suite", "tasks", "env step"]
    for name in tables.STATISTICS:
        header += [name, "95% interval"]
    compared = "published mean" in found
    header += ["mean", "published mean", "at env step"] if compared else []
    rows = []
    for _, row in found.iterrows():
        cells = [row["experiment"], row["suite"], row["tasks"], row["env_step"]]
        for name in tables.STATISTICS:
            cells += [row[name], between(row[f"{name} low"], row[f"{name} high"])]
        if compared:
            cells += [row["compared mean"], row["published mean"], row["compared env_step"]]
        rows.append(cells)
    return table(header, rows)

"""The paper's kinds of figure, from any set of runs and the published results alike."""

from collections.abc import Callable, Sequence
from pathlib import Path

from purejax_simba.report.figures import curves, design, norms, scaling, summaries
from purejax_simba.report.methods import Experiment, experiments_of, given_algorithms
from purejax_simba.report.reading import Collection
from purejax_simba.report.style import save

# Each draws a matplotlib figure, or none where there is nothing to draw; the first ones also take
# published algorithms to show beside.
_OF_CURVES: dict[str, Callable[..., object | None]] = {
    "learning_curves": curves.learning_curves,
    "aggregate_curves": curves.aggregate_curves,
}
FIGURES: dict[str, Callable[[Sequence[Experiment]], object | None]] = _OF_CURVES | {
    "aggregate_scores": summaries.aggregate_scores,
    "performance_profiles": summaries.profiles,
    "probability_of_improvement": summaries.improvement,
    "compute": scaling.compute,
    "utd_scaling": scaling.update_to_data,
    "parameter_scaling": scaling.parameters,
    "design_study": design.design_study,
    "norms": norms.five_panels,
}


def draw_all(collection: Collection, directory: Path) -> dict[str, list[Path]]:
    """Draws every figure for which there is something to draw.

    Returns:
      Name of the figure -> its files; no files where there is nothing to draw.
    """
    experiments = experiments_of(collection)
    given = given_algorithms(collection)
    drawn = {}
    for name in FIGURES:
        draw: Callable[..., object | None] = FIGURES[name]
        figure = draw(experiments, given) if name in _OF_CURVES else draw(experiments)
        drawn[name] = [] if figure is None else save(figure, directory, name)
    return drawn

"""What each design choice of SimbaV2 is worth."""

from collections.abc import Sequence
from typing import Any

from purejax_simba.report import style
from purejax_simba.report.figures.scaling import scope
from purejax_simba.report.methods import (
    Estimate,
    Experiment,
    Method,
    estimate,
    published_algorithm,
)

# The paper's names of what was changed, by the names in the published files.
VARIANTS = {
    "simbaV2_utd2": "SimbaV2",
    "a_no_input_norm": "no l2-normalised input",
    "b_no_shift": "no shift",
    "c_shift_1": "shift 1",
    "d_resize_proj": "resize projection",
    "e_mse_loss": "mean squared error loss",
    "f_no_rew_normalize": "no reward scaling",
    "g_no_rew_bound": "no bound on rewards",
    "h_hard_target_copy": "hard target copy",
    "i_no_lr_decay": "no learning-rate decay",
    "j_scaler_init_1": "scaler starts at 1",
    "k_scaler_scale_1": "scaler scale 1",
    "l_alpha_init_05": "alpha starts at 0.5",
    "m_alpha_scale_1": "alpha scale 1",
}


def design_study(experiments: Sequence[Experiment]) -> Any:
    """A bar for every published variant, and for every experiment, on the tasks that all have."""
    tasks, step = scope(experiments)
    bars: list[tuple[str, str, Estimate]] = []
    looks = style.looks(experiments)
    methods: list[Method] = [*experiments, *map(published_algorithm, VARIANTS)]
    for method in methods:
        score = estimate(method, tasks, step) if tasks else None
        if score is None:
            continue
        if isinstance(method, Experiment):
            bars.append((looks[method.name].label, looks[method.name].color, score))
        else:
            is_whole = method.name == "simbaV2_utd2"
            color = style.BLUE if is_whole else style.GREY
            bars.append((f"{VARIANTS[method.name]}, published", color, score))
    if len(bars) < 2:
        return None
    figure, axes = style.pyplot().subplots(
        figsize=(5.2, 0.8 + 0.2 * len(bars)), layout="constrained"
    )
    for row, (_, color, score) in enumerate(bars):
        axes.barh(row, score.value, height=0.7, color=color, alpha=0.75)
        error = [[max(0.0, score.value - score.low)], [max(0.0, score.high - score.value)]]
        axes.errorbar(score.value, row, xerr=error, color="black", linewidth=0.8, capsize=2)
        axes.annotate(
            f"{score.value:.3f}",
            (score.high, row),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    axes.set_yticks(range(len(bars)), [label for label, _, _ in bars])
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.12)
    many = f"{len(tasks)} tasks" if len(tasks) > 1 else tasks[0]
    axes.set_xlabel(f"normalised score, {many}, {style.steps_label(step)} env steps")
    return figure

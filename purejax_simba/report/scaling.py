"""What more computation, more updates, more parameters and each design choice bring.

Computation and sizes are those of the residual blocks, in which nearly everything is: the sizes of
the other layers depend on the task. SimBa and SimbaV2 have the same blocks.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

import envs
from purejax_simba.defaults import PUBLISHED_CRITICS
from purejax_simba.report.charts import Figure, Panel, Series
from purejax_simba.report.methods import (
    SIMBA_V2,
    Method,
    Methods,
    is_ambiguous,
    published_algorithm,
)
from purejax_simba.report.published import algorithms, suites_of
from purejax_simba.report.reading import Run
from purejax_simba.report.style import AGENTS, BLUE, GREY, Look, looks, steps_label
from purejax_simba.waiting import count_of

EXPANSION = 4
_WIDTH = "agent.critic_hidden_dim"
# The published agents (arXiv 2502.15280, appendix); how many critics, the suite says.
PUBLISHED = {
    "agent.name": "simba_v2",
    "agent.actor_hidden_dim": 128,
    "agent.actor_num_blocks": 1,
    _WIDTH: 512,
    "agent.critic_num_blocks": 2,
    "agent.policy_delay": 1,
    "replay.batch_size": 256,
}
_AGENTS = ("simba_v2", "simba")
# Of a layer: its output, and the gradients with respect to its kernel and to its input. For the
# critics' loss a critic computes its output for the target and for the loss, which needs both
# gradients, and an actor its output for the target. For the actor's loss both compute their
# outputs; the gradient passes through the critics to their input, and the actor needs both.
_FOR_CRITICS, _FOR_ACTOR = (4, 1), (2, 3)  # of each critic, of the actor
# Kinds of published algorithms: marker, and what differs between them.
_KINDS = {
    "updates": ("circle", "UTD 1, 2, 4, 8"),
    "resets": ("square", "UTD 1, 2, 4, 8 with resets"),
    "width": ("diamond", "critic 128 to 1024 wide"),
}
_SUITE_TITLES = {
    "mujoco": "MuJoCo",
    "dmc_easy_medium": "DMC, easy and medium",
    "dmc_hard": "DMC, hard",
    "myosuite": "MyoSuite",
    "humanoid_bench": "HumanoidBench",
    "resets": "hardest",
}


def block_weights(width: int, num_blocks: int) -> int:
    """Weights in the residual blocks of a network."""
    return num_blocks * 2 * EXPANSION * width**2


def gflop_per_transition(
    config: dict[str, Any], update_to_data_ratio: float, num_critics: float
) -> float:
    """10^9 multiplications and additions in the blocks, in the updates per transition."""
    critics = num_critics * block_weights(config[_WIDTH], config["agent.critic_num_blocks"])
    actor = block_weights(config["agent.actor_hidden_dim"], config["agent.actor_num_blocks"])
    for_critics, for_actor = (
        of_critic * critics + of_actor * actor for of_critic, of_actor in (_FOR_CRITICS, _FOR_ACTOR)
    )
    products = for_critics + for_actor / config["agent.policy_delay"]
    return update_to_data_ratio * 2 * config["replay.batch_size"] * products / 1e9


def compute_of(run: Run) -> float | None:
    """GFLOP per transition of a run; None for agents without such blocks and unknown sizes."""
    config = run.config
    known = {name: config[name] for name in PUBLISHED if config.get(name) is not None}
    ratio = config.get("update_to_data_ratio")
    if ratio is None or (PUBLISHED | known)["agent.name"] not in _AGENTS:
        return None
    critics = config.get("agent.num_critics") or published_critics([run.task])
    return gflop_per_transition(PUBLISHED | known, ratio, critics)


def published_critics(tasks: Sequence[str]) -> float:
    """How many critics the published agents have, the mean over tasks; nothing else depends on it,
    in which computation is linear.
    """
    return float(np.mean([PUBLISHED_CRITICS[envs.spec(task).suite] for task in tasks]))


def scaling(methods: Methods) -> Figure | None:
    """Normalised mean against the operations of the updates per transition, a panel per suite.

    Published are several numbers of updates, with resets and without, and several widths of the
    critic. Without experiments there is a panel of the tasks that were published with resets.
    """
    tasks, step = methods.scope
    suites = suites_of(tasks)
    if suites and not methods.ours:
        # The paper's twelve hardest tasks.
        suites["resets"] = sorted(published_algorithm(f"{SIMBA_V2}_reset").tasks)
    x = f"GFLOP in residual blocks per transition, at {steps_label(step)} env steps"
    if any(is_ambiguous(task) for task in tasks):
        x += "; what published names count on MuJoCo is unknown"
    look = looks(methods.ours)
    panels = []
    for name, members in suites.items():
        series = []
        for own, names in _published_at(members).items():
            points = [_score(published_algorithm(n), members, step, at) for n, at in names.items()]
            series.append(Series(own, pd.concat(points)))
        for experiment in methods.ours:
            computed = [compute_of(run) for task, run in experiment.runs.items() if task in members]
            known = [at for at in computed if at is not None]
            if known:
                at = float(np.mean(known))
                own = look[experiment]._replace(marker="star")  # among the published points
                series.append(Series(own, _score(experiment, members, step, at)))
        panels.append(Panel(suite_title(name, members), _known(series), x, is_log=True))
    y = "normalised score, mean over tasks"
    return Figure(panels, y, size=(2.4, 2.0)) if panels else None


def _published_at(tasks: Sequence[str]) -> dict[Look, dict[str, float]]:
    """What is published of each agent and kind: name -> GFLOP per transition, mean over tasks."""
    critics = published_critics(tasks)
    found: dict[Look, dict[str, float]] = {}
    for name, known in algorithms().iterrows():
        if known.kind in _KINDS:
            (color, agent), (marker, words) = AGENTS[known.family], _KINDS[known.kind]
            look = Look(f"{agent}, {words}, published", color, marker=marker)
            width = {} if pd.isna(known.critic_width) else {_WIDTH: int(known.critic_width)}
            sizes, ratio = PUBLISHED | width, known.updates_per_interaction
            gflop = gflop_per_transition(sizes, ratio, critics)
            found.setdefault(look, {})[str(name)] = gflop
    return found


def design_study(methods: Methods) -> Figure | None:
    """A row for every published variant, and for every experiment, on the tasks that all have."""
    tasks, step = methods.scope
    look = looks(methods.ours)
    found: list[tuple[Method, Look]] = [*look.items()]
    variants = algorithms().index[algorithms().kind == "variant"]
    for name, color in ((SIMBA_V2, BLUE), *((variant, GREY) for variant in variants)):
        method = published_algorithm(name)
        found.append((method, Look(method.label, color)))
    series = [Series(own, _score(method, tasks, step)) for method, own in found if tasks]
    if len(shown := _known(series)) < 2:
        return None
    panel = Panel("", shown, f"normalised score, {where(tasks, step)}", are_rows=True)
    return Figure([panel], size=(3.4, 0.3 + 0.25 * len(shown)))


def suite_title(name: str, tasks: Sequence[str]) -> str:
    """A suite for people, with the number of its tasks that count."""
    return f"{_SUITE_TITLES.get(name, name)} ({count_of(len(tasks), 'task')})"


def where(tasks: Sequence[str], step: int, step_name: str = "env steps") -> str:
    """Of what a score is."""
    count = f"{len(tasks)} tasks" if len(tasks) > 1 else tasks[0]
    return f"{count} at {steps_label(step)} {step_name}"


def point(x: float, mean: float, low: float, high: float, *, missing: int = 0) -> pd.DataFrame:
    """A curve of one point."""
    return pd.DataFrame({"mean": mean, "low": low, "high": high, "missing": missing}, index=[x])


def _score(method: Method, tasks: Sequence[str], step: int, x: float = 0.0) -> pd.DataFrame:
    """The normalised mean at an env step, as a curve of one point; empty if it is not known."""
    curve = method.aggregate(tasks)
    score = curve[curve.index == step]
    return score.set_axis([x] * len(score))


def _known(series: Sequence[Series]) -> list[Series]:
    return [found for found in series if len(found.curve)]

"""The published figures, and what normalises a return.

The data files here hold facts from two collections of result files, means, standard deviations and
numbers of seeds per algorithm, task and exact env step:

- `returns.csv.gz`: those that accompany SimbaV2 (arXiv 2502.15280, Apache-2.0), with the results of
  other agents that are compared with it there;
- `flashsac.csv.gz`: those that accompany FlashSAC (arXiv 2604.04539, MIT), which repeats no action,
  with the results of others there. Its rows of SimbaV2 and TD-MPC2 are those of `returns.csv.gz`
  over again, rounded otherwise: the same runs, not others.

`normalization_scores.csv` has the low and the high score of each task, as the SimbaV2 paper.
`algorithms.csv` says what the names of algorithms in the files mean.
"""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from purejax_simba.runs.result_files import environment_name

_DIRECTORY = Path(__file__).parent
COLUMNS = ("algorithm", "task", "metric", "env_step", "mean", "std", "seeds")
RETURN, SUCCESS = "avg_return", "avg_success"
LAST_STEP = 1_000_000  # of the benchmark; some were trained for longer
# TD-MPC2 (arXiv 2310.16828) calls these hard; the paper reports them as a suite of their own.
_DMC_HARD = re.compile(r"dmc/(dog|humanoid)-")
SUITES = ("mujoco", "dmc_easy_medium", "dmc_hard", "myosuite", "humanoid_bench")
_OWN_SUITES = SUITES[0], *SUITES[3:]


# Files of this package -> what their results are called in legends.
_SOURCES = {"returns.csv.gz": "published", "flashsac.csv.gz": "published with FlashSAC"}
OTHER_SOURCE = "published"


@functools.cache
def normalization_scores() -> pd.DataFrame:
    """Columns `low`, `high` and `meaning`, by task id."""
    return pd.read_csv(_DIRECTORY / "normalization_scores.csv", index_col="task")


@functools.cache
def algorithms() -> pd.DataFrame:
    """What each algorithm in the published files is, by its name there.

    Columns: `label` for legends; `family`, our name of the agent where we have it; `kind` of an
    agent that was published with several numbers of `updates`, with `resets` as well, with several
    a `width` of the critic, or in a `variant` without a design choice; `updates_per_interaction` or
    `updates_per_env_step`, whichever its name counts; `critic_width`; `baseline`, a rank of those
    that are shown where they are not matched with ours.
    """
    known = pd.read_csv(_DIRECTORY / "algorithms.csv", index_col="algorithm")
    return known.fillna({"family": "", "kind": ""})


@functools.cache
def published_returns() -> pd.DataFrame:
    """Columns `COLUMNS` and `source`; one row per algorithm, task, metric and env step.

    No algorithm is in two sources. `std` is that of a sample, with the divisor `seeds - 1` (the
    files have `seeds`), and NaN for a single seed.
    """
    found = []
    for file, source in _SOURCES.items():
        rows = add_unsolved(pd.read_csv(_DIRECTORY / file))
        several = rows.seeds.where(rows.seeds > 1)
        found.append(rows.assign(std=rows["std"] * np.sqrt(several / (several - 1)), source=source))
    return pd.concat(found, ignore_index=True)


def add_unsolved(results: pd.DataFrame) -> pd.DataFrame:
    """Adds a success rate of 0 where the published files leave it out.

    They list the success rate of a MyoSuite task only where it is above 0: `myo-pose-hard`, for
    one, has returns of every algorithm and a success rate of almost none. In the published means
    over 57 tasks it counts as 0.
    """
    keys = ["algorithm", "task", "env_step"]
    returns = results[results.task.map(normalized_metric).eq(SUCCESS) & results.metric.eq(RETURN)]
    rated = pd.MultiIndex.from_frame(results.loc[results.metric == SUCCESS, keys])
    unsolved = returns[~pd.MultiIndex.from_frame(returns[keys]).isin(rated)]
    zeros = unsolved.assign(metric=SUCCESS, mean=0.0, std=0.0)
    return pd.concat([results, zeros], ignore_index=True)


def normalized_metric(task: str) -> str:
    """What is normalised on a task: the success rate in MyoSuite, the return elsewhere."""
    return SUCCESS if task.startswith("myosuite/") else RETURN


_Values = TypeVar("_Values", float, np.ndarray, pd.Series, pd.DataFrame)


def episode_length(task: str) -> int:
    """The time limit in environment steps with which a task's published returns were made."""
    return 100 if task.startswith("myosuite/") else 1_000


def is_normalized(task: str) -> bool:
    """Whether a low and a high score of the task are known."""
    return task in normalization_scores().index


def normalize(task: str, values: _Values) -> _Values:
    """`(value - low) / (high - low)`, for a task of which these scores are known."""
    low, high = normalization_scores().loc[task, ["low", "high"]]
    return (values - low) / (high - low)


def find_task(name: str) -> str:
    """The published task id for the name of an environment in a result file, else the name."""
    known = {environment_name(task): task for task in normalization_scores().index}
    for plain in (name, re.sub(r"-v\d+$", "", name)):
        if plain in known:
            return known[plain]
    return name


def suite(task: str) -> str:
    """The suite in the paper of a task, else the part of its id before the slash."""
    family = task.partition("/")[0]
    if family in _OWN_SUITES or not is_normalized(task):
        return family
    return "dmc_hard" if _DMC_HARD.match(task) else "dmc_easy_medium"


def suites_of(tasks: Sequence[str]) -> dict[str, list[str]]:
    """Suite -> its tasks among those given, of which scores can be normalised.

    With tasks of several suites there is `all` as well.
    """
    known = [task for task in tasks if is_normalized(task)]
    suites = {name: [task for task in known if suite(task) == name] for name in SUITES}
    suites = {name: members for name, members in suites.items() if members}
    return suites | ({"all": known} if len(suites) > 1 else {})

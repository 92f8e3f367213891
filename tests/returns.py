"""What policies that have learned nothing earn, next to the originals and the published results.

    python -m tests.returns humanoid_bench --host-python ~/old/bin/python
    python -m tests.returns myosuite --host-python ~/myo/bin/python --report results/returns.md

HumanoidBench: random actions in the native task and in the official package, two samples of one
distribution if both are the same task. MyoSuite: zero actions, next to the first evaluations of the
published runs, because an untrained policy acts near zero; and random actions in the native task
and in EnvPool's, where EnvPool is installed. That is an earlier version of MyoSuite, so that a
difference there is told and no failure. One line per task; exit status 1 where the samples of a
native task and its original differ.
"""

import argparse
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import envs
from benchmarks.originals import GymnasiumLoop, make_envpool
from benchmarks.table import Table
from envs import AutoReset, episodes
from purejax_simba.commands import one_line_errors
from purejax_simba.report import published

EPISODES = 60
AT_ONCE = 6  # a sub-environment of the official package takes a gigabyte
SIGNIFICANCE = 1e-3
SUITES = ("humanoid_bench", "myosuite")
COLUMNS = {
    "actions": "random (uniform over their range), or zero",
    "ours": "mean return and its standard error",
    "original": "the same in the official package, in an interpreter of its own",
    "p": "of a Kolmogorov-Smirnov test of the two samples; above 0.001",
    "published": "HumanoidBench: the return that counts as zero in the published scores; MyoSuite: "
    "first evaluations of the published runs of SimbaV2, mean over seeds and its standard error",
    "packages": "what the original or MyoSuite ran with",
    "random, ours": "MyoSuite: random actions, without action repeat, in the native task",
    "EnvPool": "the same in EnvPool",
    "p, EnvPool": "of a Kolmogorov-Smirnov test of these two",
    "starts, EnvPool": "in how many columns of the observation episodes begin alike, by such tests",
    "version, EnvPool": "of EnvPool, and of the MyoSuite that it was made from",
}


def returns(
    environment: Any, at_once: int, rounds: int = 1, seed: int = 0, scale: float = 1.0
) -> np.ndarray:
    """Plays actions that are uniform in [-scale, scale].

    Returns:
      The sums of rewards of the first `rounds` episodes of `at_once` environments, in any order.
    """
    environment = AutoReset(environment)

    def play(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        reset_key, key = jax.random.split(key)

        def step(carry: tuple, time: jax.Array) -> tuple[tuple, jax.Array, tuple]:
            state, finished = carry
            action = jax.random.uniform(keys[time], (environment.action_size,), minval=-1.0)
            state, timestep = environment.step(state, scale * action)
            ended = timestep.terminated | timestep.truncated
            finished = finished + ended
            return (state, finished), finished < rounds, (timestep.reward, ended)

        length = rounds * environment.episode_length
        keys = jax.random.split(key, length)
        return episodes.play(step, (environment.reset(reset_key)[0], jnp.int32(0)), length)[1]

    keys = jax.random.split(jax.random.key(seed), at_once)
    rewards, ends = map(np.asarray, jax.jit(jax.vmap(play))(keys))
    before = np.cumsum(ends, axis=1) - ends
    return np.array([(rewards * (before == n)).sum(1) for n in range(rounds)]).ravel()


def compare(task_id: str, python: str) -> tuple[bool, dict[str, str]]:
    """Whether a task earns what it should, and the cells of its row."""
    known = envs.spec(task_id)
    options = envs.HostOptions(python=python)
    official = known.official.removeprefix("gymnasium/")
    loop = GymnasiumLoop(official, 1, python)
    module = official.partition(":")[0]
    cells = {"packages": loop("versions", packages=(module, "mujoco", "gymnasium"))}
    if known.suite != "myosuite":
        ours = returns(envs.make(task_id, "mujoco"), EPISODES)
        original = envs.make(task_id, "official", host=options)
        theirs = returns(original, AT_ONCE, EPISODES // AT_ONCE, seed=1)
        p_value = _p_value(ours, theirs)
        low = published.normalization_scores().low[task_id]
        cells |= {"actions": "random", "original": _mean(theirs), "p": f"{p_value:.2f}"}
        cells["published"] = f"{low:.1f}"
    else:
        environment = envs.make(task_id, "official", host=options)
        ours, p_value = returns(environment, AT_ONCE, EPISODES // AT_ONCE, scale=0), 1.0
        cells |= {"actions": "zero", "published": _published_start(task_id)}
        cells |= beside_envpool(task_id)
    return p_value > SIGNIFICANCE, cells | {"ours": _mean(ours)}


def beside_envpool(task_id: str) -> dict[str, str]:
    """Cells of a task of MyoSuite beside EnvPool's; none where EnvPool is not installed."""
    pool = make_envpool(task_id, EPISODES)
    if pool is None:
        return {}
    from envpool.mujoco.myosuite.tasks import MYOSUITE_ORACLE_VERSION

    environment = envs.make(task_id, "mujoco", action_repeat=1)
    pool_starts, _ = pool.reset()
    theirs, goes_on = np.zeros(EPISODES), np.ones(EPISODES, bool)
    generator = np.random.default_rng(0)
    # EnvPool may end episodes later than the benchmark does.
    for _ in range(environment.episode_length):
        actions = generator.uniform(-1.0, 1.0, (EPISODES, environment.action_size))
        _, rewards, terminated, truncated, _ = pool.step(actions.astype(np.float32))
        theirs += goes_on * rewards
        goes_on &= ~(terminated | truncated)
    ours = returns(environment, EPISODES)
    keys = jax.random.split(jax.random.key(1), EPISODES)
    starts = jax.jit(jax.vmap(environment.reset))(keys)[1]
    alike = [
        _p_value(*columns) > SIGNIFICANCE for columns in zip(starts.T, pool_starts.T, strict=True)
    ]
    return {
        "random, ours": _mean(ours),
        "EnvPool": _mean(theirs),
        "p, EnvPool": f"{_p_value(ours, theirs):.2g}",
        "starts, EnvPool": f"{sum(alike)} of {len(alike)}",
        "version, EnvPool": f"{metadata.version('envpool')}, MyoSuite {MYOSUITE_ORACLE_VERSION}",
    }


def _p_value(first: np.ndarray, second: np.ndarray) -> float:
    """Of a Kolmogorov-Smirnov test; what differs by a rounding is equal."""
    samples = (np.round(np.asarray(sample, np.float64), 3) for sample in (first, second))
    return float(stats.ks_2samp(*samples).pvalue)


def _mean(sample: np.ndarray) -> str:
    return f"{sample.mean():.1f} ± {sample.std(ddof=1) / np.sqrt(sample.size):.1f}"


def _published_start(task_id: str) -> str:
    rows = published.published_returns().query(
        "task == @task_id and metric == @published.RETURN and env_step == 0 "
        "and algorithm == 'simbaV2_utd2'"
    )
    (row,) = rows.itertuples()
    return f"{row.mean:.1f} ± {row.std / np.sqrt(row.seeds):.1f}"


def main() -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="+", help=f"task ids, or {' or '.join(SUITES)}")
    parser.add_argument("--host-python", default="", help="interpreter that has the package")
    parser.add_argument("--report", type=Path, help="write a table to this file")
    arguments = parser.parse_args()
    with one_line_errors("compare again") as outcome:
        outcome.status = 1 if compare_all(arguments) else 0
    return outcome.status


def compare_all(arguments: argparse.Namespace) -> int:
    """Prints a line per task; returns how many differ from their originals."""
    table = Table(
        arguments.report,
        "Policies that have learned nothing",
        "Made by `python -m tests.returns --report results/returns.md`, with mujoco "
        f"{metadata.version('mujoco')} here.",
        [f"{EPISODES} episodes each, with the action repeat of the benchmark."],
        COLUMNS,
    )
    failures = 0
    for name in arguments.tasks:
        for task_id in envs.tasks(name) if name in SUITES else [envs.spec(name).id]:
            passed, cells = compare(task_id, arguments.host_python)
            failures += not passed
            figures = ", ".join(f"{title} {cells[title]}" for title in COLUMNS if title in cells)
            print(f"{'ok  ' if passed else 'FAIL'} {task_id}: {figures}", flush=True)
            table.add(task_id, cells)
    return failures


if __name__ == "__main__":
    sys.exit(main())

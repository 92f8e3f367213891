"""What `sweep.py` does."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import jax

from purejax_simba.config import ConfigError
from purejax_simba.names import is_traced
from purejax_simba.runs import processes
from purejax_simba.runs.compiling import make_program
from purejax_simba.runs.memory import GIB, bytes_per_run, runs_that_fit
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.grouping import Group, choose_shard, divide, make_groups
from purejax_simba.sweep.halving import rungs_of
from purejax_simba.sweep.plots import draw_plots
from purejax_simba.sweep.results import BEST_FILE, ranking, read_results, write_results
from purejax_simba.sweep.running import SweepError, begin_sweep, run_sweep
from purejax_simba.sweep.side_by_side import divide_devices, run_shards
from purejax_simba.waiting import count_of, say, still

_NO_LIMIT = 1_000_000


def train(sweep: Sweep, shard: str | None = None) -> None:
    """Trains what is left of a sweep, writes its tables and prints the ranking.

    Raises:
      What `run_sweep` raises.
    """
    try:
        run_sweep(sweep, shard)
    except (SweepError, SystemExit):
        # What failed or was stopped has left results all the same.
        with contextlib.suppress(ConfigError):
            _report([sweep.directory], sweep.directory)
        raise
    _report([sweep.directory], sweep.directory)


def train_side_by_side(
    sweep: Sweep, shard: str | None, groups_at_a_time: int, command: Sequence[str]
) -> None:
    """Trains what is left of a sweep, several groups at a time, and prints the ranking.

    Args:
      sweep: what to train.
      shard: of it, see `run_sweep`.
      groups_at_a_time: processes, each with its part of the devices of this machine.
      command: that trains the sweep in one process.

    Raises:
      ConfigError, envs.TaskError: before anything is started, for what cannot work.
      SweepError: if a process has failed; it has said why.
      SystemExit: after a signal.
    """
    # Devices are for those that train.
    jax.config.update("jax_platforms", "cpu")
    groups = make_groups(sweep)
    devices = divide_devices(min(groups_at_a_time, len(choose_shard(groups, shard))))
    begin_sweep(sweep, groups)
    statuses = [status for status in run_shards(command, shard, devices) if status]
    with contextlib.suppress(ConfigError):
        _report([sweep.directory], sweep.directory)
    for status in statuses:
        if status > 128:
            raise SystemExit(status)
    if statuses:
        raise SweepError(f"{len(statuses)} of {len(devices)} processes failed: see above")


def show(sweep: Sweep, shard: str | None = None) -> None:
    """Prints the groups of a sweep, without compiling anything.

    Raises:
      ConfigError, envs.TaskError: for what cannot be trained.
    """
    print(describe(choose_shard(make_groups(sweep), shard), sweep))


def describe(groups: Sequence[Group], sweep: Sweep) -> str:
    """The groups as text: configurations, runs, memory, and what of it fits at a time."""
    lines = []
    programs = trials = 0
    for each in groups:
        program, seeds = make_program(each.config), each.config.num_seeds
        per_run = sum(bytes_per_run(program).values())
        fit = runs_that_fit(program, _NO_LIMIT)
        divided = divide(each, fit)
        rungs = [rungs_of(sweep.halving, each.config, len(part)) for part in divided]
        programs += sum(1 + len(steps) for steps in rungs)
        trials += sweep.samples if sweep.is_adaptive else len(each.trials)
        # Values of static axes, but for those left to the agent or the task.
        values = each.trials[0].values.items()
        static = "".join(f", {n}={v}" for n, v in values if not is_traced(n) and v is not None)
        samples = f"{count_of(sweep.samples, 'sample')} in batches of " if sweep.is_adaptive else ""
        fitting = "any number of runs fits" if fit == _NO_LIMIT else f"{fit:,} fit at a time"
        turns = f", the {seeds} seeds of a configuration take turns" if 0 < fit < seeds else ""
        parts = f", in {len(divided)} parts" if len(divided) > 1 else ""
        steps = ", ".join(f"{step:,}" for step in rungs[0])
        compared = f", compared at env steps {steps}" if steps else ""
        lines.append(
            f"group {each.number}: {each.config.task}{static}, {samples}"
            f"{count_of(len(each.trials), 'configuration')}, {count_of(each.runs, 'run')}, "
            f"{each.runs * per_run / GIB:.2f} GiB ({per_run / GIB:.3f} GiB per run), "
            f"{fitting}{turns}{parts}{compared}"
        )
    lines.append(
        f"{count_of(len(groups), 'group')}, {count_of(programs, 'compiled program')}, "
        f"{count_of(trials, 'configuration')}, "
        f"{count_of(trials * sweep.config.num_seeds, 'run')}"
    )
    return "\n".join(lines)


def merge(directories: Sequence[Path], output: Path) -> None:
    """Makes the tables of a sweep that was trained in several directories.

    Args:
      directories: `<output>/<experiment>` of each machine.
      output: the tables go to `<output>/<experiment>`.

    Raises:
      ConfigError: if they hold different sweeps.
    """
    _report(directories, output / read_results(directories).config.experiment)


def _report(directories: Sequence[Path], target: Path) -> None:
    if not processes.is_first():
        return
    with still("writing tables and plots"):
        results = read_results(directories)
        write_results(results, target)
        draw_plots(results, target)
    for line in results.left_out:
        say(f"left out: {line}")
    print(ranking(results))
    print(f"tables and plots are in {target}, the best configuration in {BEST_FILE} there")

"""What `sweep.py` does."""

import contextlib
import functools
import shutil
import sys
import textwrap
from collections.abc import Sequence

import jax

from purejax_simba.config import ConfigError
from purejax_simba.errors import require
from purejax_simba.names import is_traced
from purejax_simba.runs import processes
from purejax_simba.runs.compiling import make_program
from purejax_simba.runs.memory import GIB, bytes_per_run, runs_that_fit
from purejax_simba.runs.result_files import SCHEDULE_FILE, run_directory
from purejax_simba.settings import declarations, flag
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.grouping import Group, divide, make_groups
from purejax_simba.sweep.halving import rungs_of
from purejax_simba.sweep.lineage import LINEAGE_FILE, read_lineage
from purejax_simba.sweep.options import LauncherOptions, slurm_parameters
from purejax_simba.sweep.plots import draw_lineage, draw_plots
from purejax_simba.sweep.results import (
    BEST_FILE,
    in_columns,
    ranking,
    read_results,
    short,
    write_results,
)
from purejax_simba.sweep.running import Launcher, SweepError, run_sweep
from purejax_simba.waiting import count_of, say, still

_NO_LIMIT = 1_000_000


def train(sweep: Sweep, options: LauncherOptions | None = None) -> None:
    """Trains what is left of a sweep, writes its tables and prints the ranking.

    Args:
      sweep: what to train.
      options: where; default: in this process.

    Raises:
      ConfigError: for options that cannot work.
      And what `run_sweep` raises.
    """
    options = options or LauncherOptions()
    try:
        run_sweep(sweep, _launcher(options, sweep), options.batches_at_a_time)
    except (SweepError, SystemExit):
        # What failed or was stopped has left results all the same.
        with contextlib.suppress(ConfigError):
            _report(sweep)
        raise
    _report(sweep)


def _check(options: LauncherOptions, sweep: Sweep) -> None:
    for name, declared in declarations(LauncherOptions).items():
        value = getattr(options, name)
        declared.check(name, value)
        for_all = ("ray", "slurm")
        engines = [engine for engine in for_all if name.startswith(engine)] or for_all
        if value != declared.default and options.launcher not in engines:
            raise ConfigError(
                f"{flag(name)} is of no use without --launcher {' or '.join(engines)}"
            )
    if options.batches_at_a_time != 1 and not sweep.is_adaptive:
        raise ConfigError("--batches-at-a-time is of no use without --sampler tpe")
    slurm_parameters(options)


def _launcher(options: LauncherOptions, sweep: Sweep) -> Launcher | None:
    _check(options, sweep)
    if options.launcher is None:
        return None
    # Devices are for those that train.
    jax.config.update("jax_platforms", "cpu")
    module = require(f"purejax_simba.sweep.on_{options.launcher}", options.launcher)
    return functools.partial(module.launch, options)


def show(sweep: Sweep, options: LauncherOptions) -> None:
    """Prints the groups of a sweep, without compiling anything.

    Args:
      sweep: to be shown.
      options: where it would train.

    Raises:
      ConfigError, envs.TaskError: for what cannot be trained.
    """
    _check(options, sweep)
    text, width = describe(make_groups(sweep), sweep), _width()
    for line in text.splitlines():
        print(textwrap.fill(line, width, subsequent_indent="    ") if width else line)


def _width() -> int | None:
    """Of the terminal, in letters; None where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def describe(groups: Sequence[Group], sweep: Sweep) -> str:
    """The groups as text: configurations, runs, memory, and what of it fits at a time.

    Below each are the directories of its configurations, with the values that differ.
    """
    lines = []
    traced = [axis.name for axis in sweep.all_axes if is_traced(axis.name)]
    programs = trials = 0
    for each in groups:
        program, seeds = make_program(each.config, each.runs), each.config.num_seeds
        per_run = sum(bytes_per_run(program).values())
        fit = runs_that_fit(program, _NO_LIMIT)
        divided = divide(each, fit)
        rungs = [rungs_of(sweep.halving, each.config, len(part)) for part in divided]
        programs += sum(1 + len(steps) for steps in rungs)
        trials += sweep.samples if sweep.is_adaptive else len(each.trials)
        # Values of static axes, but for those left to the agent or the task.
        values = each.trials[0].values.items()
        static = "".join(f", {n}={v}" for n, v in values if n not in traced and v is not None)
        samples = f"{count_of(sweep.samples, 'sample')} in batches of " if sweep.is_adaptive else ""
        fitting = "any number of runs fits" if fit == _NO_LIMIT else f"{fit:,} fit at a time"
        turns = f", the {seeds} seeds of a configuration take turns" if 0 < fit < seeds else ""
        parts = f", in {len(divided)} parts" if len(divided) > 1 else ""
        compared_at = sweep.pbt.generations(each.config)[1:] if sweep.pbt else rungs[0]
        steps = ", ".join(f"{step:,}" for step in compared_at)
        compared = f", compared at {steps} {each.config.step_name}" if steps else ""
        lines.append(
            f"group {each.number}: {each.config.task}{static}, {samples}"
            f"{count_of(len(each.trials), 'configuration')}, {count_of(each.runs, 'run')}, "
            f"{each.runs * per_run / GIB:.2f} GiB ({per_run / GIB:.3f} GiB per run), "
            f"{fitting}{turns}{parts}{compared}"
        )
        if sweep.is_adaptive:
            place = sweep.directory / "<sample>" / each.config.task
            lines.append("  ".join(["", str(place), *map(str, sweep.sampled_axes)]))
            continue
        for trial in each.trials:
            known = {n: v for n, v in trial.values.items() if n in traced and v is not None}
            numbers = [f"{name}={short(value)}" for name, value in known.items()]
            lines.append("  ".join(["", str(run_directory(trial.config)), *numbers]))
    lines.append(
        f"{count_of(len(groups), 'group')}, {count_of(programs, 'compiled program')}, "
        f"{count_of(trials, 'configuration')}, "
        f"{count_of(trials * sweep.config.num_seeds, 'run')}"
    )
    return "\n".join(lines)


def _report(sweep: Sweep) -> None:
    if not processes.is_first():
        return
    if sweep.pbt is not None:
        with still("drawing the lineage"):
            lineage = read_lineage(sweep.directory)
            draw_lineage(lineage, sweep)
        rows = [{name: short(value) for name, value in row.items()} for row in lineage.table()]
        print("\n".join(in_columns(rows)))
        print(
            f"who came from whom is in {sweep.directory / LINEAGE_FILE}, what the best of all had "
            f"in {SCHEDULE_FILE} there, and its configuration with that in {BEST_FILE}"
        )
        return
    with still("writing tables and plots"):
        results = read_results(sweep.directory)
        write_results(results, sweep.directory)
        draw_plots(results, sweep.directory)
    for line in results.left_out:
        say(f"left out: {line}")
    print(ranking(results, _width()))
    print(f"tables and plots are in {sweep.directory}, the best configuration in {BEST_FILE} there")

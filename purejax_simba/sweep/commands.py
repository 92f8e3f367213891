"""What `sweep.py` does."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from purejax_simba.config import ConfigError
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.plan import choose_shard, describe, make_groups
from purejax_simba.sweep.plots import draw_plots
from purejax_simba.sweep.results import BEST_FILE, Results, ranking, read_results, write_results
from purejax_simba.sweep.running import SweepError, run_sweep


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
            _report(read_results([sweep.directory]), sweep.directory)
        raise
    _report(read_results([sweep.directory]), sweep.directory)


def show(sweep: Sweep, shard: str | None = None) -> None:
    """Prints the groups of a sweep, without compiling anything.

    Raises:
      ConfigError, envs.TaskError: for what cannot be trained.
    """
    print(describe(choose_shard(make_groups(sweep), shard), sweep))


def merge(directories: Sequence[Path], output: Path) -> None:
    """Makes the tables of a sweep that was trained in several directories.

    Args:
      directories: `<output>/<experiment>` of each part.
      output: the tables go to `<output>/<experiment>`.

    Raises:
      ConfigError: if they are parts of different sweeps.
    """
    results = read_results(directories)
    _report(results, output / results.config.experiment)


def _report(results: Results, directory: Path) -> None:
    write_results(results, directory)
    draw_plots(results, directory)
    print(ranking(results))
    print(f"tables and plots are in {directory}, the best configuration in {BEST_FILE} there")

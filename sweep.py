"""Trains many configurations of SimbaV2, as many as can be in one program."""

import argparse
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from envs.cores import count_cores
from purejax_simba import command_line
from purejax_simba.command import one_line_errors
from purejax_simba.compilation_cache import use_compilation_cache
from purejax_simba.parallel import use_all_cores
from purejax_simba.sweep.files import read_file
from purejax_simba.sweep.options import SweepOptions, make_sweep


@dataclass(frozen=True)
class Arguments:
    """Train many configurations of SimbaV2. Those that differ only in traced numbers (learning
    rates, temperature, discount and the like) train as one program, with all their seeds.

    The same command goes on with a sweep that was interrupted.
    """

    options: Annotated[SweepOptions, tyro.conf.arg(name="")] = field(default_factory=SweepOptions)
    file: Path | None = None
    """Read the sweep from a YAML file, or from a Python file that defines `sweep`; other options
    change what it says, axes are added."""
    shard: str | None = None
    """Train only a part of the groups: 2/4 on the second of four machines."""
    merge: tuple[Path, ...] = ()
    """Train nothing: make the tables of a sweep from these directories, <output>/<experiment> of
    each machine, and write them below --output."""
    dry_run: bool = False
    """Only say what would be trained, and what memory that takes."""


def parse(words: list[str]) -> Arguments:
    """Reads the command line.

    Raises:
      ConfigError: for a file that is no sweep.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--file", type=Path)
    file = parser.parse_known_args(words)[0].file
    options = SweepOptions() if file is None else read_file(file)
    config = command_line.for_help(options.config, words)
    return command_line.read(Arguments, words, Arguments(options=replace(options, config=config)))


def main() -> int:
    """Runs the command line; returns the exit status."""
    with one_line_errors("the same command goes on") as outcome:
        arguments = parse(sys.argv[1:])
        use_all_cores(count_cores())
        use_compilation_cache()
        from purejax_simba.sweep import commands

        if arguments.merge:
            commands.merge(arguments.merge, Path(arguments.options.config.output))
        elif arguments.dry_run:
            commands.show(make_sweep(arguments.options), arguments.shard)
        else:
            commands.train(make_sweep(arguments.options), arguments.shard)
    return outcome.status


if __name__ == "__main__":
    sys.exit(main())

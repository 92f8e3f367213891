"""Trains many configurations of SimbaV2, as many as can be in one program."""

import argparse
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from purejax_simba.agents import registry
from purejax_simba.commands import command_line, one_line_errors
from purejax_simba.config import ConfigError, ProcessOptions
from purejax_simba.names import plain_name
from purejax_simba.settings import declarations, flag
from purejax_simba.sweep.options import LauncherOptions, SweepOptions, make_sweep, read_file
from purejax_simba.waiting import still


@dataclass(frozen=True)
class Arguments:
    """Train many configurations of SimbaV2. Those that differ only in traced numbers (learning
    rates, temperature, discount and the like) train as one program, with all their seeds.

    The same command goes on with a sweep that was interrupted, with any launcher.
    """

    options: Annotated[SweepOptions, tyro.conf.arg(name="")] = field(default_factory=SweepOptions)
    file: Path | None = None
    """Read the sweep from a YAML file, or from a Python file that defines `sweep`; other options
    change what it says, axes are added."""
    launcher: Annotated[LauncherOptions, tyro.conf.arg(name="")] = field(
        default_factory=LauncherOptions
    )
    processes: Annotated[ProcessOptions, tyro.conf.arg(name="")] = field(
        default_factory=ProcessOptions
    )
    dry_run: bool = False
    """Only say what would be trained, and what memory that takes."""
    compile_for: str = ""
    """Only compile the programs for devices that are not here, `h100`, `v5e:2x4` or a file that
    describes a GPU, and say how many runs fit it. Needs the extra `targets`."""
    help_all: command_line.HelpAll = False
    """Show all settings; --help shows those that are changed first."""


def parse(words: list[str]) -> Arguments:
    """Reads the command line."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--grid", action="append", default=[])
    given = parser.parse_known_args(words)[0]
    for axis in given.grid:
        name, _, values = axis.partition("=")
        for agent in values.split(",") if plain_name(name) == "agent.name" else ():
            registry.load(agent)
    options = SweepOptions()
    if given.file is not None:
        options = read_file(given.file, command_line.code(words))
    config = command_line.with_agent(options.config, words)
    return command_line.read(Arguments, words, Arguments(options=replace(options, config=config)))


def _check_use(arguments: Arguments) -> None:
    """Refuses what says nothing about a sweep that is only compiled.

    Raises:
      ConfigError: for the first that is given.
    """
    given = ["dry_run"] if arguments.dry_run else []
    for options in (arguments.launcher, arguments.processes):
        known = declarations(type(options)).items()
        given += [name for name, declared in known if getattr(options, name) != declared.default]
    if arguments.compile_for and given:
        raise ConfigError(f"{flag(given[0])} is of no use with --compile-for: drop it")


def main() -> int:
    """Runs the command line; returns the exit status."""
    with one_line_errors("the same command goes on") as outcome:
        arguments = parse(sys.argv[1:])
        _check_use(arguments)
        with still("loading"):
            from envs.cores import count_cores
            from purejax_simba.runs.devices import use_all_cores, use_compilation_cache
            from purejax_simba.runs.processes import join

            if arguments.compile_for:
                from purejax_simba.runs import targets

                targets.prepare()
            elif arguments.launcher.launcher is None:
                use_all_cores(count_cores(), arguments.options.config.devices_per_run)
                use_compilation_cache()
            elif arguments.processes.distributed:
                raise ConfigError("--launcher and --distributed exclude each other: drop one")
            join(arguments.processes)
            from purejax_simba.sweep import commands
            from purejax_simba.sweep.grouping import make_groups

        sweep = make_sweep(arguments.options)
        if arguments.dry_run:
            commands.show(sweep, arguments.launcher)
        elif arguments.compile_for:
            groups = make_groups(sweep)
            targets.show(
                arguments.compile_for, [(group.config, group.runs) for group in groups], True
            )
        else:
            commands.train(sweep, arguments.launcher)
    return outcome.status

"""Command lines as dataclasses: what is read, and what `--help` shows."""

import argparse
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from purejax_simba.config import Config, ConfigError
from purejax_simba.names import replace_values
from purejax_simba.resolving import with_agent_defaults

_Arguments = TypeVar("_Arguments")
_Config = TypeVar("_Config", bound=Config)

_METAVARS: dict[Any, str] = {int: "INT", float: "FLOAT", str: "STR", Path: "PATH"}
_rules = tyro.constructors.ConstructorRegistry()


def read(kind: type[_Arguments], words: Sequence[str], default: _Arguments) -> _Arguments:
    """Reads the words of a command line; what they do not say is as in `default`."""
    with _rules:
        return tyro.cli(kind, args=words, default=default)


def for_help(config: _Config, words: Sequence[str]) -> _Config:
    """Where the words ask for help, the configuration with its agent's own settings filled in.

    The agent is the one that the words name, and so is the recipe.
    """
    if not {"-h", "--help"} & set(words):
        return config
    names = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    names.add_argument("--agent.name", default=config.agent.name)
    names.add_argument("--recipe", default=config.recipe)
    try:
        given = names.parse_known_args(words)[0]
        return with_agent_defaults(replace_values(config, vars(given)))
    except ConfigError:
        return config  # what is wrong is said when it is read


@_rules.primitive_rule
def _optional(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """A value that may be left open is shown as any other: nobody needs to give None."""
    members = typing.get_args(info.type)
    kinds = [member for member in members if member in _METAVARS]
    if len(kinds) != 1 or set(members) != {*kinds, types.NoneType}:
        return None
    (kind,) = kinds
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=_METAVARS[kind],
        instance_from_str=lambda words: None if words[0] == "None" else kind(words[0]),
        is_instance=lambda value: value is None or isinstance(value, (kind, int)),
        str_from_instance=lambda value: [str(value)],
    )

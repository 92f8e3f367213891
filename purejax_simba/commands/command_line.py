"""Command lines as dataclasses: what is read, and what `--help` and `--help-all` show."""

import argparse
import dataclasses
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from purejax_simba.config import Config, ConfigError, ProcessOptions
from purejax_simba.names import flatten, replace_values

_Arguments = TypeVar("_Arguments")
_Config = TypeVar("_Config", bound=Config)

# What people change first, and all that `--help` shows of a run; dotted names.
FIRST = frozenset(
    {
        "task",
        "physics",
        "num_seeds",
        "seed",
        "total_env_steps",
        "evaluation_interval",
        "num_evaluation_episodes",
        "num_environments",
        "action_repeat",
        "episode_length",
        "update_to_data_ratio",
        "learning_starts",
        "discount",
        "recipe",
        "loggers",
        "experiment",
        "output",
        "agent.name",
        "agent.actor_hidden_dim",
        "agent.critic_hidden_dim",
        "agent.critic_num_blocks",
        "agent.num_critics",
        "agent.learning_rate",
        "replay.capacity",
        "replay.batch_size",
        "offline.dataset",
    }
)
_RARE = {*flatten(Config()), *flatten(ProcessOptions())} - FIRST

_hidden: Any = tyro.conf.Suppress

HelpAll = Annotated[bool, tyro.conf.FlagCreatePairsOff]

_METAVARS: dict[Any, str] = {int: "INT", float: "FLOAT", str: "STR", Path: "PATH"}
_rules = tyro.constructors.ConstructorRegistry()


def read(kind: type[_Arguments], words: Sequence[str], default: _Arguments) -> _Arguments:
    """Reads the words of a command line; what they do not say is as in `default`.

    Where they ask for help, it is shown instead: `--help` all that `kind` has but the settings that
    are seldom changed, `--help-all` everything.
    """
    if _asks_for_help(words):
        default = default if _asks_for_all(words) else _without_rare(default)
        kind, words = type(default), ["--help"]
    with _rules:
        return tyro.cli(kind, args=words, default=default)


def for_help(config: _Config, words: Sequence[str]) -> _Config:
    """Where the words ask for help, the configuration with its agent's own settings filled in.

    The agent is the one that the words name, and so is the recipe.
    """
    if not _asks_for_help(words):
        return config
    from purejax_simba.defaults import with_agent_defaults  # which imports the agents, and JAX

    names = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    names.add_argument("--agent.name", default=config.agent.name)
    names.add_argument("--recipe", default=config.recipe)
    try:
        given = names.parse_known_args(words)[0]
        return with_agent_defaults(replace_values(config, vars(given)))
    except ConfigError:
        return config  # what is wrong is said when it is read


def _asks_for_help(words: Sequence[str]) -> bool:
    return bool({"-h", "--help"} & set(words)) or _asks_for_all(words)


def _asks_for_all(words: Sequence[str]) -> bool:
    return bool({"--help-all", "--help_all"} & set(words))


def _without_rare(values: Any, group: str = "") -> Any:
    """The same values in dataclasses that have all fields, and hide those that are rare."""
    hints = typing.get_type_hints(type(values), include_extras=True)
    fields, filled = [], {}
    for field in dataclasses.fields(values):
        value, hint = getattr(values, field.name), hints[field.name]
        name = group + field.name
        if dataclasses.is_dataclass(value):
            # Only the groups of a configuration have names on the command line.
            value = _without_rare(value, f"{name}." if isinstance(values, Config) else "")
            metadata = getattr(hint, "__metadata__", ())
            hint = Annotated[(type(value), *metadata)] if metadata else type(value)
        elif name in _RARE:
            hint = _hidden[hint]
        fields.append((field.name, hint))
        filled[field.name] = value
    kind = type(values)
    hiding = dataclasses.make_dataclass(
        kind.__name__,
        fields,
        bases=(kind,),
        namespace={"__doc__": kind.__doc__},
        frozen=True,
        kw_only=True,
    )
    return hiding(**filled)


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

"""Command lines as dataclasses: what is read, and what `--help` and `--help-all` show."""

import argparse
import dataclasses
import itertools
import types
import typing
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from purejax_simba.agents import registry
from purejax_simba.agents.settings import AgentSettings
from purejax_simba.config import LENGTHS, Config, ConfigError, ProcessOptions
from purejax_simba.names import all_settings, fill, replace_values
from purejax_simba.settings import Settings, declarations

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
_hidden: Any = tyro.conf.Suppress

HelpAll = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclass(frozen=True)
class OwnCode:
    """Code of yours that a run needs, which only your own command line may name."""

    task: str = ""
    """The task of the run, where it is your own: <module>:<id>."""
    agent: Annotated[str, tyro.conf.arg(name="agent.name")] = ""
    """The agent of the run, where it is your own."""
    host_python: str = ""
    """The interpreter for environments in worker processes, where the run had one."""

    def given(self) -> dict[str, str]:
        """As `load_policy` takes it."""
        named = {"task": self.task, "agent.name": self.agent, "host_python": self.host_python}
        return {name: value for name, value in named.items() if value}


_METAVARS: dict[Any, str] = {int: "INT", float: "FLOAT", str: "STR", Path: "PATH"}
_rules = tyro.constructors.ConstructorRegistry()


def read(kind: type[_Arguments], words: Sequence[str], default: _Arguments) -> _Arguments:
    """Reads the words of a command line; what they do not say is as in `default`.

    Where they ask for help, it is shown instead: `--help` all that `kind` has but the settings that
    are seldom changed, `--help-all` everything.

    Raises:
      ConfigError: for an empty word, which is what a shell makes of a variable that is not set.
    """
    for flag, word in itertools.pairwise(["", *words]):
        name, equals, value = word.partition("=")
        if not word or (equals and not value and name.startswith("--")):
            what = name or (flag if flag.startswith("--") else "a word")
            raise ConfigError(f"{what} is empty: give a value or drop it")
    if _asks_for_help(words):
        rare = {*all_settings(), *declarations(ProcessOptions)} - FIRST
        default = _for_help(default, set() if _asks_for_all(words) else rare)
        kind, words = type(default), ["--help"]
    with _rules:
        return tyro.cli(kind, args=words, default=default)


def code(words: Sequence[str]) -> dict[str, Any]:
    """What the words themselves say about the code to run, see `trust.check`."""
    flags = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    flags.add_argument("--task", nargs="?")
    flags.add_argument("--agent.name", nargs="?")
    flags.add_argument("--host-python", "--host_python", nargs="?")
    flags.add_argument("--loggers", nargs="*")
    given = vars(flags.parse_known_args(words)[0])
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in given.items()
        if value is not None
    }


def with_agent(config: _Config, words: Sequence[str]) -> _Config:
    """The configuration with the agent that the words name, whose settings they can give.

    Where they ask for help its own settings are filled in, with the recipe that they name.

    Raises:
      ConfigError: for an unknown agent, or a setting that it does not have.
    """
    names = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    names.add_argument("--agent.name", default=config.agent.name)
    names.add_argument("--recipe", default=config.recipe)
    given = vars(names.parse_known_args(words)[0])
    registry.load(given["agent.name"])
    if not _asks_for_help(words):
        config = replace_values(config, {"agent.name": given["agent.name"]})
        _refuse_settings_of_others(config.agent, words)
        return config
    from purejax_simba.defaults import with_agent_defaults  # which imports the environments

    try:
        return fill(with_agent_defaults(replace_values(config, given)), LENGTHS)
    except ConfigError:
        return config  # what is wrong is said when it is read


def _refuse_settings_of_others(agent: AgentSettings, words: Sequence[str]) -> None:
    own, every = declarations(type(agent), "agent."), all_settings()
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
        name, equals, value = word.partition("=")
        dotted = name.removeprefix("--").replace("-", "_")
        if name.startswith("--agent.") and dotted in every and dotted not in own:
            registry.refuse(agent.name, dotted, value if equals else following)


def _asks_for_help(words: Sequence[str]) -> bool:
    return bool({"-h", "--help"} & set(words)) or _asks_for_all(words)


def _asks_for_all(words: Sequence[str]) -> bool:
    return bool({"--help-all", "--help_all"} & set(words))


def _for_help(values: Any, hidden: Collection[str], group: str = "") -> Any:
    """The same values in dataclasses that have all fields, and hide some, by dotted name."""
    hints = typing.get_type_hints(type(values), include_extras=True)
    filled = {}
    for field in dataclasses.fields(values):
        value, hint = getattr(values, field.name), hints[field.name]
        name = group + field.name
        if dataclasses.is_dataclass(value):
            # Only the groups of a configuration have names on the command line.
            inner = f"{name}." if isinstance(values, Config) else ""
            value = _for_help(value, hidden, inner)
            metadata = getattr(hint, "__metadata__", ())
            hint = Annotated[(type(value), *metadata)] if metadata else type(value)
        elif name == "agent.name":
            hint = Literal[tuple(registry.AGENTS)]
        elif name in hidden:
            hint = _hidden[hint]
        hints[field.name], filled[field.name] = hint, value
    kind = type(values)
    shown = type(kind.__name__, (kind,), {"__doc__": kind.__doc__, "__annotations__": hints})
    if not isinstance(values, Settings):  # which are dataclasses by themselves
        shown = dataclass(frozen=True, kw_only=True)(shown)
    return shown(**filled)


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

"""Configuration values by name, as they stand on the command line: `agent.learning-rate`."""

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from purejax_simba.agents import registry
from purejax_simba.agents.settings import AgentSettings
from purejax_simba.config import Config, ConfigError
from purejax_simba.settings import Setting, declarations

_Group = TypeVar("_Group")

# Settings, and groups of them, that keep books: no number of the results depends on them.
BOOKKEEPING = frozenset(
    {"output", "checkpoint", "diagnostics", "loggers", "log_seeds"}
    | {"devices_per_run", "host_time_limit", "host_python"}
)


def flatten(config: Any) -> dict[str, Any]:
    """All values of a configuration; dotted name, with underscores, -> value."""
    return dotted(dataclasses.asdict(config))


def replace_values(group: _Group, values: Mapping[str, Any]) -> _Group:
    """A configuration, or a group of one, with other values; dotted name -> value.

    With another `agent.name` it has the settings of that agent; those that were given stay.

    Raises:
      ConfigError: for a name that there is not, or a setting that the agent does not have.
    """
    if isinstance(group, AgentSettings):
        return typing.cast(_Group, registry.change(group, values))
    changes: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        first, dot, rest = name.partition(".")
        if dot:
            inner.setdefault(first, {})[rest] = value
        else:
            changes[first] = value
    for name, of_group in inner.items():
        changes[name] = replace_values(getattr(group, name), of_group)
    return dataclasses.replace(typing.cast(Any, group), **changes)


def fill(config: _Group, values: Mapping[str, Any]) -> _Group:
    """The configuration with these values where it has settings of these names that are open."""
    known = flatten(config)
    return replace_values(config, {n: v for n, v in values.items() if known.get(n, v) is None})


def settings_of(config: Config) -> dict[str, Setting]:
    """What is declared of all settings of a configuration with its agent, by dotted name."""
    return declarations(type(config)) | declarations(type(config.agent), "agent.")


def all_settings() -> dict[str, Setting]:
    """What is declared of all settings, those of any agent among them, by dotted name.

    Where agents differ, a setting is traced if it is so in all that have it.
    """
    found = declarations(Config).copy()
    for agent in registry.AGENTS.values():
        for name, setting in declarations(agent.settings, "agent.").items():
            traced = setting.traced and found.get(name, setting).traced
            found[name] = dataclasses.replace(setting, traced=traced)
    return found


def is_traced(name: str) -> bool:
    """Whether the setting of this dotted name may differ within a compiled program."""
    return all_settings()[name].traced


def check_change(name: str, config: "Config") -> None:
    """Refuses the dotted name of a setting that cannot change while runs of `config` train.

    Defaults that follow from the agent are filled in.
    """
    known, agent = settings_of(config), config.agent.name
    if name not in known or not known[name].traced:
        raise ConfigError(f"{name} cannot change while {agent} trains: give it one value")
    if known[name].is_lasting:
        raise ConfigError(f"{name} cannot change later: training begins with it, give it one value")
    if name == "discount" and config.is_offline and config.normalize_rewards:
        raise ConfigError(
            "discount cannot change while a dataset is learned from, whose rewards are scaled for "
            "it before the first update: give it one value"
        )


def is_bookkeeping(name: str) -> bool:
    """Whether the setting of this dotted name is one of `BOOKKEEPING`, or in a group of it."""
    return name.partition(".")[0] in BOOKKEEPING


def plain_name(name: str) -> str:
    """A name as settings have it, however the user writes it."""
    return name.strip().lstrip("-").replace("-", "_")


def find_name(name: str) -> str:
    """The dotted name with underscores of what the user calls `name`; refuses an unknown one."""
    plain, known = plain_name(name), all_settings()
    if plain in known:
        return plain
    raise ConfigError(f"unknown name {name!r}: {near(plain, known)}")


def near(name: str, known: Iterable[str]) -> str:
    """Advice on a misspelt name: the nearest known ones."""
    known = list(known)
    found = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    # The last part alone is a good guess too: `learning_rate` for `agent.learning_rate`.
    last = name.rpartition(".")[2]
    found += [other for other in known if other.rpartition(".")[2] == last and other not in found]
    if found:
        return f"did you mean {' or '.join(found)}?"
    return f"choose from {', '.join(known)}"


def dotted(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted name, from nested mappings as files have them."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        is_group = isinstance(value, dict)
        found |= dotted(value, f"{prefix}{key}.") if is_group else {f"{prefix}{key}": value}
    return found


def from_nested(values: Mapping[Any, Any]) -> Config:
    """A configuration from its values as `config.json` has them; imports nothing that they name.

    Raises:
      ConfigError: for a name that there is not, a setting that the agent does not have, or a value
        that cannot be.
    """
    known, plain = all_settings(), {}
    for given, value in dotted(values).items():
        name = given if given in known else find_name(given)
        plain[name] = known[name].parse(name, value)
    config = replace_values(Config(), plain)
    check_values(config)
    return config


def check_values(config: Config) -> None:
    """Refuses values out of their own bounds, or none of the choices, whatever the others."""
    values = flatten(config)
    for name, setting in settings_of(config).items():
        setting.check(name, values[name])

"""Configuration values by name, as they stand on the command line: `agent.learning-rate`."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from purejax_simba.config import Config, ConfigError

_Config = TypeVar("_Config", bound=Config)


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """All values of a configuration; dotted name, with underscores, -> value."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            values |= flatten(value, f"{prefix}{field.name}.")
        else:
            values[prefix + field.name] = value
    return values


def replace_values(config: _Config, values: Mapping[str, Any]) -> _Config:
    """The configuration with other values; dotted name -> value."""
    return _replace(config, values, "")


def _replace(config: Any, values: Mapping[str, Any], prefix: str) -> Any:
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        name = prefix + field.name
        if name in values:
            changes[field.name] = values[name]
        elif any(other.startswith(f"{name}.") for other in values):
            changes[field.name] = _replace(getattr(config, field.name), values, f"{name}.")
    return dataclasses.replace(config, **changes)


def find_name(name: str) -> str:
    """The dotted name with underscores of what the user calls `name`.

    Raises:
      ConfigError: if there is none, with the nearest ones.
    """
    plain = name.strip().lstrip("-").replace("-", "_")
    known = flatten(Config())
    if plain in known:
        return plain
    raise ConfigError(f"unknown name {name!r}: {near(plain, known)}")


def check_choices(config: Config) -> None:
    """Refuses what is none of the choices that there are for a value.

    Raises:
      ConfigError: for the first such value.
    """
    kinds = _types()
    for name, value in flatten(config).items():
        members = (kinds[name], *typing.get_args(kinds[name]))
        literals = [kind for kind in members if typing.get_origin(kind) is typing.Literal]
        for choices in map(typing.get_args, literals):
            for one in value if isinstance(value, tuple) else (value,):
                if one is not None and one not in choices:
                    flag = f"--{name.replace('_', '-')}"
                    raise ConfigError(f"{flag} is {one!r}: choose from {', '.join(choices)}")


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


def parse_value(name: str, text: Any) -> Any:
    """A value of the type that the configuration has under this name.

    Args:
      name: dotted, with underscores.
      text: as written by the user, several numbers with spaces between them; YAML may have made
        a number or a list of it.

    Raises:
      ConfigError: if it is not one.
    """
    kind = _types()[name]
    unions = (types.UnionType, typing.Union)
    members = typing.get_args(kind) if typing.get_origin(kind) in unions else (kind,)
    if types.NoneType in members and str(text).lower() in ("none", "null"):
        return None
    (kind,) = (member for member in members if member is not types.NoneType)
    if typing.get_origin(kind) is tuple:
        items = text if isinstance(text, list) else str(text).split()
        return tuple(_parse_one(name, item, typing.get_args(kind)[0]) for item in items)
    return _parse_one(name, text, kind)


def _parse_one(name: str, text: Any, kind: Any) -> Any:
    if typing.get_origin(kind) is typing.Literal:
        choices = typing.get_args(kind)
        if text not in choices:
            raise ConfigError(f"{name} is {text!r}: choose from {', '.join(choices)}")
        return text
    try:
        return _PARSERS[kind](str(text).strip())
    except ValueError:
        raise ConfigError(f"{name} is {text!r}: give {_WORDS[kind]}") from None


def _parse_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


_PARSERS: dict[type, Callable[[str], Any]] = {int: int, float: float, bool: _parse_bool, str: str}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def _types(cls: type = Config, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, kind in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(kind):
            found |= _types(typing.cast(type, kind), f"{prefix}{name}.")
        else:
            found[prefix + name] = kind
    return found

"""Settings, each declared once: type, default, bounds, help, and whether it is traced.

    tau: float = setting(0.005, traced=True, above=0.0, at_most=1.0)
    '''Weight of the new network in the target network's moving average.'''

Traced numbers, sweep axes, checks and the help of the command line are read from that.
"""

import dataclasses
import functools
import math
import operator
import types
import typing
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from purejax_simba.errors import ConfigError, shown


def _parse_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


UNIONS = (types.UnionType, typing.Union)
_PARSERS: dict[type, Callable[[str], Any]] = {int: int, float: float, bool: _parse_bool, str: str}
# Numbers of numpy are in no file of JSON.
_TYPES: dict[Any, Any] = {int: int, float: (int, float), bool: bool, str: str}
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind; of kinds with values of their own it is not known here."""
    if kind not in _TYPES:
        return True
    return isinstance(value, _TYPES[kind]) and isinstance(value, bool) == (kind is bool)


@dataclass(frozen=True)
class Setting:
    """What is declared of a setting.

    Attributes:
      default: its value where none is given; None if that follows from others or from the task.
      traced: may differ between the runs of one compiled program.
      above, at_least, below, at_most: bounds of a number, or of each of several.
      is_place: names a directory below another: words with / between them.
      is_lasting: what is learned is made for this number, so that it cannot change later.
      kind: type of a value, a `tuple` where there can be several.
      optional: may be None, which says that it is not given.
    """

    default: Any = None
    traced: bool = False
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    is_place: bool = False
    is_lasting: bool = False
    kind: Any = None
    optional: bool = False

    @property
    def choices(self) -> tuple[Any, ...]:
        """All values that it can have, if these are few."""
        kind = self._kind_of_one
        return typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()

    @property
    def _kind_of_one(self) -> Any:
        is_tuple = typing.get_origin(self.kind) is tuple
        return typing.get_args(self.kind)[0] if is_tuple else self.kind

    def parse(self, name: str, text: Any) -> Any:
        """A value from what the user wrote, several with spaces between them, or YAML made of it.

        Raises:
          ConfigError: if it is none; `name` is for the message.
        """
        if self.optional and str(text).lower() in ("none", "null"):
            return None
        if self.kind is not self._kind_of_one and text is not None:
            items = text if isinstance(text, list | tuple) else str(text).split()
            return tuple(self._parse_one(name, item) for item in items)
        return self._parse_one(name, text)

    def _parse_one(self, name: str, text: Any) -> Any:
        if self.choices:
            if text not in self.choices:
                raise ConfigError(f"{name} is {shown(text)}: choose from {', '.join(self.choices)}")
            return text
        try:
            if not isinstance(text, str | int | float):
                raise ValueError
            return _PARSERS[self._kind_of_one](str(text).strip())
        except ValueError:
            raise ConfigError(f"{name} is {shown(text)}: give {WORDS[self._kind_of_one]}") from None

    def check(self, name: str, value: Any) -> None:
        """Refuses a value of another type, no choice, or out of bounds; `name` is dotted."""
        has_several = self.kind is not self._kind_of_one
        if has_several and not isinstance(value, tuple) and value is not None:
            raise ConfigError(f"{flag(name)} is {value!r}: give a tuple")
        for one in value if isinstance(value, tuple) else (value,):
            if one is None:
                continue
            if not _is(one, self._kind_of_one):
                raise ConfigError(f"{flag(name)} is {one!r}: give {WORDS[self._kind_of_one]}")
            if self.choices and one not in self.choices:
                choices = ", ".join(self.choices)
                raise ConfigError(f"{flag(name)} is {one!r}: choose from {choices}")
            if isinstance(one, int) and abs(one) >= 2**63:
                raise ConfigError(f"{flag(name)} is {one}: give a number that a computer can count")
            if isinstance(one, str) and any(unicodedata.category(c) in ("Cc", "Cs") for c in one):
                raise ConfigError(f"{flag(name)} is {shown(one)}: give letters that can be printed")
            if self.is_place and one and any(n[:1] in ("", ".") for n in one.split("/")):
                raise ConfigError(
                    f"{flag(name)} is {shown(one)}: give one or more names with / between them, "
                    "because it becomes directories below --output, and not hidden ones"
                )
            if not self._is_within(one):
                raise ConfigError(f"{flag(name)} is {one}: give {self._bounds}")

    def _is_within(self, value: Any) -> bool:
        return (
            value == value  # which NaN is not
            and (self.above is None or self.above < value < math.inf)
            and (self.at_least is None or self.at_least <= value < math.inf)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )

    @property
    def _bounds(self) -> str:
        if self.below is None and self.at_most is None:
            if self.above is not None:
                return f"a finite number above {self.above:g}"
            return "a number" if self.at_least is None else f"{self.at_least:g} or more"
        low = f"[{self.at_least:g}" if self.above is None else f"({self.above:g}"
        high = f"{self.at_most:g}]" if self.below is None else f"{self.below:g})"
        return f"a number in {low}, {high}"


def setting(
    default: Any = None,
    *,
    traced: bool = False,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    is_place: bool = False,
    is_lasting: bool = False,
) -> Any:
    """A field of a dataclass, or of `Settings`, with what `Setting` says of it.

    There is one lower bound at least where there is an upper one.
    """
    declared = Setting(default, traced, above, at_least, below, at_most, is_place, is_lasting)
    return dataclasses.field(default=default, metadata={"setting": declared})


@typing.dataclass_transform(kw_only_default=True)
class Settings:
    """Settings of which some are given; the others are None until their defaults are filled in.

    A subclass is a frozen dataclass by itself. What it writes with a type is a setting of its own,
    what it writes without one is another default of a setting that it inherits: `tau = 0.01`.
    """

    __dataclass_fields__: typing.ClassVar[dict[str, dataclasses.Field[Any]]]

    def __init_subclass__(cls) -> None:
        inherited: dict[str, dataclasses.Field[Any]] = {}
        for base in reversed(cls.__mro__[1:]):
            inherited |= vars(base).get("__dataclass_fields__", {})
        annotations = cls.__annotations__
        for name, value in list(vars(cls).items()):
            if isinstance(value, dataclasses.Field):
                field, declared = value, value.metadata.get("setting")
                annotations[name] = annotations[name] | None if declared else annotations[name]
            elif name in inherited:
                field = inherited[name]
                declared = field.metadata.get("setting")
                declared = declared and dataclasses.replace(declared, default=value)
                annotations[name] = field.type
            else:
                continue
            if declared is not None:
                # Each instance has None; the default is known to the declaration.
                open_field = dataclasses.field(default=None, metadata={"setting": declared})
                setattr(cls, name, open_field)
        dataclass(frozen=True, kw_only=True)(cls)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Default of every setting that has one, by name."""
        return {n: s.default for n, s in declarations(cls).items() if s.default is not None}

    def given(self) -> dict[str, Any]:
        """The values that are not open, by name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def with_defaults(self) -> typing.Self:
        """The same with the defaults of all that is open."""
        return dataclasses.replace(self, **(self.defaults() | self.given()))


def declarations(cls: type, prefix: str = "") -> dict[str, Setting]:
    """What is declared of all settings of a dataclass and of the groups in it, by dotted name."""
    return _declarations(cls, prefix)


@functools.cache
def _declarations(cls: type, prefix: str) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        name, kind = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(kind):
            found |= _declarations(typing.cast(type, kind), f"{name}.")
            continue
        members = typing.get_args(kind) if typing.get_origin(kind) in UNIONS else (kind,)
        (kind,) = (member for member in members if member is not types.NoneType)
        declared = field.metadata.get("setting", Setting(field.default))
        found[name] = dataclasses.replace(declared, kind=kind, optional=len(members) > 1)
    return found


def traced_numbers(group: Any) -> dict[str, Any]:
    """Values of the settings of a dataclass that are traced and not open, by name.

    Those of groups in it are there too, without the name of the group.
    """
    numbers: dict[str, Any] = {}
    for name, declared in declarations(type(group)).items():
        value = operator.attrgetter(name)(group)
        if declared.traced and value is not None:
            numbers[name.rpartition(".")[2]] = declared.kind(value)
    return numbers


def flag(name: str) -> str:
    """A dotted name as it stands on the command line."""
    return f"--{name.replace('_', '-')}"

"""A sweep as it is written in a file: YAML, or Python."""

import dataclasses
import runpy
import traceback
from pathlib import Path
from typing import Any

import yaml

from purejax_simba.config import ConfigError
from purejax_simba.names import all_settings, dotted, find_name, near, replace_values
from purejax_simba.settings import declarations
from purejax_simba.sweep.options import KINDS, BaseConfig, SweepOptions


def read_file(path: Path) -> SweepOptions:
    """Reads a file: `config` (values by name, nested or dotted), and the names of options.

    Axes are mappings, `grid: {agent.learning_rate: [1e-4, 3e-4]}`; a task or several are `task`;
    `configurations` are mappings as `config` is, each one choice of hyperparameters.

    Args:
      path: of YAML; or of Python that defines `sweep`, such a mapping or a function returning one.

    Raises:
      ConfigError: if there is none, or something in it is unknown.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise ConfigError(f"--file {path}: {reason}") from error
    content = _run_python(path) if path.suffix == ".py" else _load_yaml(path, text)
    if not isinstance(content, dict):
        raise ConfigError(f"--file {path} is no mapping: write `config:`, `task:`, `grid:` ...")
    try:
        return _read(content)
    except ConfigError as error:
        raise ConfigError(f"--file {path}: {error}") from error


def _load_yaml(path: Path, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--file {path} is no YAML: {' '.join(str(error).split())}") from error


def _run_python(path: Path) -> Any:
    try:
        sweep = runpy.run_path(str(path)).get("sweep")
        content = sweep() if callable(sweep) else sweep
    except Exception as error:  # whatever the user's code raises
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(path)
        ]
        place = f", line {lines[-1]}" if lines else ""
        message = " ".join(str(error).split())
        raise ConfigError(
            f"--file {path}{place} fails: {type(error).__name__}: {message}"
        ) from error
    if content is None:
        raise ConfigError(
            f"--file {path} defines no sweep: write `sweep = {{...}}`, or a function of that name "
            "that returns it, with what a YAML file would have"
        )
    return content


def _read(content: dict[Any, Any]) -> SweepOptions:
    known = ("task", *(field.name for field in dataclasses.fields(SweepOptions)))
    values = _values("config", content.get("config") or {})
    options: dict[str, Any] = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise ConfigError(f"unknown name {key!r}: {near(name, known)}")
        if name == "task":
            values[name] = tuple(map(str, _list(value)))
        elif name in KINDS:
            options[name] = tuple(
                f"{axis}={','.join(map(str, _list(numbers)))}"
                for axis, numbers in dotted(_mapping(name, value)).items()
            )
        elif name == "configurations":
            options[name] = tuple(_values(name, each) for each in _list(value))
            if not options[name]:
                raise ConfigError("configurations is empty: give one or more")
        elif name != "config":
            options[name] = declarations(SweepOptions)[name].parse(name, value)
    return SweepOptions(config=replace_values(BaseConfig(), values), **options)


def _values(key: str, content: Any) -> dict[str, Any]:
    """Dotted name -> value of a part of a configuration."""
    values: dict[str, Any] = {}
    for given_name, value in dotted(_mapping(key, content)).items():
        name = find_name(given_name)
        if name == "task":
            raise ConfigError(f"task stands beside {key}, not in it")
        values[name] = all_settings()[name].parse(name, value)
    return values


def _mapping(name: str, value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{name} is {value!r}: write a mapping from names to values")
    return value


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]

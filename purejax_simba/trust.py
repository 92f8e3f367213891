"""Code that files name: it is run only if it is here already, or at the user's own word.

A run, a sweep or a dataset may come from somebody else. Their files name a task, an agent, loggers
and an interpreter. What is registered here, or imported by the user's own process, may be named by
anybody. A module that would have to be imported, and an interpreter that would be started, count
only from the command line or from the caller, or after a yes at a terminal.
"""

import contextlib
import importlib
import importlib.util
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from purejax_simba.agents import registry
from purejax_simba.config import Config, ConfigError
from purejax_simba.names import all_settings, plain_name

# Where settings say which code runs, by dotted name.
NAMES = ("task", "agent.name", "host_python", "loggers")
# Modules that nobody needs to name: none, and those of our own packages.
_OURS = ("", "envs", "purejax_simba")
_ROOT = Path(__file__).parent.parent
# Given to `check` where nothing is run and nobody asked: only the agent, whose settings are read,
# has to be known.
NOT_RUN: Mapping[str, Any] = {"task": "", "host_python": "", "loggers": ()}


class Module(TypedDict):
    """A module that registers a task or an agent, and its file; empty if unknown."""

    module: str
    file: str


# Of the settings `task` and `agent.name`, if their modules are not our own; `run.json` has them.
Modules = dict[str, Module]


class _Needed(NamedTuple):
    """Code that a file names and that is not here.

    Attributes:
      what: the module or the interpreter, in words.
      flag: by which the user names it; empty if there is none.
      module: that would be imported; empty for none in this process.
      place: the directory of the module, where it cannot be found from here but is known.
    """

    what: str
    flag: str
    module: str = ""
    place: str = ""


def check(
    values: Mapping[str, Any],
    source: Path | str,
    given: Mapping[str, Any] | None = None,
    recorded: Modules | None = None,
) -> None:
    """Refuses a file that names code which is not here, with the flags by which the user can.

    Args:
      values: of the file, as `said` has them.
      source: the file, or what it is called.
      given: what the user says in place of them, likewise. Its modules are imported.
      recorded: what is known of where they were registered.
    """
    given, recorded = given or {}, recorded or {}
    python, task = {**values, **given}.get("host_python"), values.get("task", "")
    _use(given, python)
    if "task" in given and (given["task"] == task or not is_same_task(given["task"], task)):
        task = ""  # that of the file does not count; another name for the same does
    needed = [
        *_agent(values.get("agent.name"), recorded.get("agent.name")),
        *_task(task, recorded.get("task"), python),
        *_loggers(values.get("loggers", ()) if "loggers" not in given else ()),
        *_interpreter(values.get("host_python", "") if "host_python" not in given else ""),
    ]
    if not needed:
        return
    names = f"{source} names {' and '.join(each.what for each in needed)}"
    modules = list(filter(None, (each.module for each in needed)))
    may_ask = given is not NOT_RUN and all(map(_find, modules))
    if may_ask and _says_yes(f"{names}: run that?"):
        for module in modules:
            _import(module, str(source))
        return
    flags = " ".join(dict.fromkeys(each.flag for each in needed if each.flag))
    words = [f"give {flags}"] if flags else []
    words += ["import it first in Python"] if modules else []
    places = os.pathsep.join(dict.fromkeys(each.place for each in needed if each.place))
    raise ConfigError(
        f"{names}, and nothing is run because a file says so: if you trust it, "
        + " or ".join(words)
        + (f", with {places} on PYTHONPATH" if places else "")
    )


def said(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the values of a file, by dotted name, say of code: for `check`."""
    known, named = all_settings(), {plain_name(name): value for name, value in values.items()}
    return {name: known[name].parse(name, named[name]) for name in NAMES if name in named}


def _use(given: Mapping[str, Any], python: Any) -> None:
    """Imports the modules that the user names, so that what they register is known."""
    if "agent.name" in given:
        registry.load(given["agent.name"])
    task = given.get("task", "")
    if ":" in task:
        import envs

        envs.spec(task)
        module, own_id = envs.split_id(task)
        if module and own_id not in envs.tasks() and not python:  # of a library, and made here
            _import(module, task)


def _import(module: str, named_by: str) -> None:
    from envs.registry import import_for

    import_for(named_by, module)


def _task(task: str, noted: Module | None, python: Any) -> Iterator[_Needed]:
    if not task or not (":" in task or noted):
        return
    import envs

    module, own_id = envs.split_id(task)
    known = envs.spec(own_id).module if own_id in envs.tasks() else None
    if not module and known is None and noted:
        module = noted["module"]
    flag = f"--task {_shown(_with_module(module, own_id))}"
    if module and python and task.startswith("gymnasium/"):  # for workers of that interpreter
        yield _Needed(f"the module {_shown(module)}", flag)
    elif module and module != known and module not in sys.modules:
        yield _module(module, flag, noted)


def _agent(name: str | None, noted: Module | None) -> Iterator[_Needed]:
    if name is None or name in registry.AGENTS:
        return
    module = noted["module"] if noted else name
    if noted or (name.isidentifier() and _find(name)):  # or else it is misspelt
        yield _module(module, f"--agent.name {_shown(name)}" if module == name else "", noted)


def _loggers(names: Sequence[str]) -> Iterator[_Needed]:
    for name in names:
        module, colon, attribute = name.partition(":")
        found = getattr(sys.modules.get(module), attribute, None) if colon else None
        # Functions would do whatever they do, with a directory from others.
        is_logger = isinstance(found, type) and hasattr(found, "write") and hasattr(found, "close")
        if colon and not is_logger:
            yield _module(module, f"--loggers {' '.join(map(_shown, names))}")


def _interpreter(python: str) -> Iterator[_Needed]:
    if python:
        shown = _shown(python)
        yield _Needed(f"the interpreter {shown}", f"--host-python {shown}")


def _module(module: str, flag: str, noted: Module | None = None) -> _Needed:
    found = _find(module)
    file = noted["file"] if noted and noted["module"] == module else ""
    where = f" ({_shown(found or file)})" if found or file else ""
    place = "" if found or not file else _shown(_path_for(module, file))
    return _Needed(f"the module {_shown(module)}{where}", flag, module, place)


def _find(module: str) -> str:
    """The file that would be imported from here, of the outermost package; empty if none."""
    with contextlib.suppress(ImportError, ValueError):
        found = importlib.util.find_spec(module.partition(".")[0])
        if found is not None:
            return found.origin or str(*(found.submodule_search_locations or ("",)))
    return ""


def _path_for(module: str, file: str) -> str:
    """The directory from where Python finds a module that has this file."""
    parts = module.split(".")
    levels = len(parts) + (Path(file).stem == "__init__")
    return str(Path(*Path(file).parts[:-levels]))


def _shown(text: str) -> str:
    """Text from a file as a word of a shell, on one line."""
    return shlex.quote(text if text.isprintable() else ascii(text))


def _says_yes(question: str) -> bool:
    """Whether there is a terminal, and somebody at it who agrees."""
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def is_same_task(one: str, other: str) -> bool:
    """Whether two ids are of one task, with the module that registers it or without."""
    import envs

    return one == other or envs.split_id(one)[1] == envs.split_id(other)[1]


def _with_module(module: str, own_id: str) -> str:
    family = "gymnasium/" if own_id.startswith("gymnasium/") else ""
    return f"{family}{module}:{own_id.removeprefix(family)}"


def full_id(task: str) -> str:
    """The id of a task with the module that registers it, if that is not our own."""
    import envs

    module, own_id = envs.split_id(task)
    module = module or envs.spec(task).module
    return _with_module(module, own_id) if module.partition(".")[0] not in _OURS else task


def modules(config: Config) -> Modules:
    """The modules that register the task and the agent, but for our own; see `Modules`."""
    import envs

    agent = registry.AGENTS[config.agent.name].settings.__module__
    names = {"task": envs.split_id(full_id(config.task))[0], "agent.name": envs.module_name(agent)}
    return {
        setting: {"module": name, "file": _file_of(name)}
        for setting, name in names.items()
        if name.partition(".")[0] not in _OURS
    }


def _file_of(module: str) -> str:
    import envs

    name = "__main__" if module == envs.module_name("__main__") else module
    file = getattr(sys.modules.get(name), "__file__", None)
    return os.path.abspath(file) if file else ""


def train_command(words: str, config: Config) -> str:
    """A command that trains, with what the user has to say because files may not.

    A checkout has a script for it, which finds what lies beside it; an installed package a name.
    """
    known = modules(config)
    flags, files = [], {each["module"]: each["file"] for each in known.values()}
    if "task" in known:
        flags += ["--task", full_id(config.task)]
    if "agent.name" in known and known["agent.name"]["module"] == config.agent.name:
        flags += ["--agent.name", config.agent.name]
    if config.host_python:
        flags += ["--host-python", config.host_python]
    if own := [name.partition(":")[0] for name in config.loggers if ":" in name]:
        flags += ["--loggers", *config.loggers]
        files |= {module: _file_of(module) for module in own}
    paths = {_path_for(module, file): None for module, file in files.items() if file}
    script = Path(sys.argv[0])
    is_beside = script.suffix == ".py" and script.resolve().parent == _ROOT
    train = shlex.join(["python", str(script.with_name("train.py"))])
    found = os.environ.get("PYTHONPATH", "").split(os.pathsep) + [str(_ROOT)] * is_beside
    missing = [path for path in paths if path not in found and not path.startswith(sys.prefix)]
    prefix = f"PYTHONPATH={shlex.quote(os.pathsep.join(missing))}:$PYTHONPATH " if missing else ""
    program = train if is_beside else "purejax-simba train"
    return prefix + " ".join([program, words, *map(shlex.quote, flags)])

"""Commands run in the process of a test."""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import envs
from purejax_simba import waiting
from purejax_simba.agents import registry


def runner(
    name: str, main: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Callable[..., tuple[int, str, str]]:
    """A command line: arguments -> exit status, stdout, stderr."""
    monkeypatch.setattr(waiting, "SECONDS", 600.0)  # a slow machine says no more than a fast one
    # It would outlive the test.
    monkeypatch.setattr("purejax_simba.runs.devices.use_compilation_cache", lambda: None)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        status = main()
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def refuse_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test where compilation would begin."""

    def fail(*_: object) -> None:
        raise AssertionError("compiled what cannot run")

    monkeypatch.setattr("purejax_simba.runs.compiling.compile_program", fail)


def refused(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[..., tuple[int, str, str]]:
    """Commands that end before compilation: command, arguments -> exit status, stdout, stderr."""
    refuse_compilation(monkeypatch)

    def run(main: Callable[[], int], *words: str) -> tuple[int, str, str]:
        return runner("command", main, monkeypatch, capsys)(*words)

    return run


@contextlib.contextmanager
def forgetting(*modules: str) -> Iterator[None]:
    """Agents and tasks that are registered inside are not known afterwards, nor these modules."""
    known = {task: envs.spec(task) for task in envs.tasks()}
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(registry, "AGENTS", dict(registry.AGENTS))
            patch.setattr("envs.registry._specs", known)
            yield
    finally:
        for module in modules:
            sys.modules.pop(module, None)
        importlib.invalidate_caches()

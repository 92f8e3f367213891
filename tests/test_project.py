"""The project's own files agree with one another."""

import re
import tomllib

from tests.helpers.pages import ROOT, commands


def locked_names() -> set[str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return {line.partition("==")[0] for line in lines if "==" in line and line[0] != "#"}


def required_names() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    requirements = [*project["dependencies"], *(r for extra in extras for r in extra)]
    return {re.split(r"[\[<>=;]", requirement)[0] for requirement in requirements}


def test_lock_file_pins_every_requirement() -> None:
    assert required_names() <= locked_names()


def test_ci_runs_the_test_command_of_the_readme() -> None:
    installing = [
        line for line in commands(ROOT / "README.md") if line.startswith("python3 -m venv")
    ]
    assert len(installing) == 2
    assert installing[1] in (ROOT / ".ci" / "run").read_text()


def test_the_front_door_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_no_test_imports_another() -> None:
    """What they share is in `tests/helpers`."""
    for path in (ROOT / "tests").rglob("*.py"):
        imported = re.findall(r"^\s*(?:from|import) +tests\b.*\btest_\w+", path.read_text(), re.M)
        assert imported == [], path

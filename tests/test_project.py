"""The project's own files agree with one another."""

import re
import tomllib

import pytest

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


@pytest.mark.parametrize("directory", ["envs", "purejax_simba"])
def test_floors_are_not_imported_upwards(directory: str) -> None:
    above = {"envs": ("purejax_simba", "train"), "purejax_simba": ("train",)}[directory]
    commands = {ROOT / directory / "__main__.py"}  # they stand above all floors
    for path in set((ROOT / directory).rglob("*.py")) - commands:
        for module in re.findall(r"^\s*(?:from|import) ([\w.]+)", path.read_text(), re.MULTILINE):
            assert module.split(".")[0] not in above, f"{path} imports {module}"

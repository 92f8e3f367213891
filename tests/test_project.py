"""The project's own files agree with one another."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


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
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"```bash\n(python3 -m venv .*)\n```", readme)
    assert len(commands) == 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("directory", ["envs", "purejax_simba"])
def test_floors_are_not_imported_upwards(directory: str) -> None:
    above = {"envs": ("purejax_simba", "train"), "purejax_simba": ("train",)}[directory]
    commands = {ROOT / directory / "__main__.py"}  # they stand above all floors
    for path in set((ROOT / directory).rglob("*.py")) - commands:
        for module in re.findall(r"^\s*(?:from|import) ([\w.]+)", path.read_text(), re.MULTILINE):
            assert module.split(".")[0] not in above, f"{path} imports {module}"

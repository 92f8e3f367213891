"""The Dockerfile and the conda environment install what `pyproject.toml` says."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def _arguments() -> dict[str, str]:
    """Build arguments of the Dockerfile and their defaults."""
    return dict(re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILE, re.MULTILINE))


def _check(requirement: str) -> None:
    """That it installs the project in place, with extras that exist."""
    (extras,) = re.fullmatch(r"-e \"?\.\[([\w,]+)\]\"?", requirement).groups()
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()


def test_the_dockerfile_installs_the_project():
    arguments = _arguments()
    assert arguments["PYTHON"] in SpecifierSet(PROJECT["requires-python"])
    (command,) = re.findall(r"^RUN pip install (.*)$", DOCKERFILE, re.MULTILINE)
    assert "-c requirements.lock" in command
    _check(re.search(r"-e .*", command).group().replace("${EXTRAS}", arguments["EXTRAS"]))
    for extras in re.findall(r"--build-arg EXTRAS=(\w+)", DOCKERFILE):
        assert extras in PROJECT["optional-dependencies"]


def test_the_image_has_every_file_of_the_project():
    copied = {word for line in _copies() for word in line[:-1]}
    for file in copied:
        assert (ROOT / file).exists(), file
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - {"tests", "benchmarks"} <= copied
    assert {path.name for path in ROOT.glob("*.py")} <= copied
    assert {PROJECT["readme"], *PROJECT["license-files"], "requirements.lock"} <= copied


def _copies() -> list[list[str]]:
    return [line.split() for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE)]


def test_the_conda_environment_installs_the_project():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, _, pip = environment["dependencies"]
    assert python.removeprefix("python=") in SpecifierSet(PROJECT["requires-python"])
    assert environment["name"] == PROJECT["name"]
    constraint, requirement = pip["pip"]
    assert constraint == "-c requirements.lock" and (ROOT / "requirements.lock").exists()
    _check(requirement)


@pytest.mark.slow
def test_the_steps_of_the_dockerfile_work_in_an_empty_environment(tmp_path):
    """All but those of Debian, which need an image."""
    image = tmp_path / "image"
    image.mkdir()
    for *sources, target in _copies():
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, image / target)
            else:
                shutil.copy(ROOT / source, image / target)
    subprocess.run([sys.executable, "-m", "venv", "venv"], cwd=tmp_path, check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    # `.ci/run` has installed the dependencies by the same command in an empty environment.
    (site,) = tmp_path.glob("venv/lib/*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (command,) = re.findall(r"^RUN pip (install .*)$", DOCKERFILE, re.MULTILINE)
    words = command.replace("--no-cache-dir ", "").replace('"', "")
    words = words.replace("${EXTRAS}", _arguments()["EXTRAS"]).split()
    subprocess.run([python, "-m", "pip", "-q", *words], cwd=image, check=True)
    for script in ("train.py", "sweep.py"):
        result = subprocess.run(
            [python, script, "--help"], cwd=image, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        assert "--task" in result.stdout

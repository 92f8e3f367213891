"""What is built and installed works: wheel, Dockerfile and conda environment."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
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


def _environment(directory: Path) -> Path:
    """A virtual environment that has the dependencies, but not this package."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    # `.ci/run` has installed the dependencies by the same command in an empty environment.
    (site,) = directory.glob("lib/*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return directory / "bin"


def _files(directory: Path) -> set[str]:
    found = [path for name in ("envs", "purejax_simba") for path in (directory / name).rglob("*")]
    names = {str(path.relative_to(directory)) for path in found if path.is_file()}
    return {name for name in names if not name.endswith(".pyc")}


BUILD = "from setuptools import build_meta; build_meta.build_sdist({!r})"
TINY = (
    "--num-seeds 1 --agent.name random --total-env-steps 40 --evaluation-interval 20 "
    "--num-evaluation-episodes 1 --episode-length 10 --learning-starts 20 --experiment mine"
)


@pytest.mark.slow
def test_what_is_built_works_without_the_repository(tmp_path):
    """The source distribution, the wheel that is built from it, and the commands of that."""
    source, built, empty = tmp_path / "source", tmp_path / "built", tmp_path / "empty"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "results", "build", "*.egg*"))
    empty.mkdir()
    bin = _environment(tmp_path / "venv")
    subprocess.run([bin / "python", "-c", BUILD.format(str(built))], cwd=source, check=True)
    (archive,) = built.glob("*.tar.gz")
    options = ["-q", "--no-deps", "--no-build-isolation", "--no-index"]
    pip = [bin / "python", "-m", "pip"]
    subprocess.run([*pip, "wheel", *options, archive, "-w", built], cwd=empty, check=True)
    (wheel,) = built.glob("*.whl")
    subprocess.run([*pip, "install", *options, wheel], cwd=empty, check=True)
    shutil.rmtree(source)

    (site,) = tmp_path.glob("venv/lib/*/site-packages")
    assert _files(site) == _files(ROOT)
    with zipfile.ZipFile(wheel) as file:
        assert not [name for name in file.namelist() if name.endswith(".pyc")]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
        result = subprocess.run(
            [bin / words[0], *words[1:]], cwd=empty, env=environment, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        return result

    for task in ("gymnax/Pendulum-v1", "dmc/cheetah-run"):
        train = f"purejax-simba train {TINY} --task {task}"
        run(*train.split())
        directory = f"results/runs/mine/{task}"
        (session,) = json.loads((empty / directory / "run.json").read_text())
        assert session["command"] == train
        assert "revision" not in session["versions"]
    assert "seed 0: return" in run("purejax-simba", "train", "--evaluate", directory).stdout
    run("purejax-simba", "sweep", "--dry-run", "--task", "gymnax/Pendulum-v1")
    assert "dmc/dog-run" in run("python", "-m", "envs", "dmc_hard").stdout
    run("python", "-m", "purejax_simba.report", "results", "--output", "page.html")
    run("python", "-m", "purejax_simba.report", "figures", "--output", "figures")
    assert (empty / "page.html").exists() and list((empty / "figures").iterdir())


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
    python = _environment(tmp_path / "venv") / "python"
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

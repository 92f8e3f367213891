"""Every command of the README and of `docs/` is one that the programs take, and works.

By default they are read by the real parsers. What is `slow` does what each page says from top to
bottom, with as few steps and as small networks as there can be, but for what is in `NOT_RUN`.
"""

import argparse
import contextlib
import io
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import tyro

from purejax_simba import stopping
from purejax_simba.agents import registry
from purejax_simba.commands import train
from purejax_simba.config import Config
from purejax_simba.runs.result_files import CONFIG_FILE, write_config
from purejax_simba.training import make_program
from tests.helpers.in_process import forgetting
from tests.helpers.pages import PAGES, ROOT, blocks, commands, file_block, prose, spans, words

ALL_PAGES = [*PAGES, *sorted((ROOT / "results").glob("*.md"))]

# What is only read by the parsers, and why.
NOT_RUN = {
    r"benchmarks\.targets|--compile-for": "needs compilers; tests/benchmarks/test_targets.py",
    r"\bpip install\b": "installs; .ci/run does that as the README says",
    r"\bpip wheel\b|-m build\b": "builds; tests/test_deployment.py does that",
    r"\bdocker\b|\bconda\b": "needs Docker or conda; tests/test_deployment.py does their steps",
    r"\bpytest\b": "the tests themselves",
    r"\bsrun\b|\bgcloud\b": "needs a cluster",
    r"^python ball\.py": "tests/envs/test_own_task.py does it, and looks whether it learns",
    r"--coordinator-address": "needs two machines; tests/runs does it with two processes",
    r"--devices-per-run": "needs eight devices; tests/runs does it with two",
    r"~/": "needs another interpreter, with other packages",
    r"--suite all|tests\.parity all": "takes days",
    r"\benvpool/": "EnvPool comes with an extra; tests/envs/test_host.py does it",
    r"--watch|\btensorboard --logdir": "goes on until Ctrl-C",
    r"benchmarks\.(accelerator|update|train|sweep|memory|envs|host)": "tests/benchmarks does it",
    r"benchmarks\.rounding": "ends with 1: more is beyond tolerance than without",
    r"--launcher": "needs machines; tests/sweep/test_launching.py does it with processes",
}
OTHER_PROGRAMS = (
    *("python3 -m venv", "docker", "conda", "tensorboard", "python -m pytest"),
    *("pip wheel", "python -m build"),
)


def is_run(command: str) -> bool:
    """Whether the slow tests run it."""
    return not any(re.search(pattern, command) for pattern in NOT_RUN)


class Parsed(BaseException):
    """A parser has taken the words."""


@pytest.fixture
def parse_only(monkeypatch):
    """Programs end as soon as their words are read."""

    def and_stop(function):
        def stop(*args, **kwargs):
            function(*args, **kwargs)
            raise Parsed

        return stop

    monkeypatch.setattr(tyro, "cli", and_stop(tyro.cli))
    monkeypatch.setattr(
        argparse.ArgumentParser, "parse_args", and_stop(argparse.ArgumentParser.parse_args)
    )


def run_program(program: list[str]) -> None:
    """Runs `<file>.py ...` or `-m <module> ...` in this process."""
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        stack.enter_context(forgetting("ball", "ddpg"))
        patch.setattr(stopping, "hear", lambda: None)  # this process is not only theirs
        if program[0] == "-m":
            patch.setattr(sys, "argv", program[1:])
            runpy.run_module(program[1], run_name="__main__", alter_sys=True)
        else:
            patch.setattr(sys, "argv", program)
            runpy.run_path(str(ROOT / program[0]), run_name="__main__")


@pytest.fixture(scope="module")
def beside_the_pages(tmp_path_factory) -> Path:
    """A directory with the files that commands read."""
    directory = tmp_path_factory.mktemp("read")
    write_files(directory)
    runs = directory / "results" / "runs"
    for name in ("first/dmc/cheetah-run", "pendulum", "evolved"):
        (runs / name).mkdir(parents=True)
        write_config(runs / name, Config(task="dmc/cheetah-run"))
    for name in ("pendulum", "evolved"):
        (runs / name / CONFIG_FILE).rename(runs / name / "best.json")
    return directory


def write_files(directory: Path) -> None:
    """Writes what the pages say is a file, and the results that come with the project."""
    shutil.copytree(ROOT / "results", directory / "results", ignore=shutil.ignore_patterns("runs"))
    for page in PAGES:
        for block in blocks(page):
            if block.file:
                (directory / block.file).write_text(block.text)


@pytest.mark.parametrize(
    "command",
    sorted({command for page in PAGES for command in commands(page)}),
    ids=lambda command: command[:80],
)
def test_a_program_takes_the_words(command, parse_only, beside_the_pages, monkeypatch, capsys):
    monkeypatch.chdir(beside_the_pages)
    monkeypatch.syspath_prepend(beside_the_pages)
    for program in words(command):
        if program[0] == "srun":
            program = program[program.index("python") :]
        elif program[0] == "gcloud":
            (inner,) = [word for word in program if word.startswith("--command=")]
            program = words(inner.removeprefix("--command="))[1]
        program[0] = program[0].removeprefix(".venv/bin/")
        text = shlex.join(program)
        if program[:2] == ["pip", "install"]:
            check_requirements(program[2:])
        elif program[0] == "python" and not text.startswith(OTHER_PROGRAMS):
            check_words(program[1:], capsys)
        else:
            assert text.startswith(OTHER_PROGRAMS), f"{text}: which program is it?"


def check_words(program: list[str], capsys) -> None:
    """That a program of ours takes its words."""
    if len(program) == 1:  # there is nothing to parse, and it would begin
        assert (ROOT / program[0]).exists() or Path(program[0]).exists(), program[0]
        return
    with pytest.raises((Parsed, SystemExit)) as ended:
        run_program(program)
    asked_for_help = bool({"--help", "--help-all"} & set(program))
    expected = "0" if asked_for_help else "parsed"
    got = "parsed" if ended.type is Parsed else str(ended.value.code)
    assert got == expected, f"{shlex.join(program)}\n{capsys.readouterr().err}"


MANY_DEVICES = r"--devices-per-run \d|--coordinator-address"


@pytest.mark.parametrize(
    "command", [c for page in PAGES for c in commands(page) if re.search(MANY_DEVICES, c)]
)
def test_what_needs_many_devices_is_a_run_that_can_be(command):
    (program,) = words(command)
    make_program(train.parse(program[2:]).config)


def check_requirements(words: list[str]) -> None:
    """That extras exist, and that other packages are said with the versions that do."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for word in words:
        for extra in re.findall(r"\.\[([\w,]+)\]", word):
            assert set(extra.split(",")) <= project["optional-dependencies"].keys(), word


@cache
def known_options() -> frozenset[str]:
    """The options of all programs, as their help shows them."""
    programs = [["train.py", "--agent.name", name, "--help-all"] for name in registry.AGENTS]
    programs += [["sweep.py", "--help-all"], ["-m", "tests.parity", "--help"]]
    programs += [["-m", "envs", "--help"], ["-m", "envs", "render", "--help"]]
    programs += [["-m", "purejax_simba.report", *words, "--help"] for words in ([], ["figures"])]
    others = ("purejax_simba.datasets", "benchmarks.accelerator", "benchmarks.rounding")
    programs += [["-m", name, "--help"] for name in others]
    shown = io.StringIO()
    for program in programs:
        with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
            run_program(program)
    return frozenset(re.findall(r"--[a-z][\w.-]*", shown.getvalue()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_in_sentences_exist(page):
    elsewhere = {"--array", "--signal", "--gpus", "--build-arg"}  # of SLURM and Docker
    named = {option for span in spans(page) for option in re.findall(r"^--[a-z][\w.-]*", span)}
    assert named - elsewhere <= known_options()


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page):
    named = re.findall(
        r"\b(?:envs|purejax_simba|tests|benchmarks|results|docs)/[\w./-]*[\w/]", page.read_text()
    )
    for path in named:
        assert path.startswith("results/runs") or (ROOT / path).exists(), path


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith("https://"):
            continue
        file, _, heading = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not heading or heading in headings(target), link


def headings(page: Path) -> set[str]:
    """The names by which links reach the headings of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_reached_from_the_readme():
    links = re.findall(r"\]\((docs/\w+\.md)", PAGES[0].read_text())
    assert {page.relative_to(ROOT).as_posix() for page in PAGES[1:]} == set(links)


def test_every_agent_has_a_row():
    page = (ROOT / "docs" / "training.md").read_text()
    rows = set(re.findall(r"^\| `(\w+)` \| [^|]+ \|$", page, re.MULTILINE))
    for name, agent in registry.AGENTS.items():
        assert name in rows or not agent.settings.__module__.startswith("purejax_simba"), name


def test_no_reason_for_not_running_is_left_over():
    everything = [command for page in PAGES for command in commands(page)]
    for pattern in NOT_RUN:
        assert any(re.search(pattern, command) for command in everything), pattern


SMALL = (
    "--num-seeds 2 --num-evaluation-episodes 2 --agent.actor-hidden-dim 8 "
    "--agent.critic-hidden-dim 8 --replay.batch-size 16"
)
STEPS = re.compile(
    r"(--(?:total-env-steps|evaluation-interval|rungs|agent\.reset-env-steps))((?: \d+)+)"
)


def shortened(command: str) -> str:
    """The same command with fewer steps, of smaller networks."""

    def fewer(match: re.Match) -> str:
        flag, numbers = match[1], [int(number) for number in match[2].split()]
        share = 2500 if "reset" in flag else 250 if numbers[0] >= 10_000 else 10
        return " ".join([flag, *(str(number // share) for number in numbers)])

    command = STEPS.sub(fewer, command)
    command = re.sub(r"--(episodes|samples|steps) \d+", r"--\1 2", command)
    if "tests.parity" in command:
        return f"{command} --physics mujoco"
    if "envs render" in command:
        return f"{command} --steps 2"
    begins = re.search(r"(train|sweep)\.py( .*--|$)", command)
    if not begins or re.search(r"--(evaluate|video|resume|help|help-all|list-tasks)\b", command):
        return command
    if "agents.yaml" in command:  # nine programs with sizes of their own
        return f"{command} --dry-run"
    if "--offline" in command:
        return f"{command} {SMALL} --offline.epochs 2"
    if "--total-env-steps" not in command:
        command += " --total-env-steps 400 --evaluation-interval 200"
    return f"{command} {SMALL} --episode-length 40 --learning-starts 60"


def run_in(directory: Path, command: str, page: Path) -> None:
    """Runs a command line as a shell does; it has to succeed."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(directory),
        "SLURM_ARRAY_TASK_ID": "1",
        "MINARI_DATASETS_PATH": str(directory / "minari"),
        "WANDB_MODE": "offline",
    }
    result = subprocess.run(
        ["bash", "-c", command],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert result.returncode == 0, f"{page.name}: {command}\n{result.stderr[-3000:]}"


FIRST_RUN = commands(ROOT / "docs" / "training.md")[0]


@pytest.fixture(scope="module")
def after_the_first_run(tmp_path_factory) -> Path:
    """A checkout in which the run was made that the pages go on with."""
    directory = tmp_path_factory.mktemp("run")
    write_files(directory)
    for name in ("train.py", "sweep.py", "envs", "purejax_simba", "benchmarks", "tests"):
        (directory / name).symlink_to(ROOT / name)
    run_in(directory, shortened(FIRST_RUN), PAGES[0])
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_does_what_it_says(page, after_the_first_run, tmp_path):
    directory = tmp_path / "checkout"
    shutil.copytree(after_the_first_run, directory, symlinks=True)
    for command in commands(page):
        if is_run(command) and command != FIRST_RUN:
            run_in(directory, shortened(command), page)


@pytest.mark.slow
def test_the_example_in_python_works(tmp_path):
    """With a tenth of its steps, and two seeds in place of eight."""
    code = re.sub(r"(steps|interval|starts)=(\d+)_?(\d*)0,", r"\1=\2\3,", file_block("example.py"))
    code = code.replace("arange(8)", "arange(2)")
    (tmp_path / "example.py").write_text(code)
    (tmp_path / "purejax_simba").symlink_to(ROOT / "purejax_simba")
    (tmp_path / "envs").symlink_to(ROOT / "envs")
    run_in(tmp_path, "python example.py", PAGES[0])
    assert (tmp_path / "results/runs/example/gymnax/Pendulum-v1/metrics.csv").exists()

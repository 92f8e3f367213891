"""Files from others run no code, whichever command reads them; the user's own word does.

Each file names a module that leaves a mark when it is imported, or an interpreter that does so.
"""

import io
import json
import runpy
import shlex
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import envs
from envs import __main__ as tasks
from purejax_simba import evaluate, load_policy, resume, trust
from purejax_simba.agents.registry import agent_settings
from purejax_simba.commands import sweep, train
from purejax_simba.config import Config, ConfigError
from purejax_simba.datasets import __main__ as datasets
from purejax_simba.datasets.dataset import Dataset
from purejax_simba.datasets.loading import load, minari_format
from purejax_simba.report import __main__ as report
from purejax_simba.runs.session_record import read_sessions
from purejax_simba.sweep.results import read_results
from tests.helpers import in_process, tiny
from tests.helpers.in_process import forgetting
from tests.helpers.report_runs import SESSION, write_run

TASK = "gymnax/Pendulum-v1"
SCRIPT = "gymnasium/Pendulum-v1"
OWN = """
import jax.numpy as jnp
import envs
from purejax_simba import Config, agent_settings, train, trust

class Still(envs.Environment):
    observation_size = action_size = 1
    def reset(self, key):
        return jnp.zeros(()), jnp.zeros(1)
    def step(self, state, action):
        no = jnp.zeros((), bool)
        return state, envs.TimeStep(jnp.zeros(1), jnp.ones(()), no, no, no)

envs.register("mine/still", lambda physics: Still(), episode_length=5)
if __name__ == "__main__":
    found = trust.modules(Config("mine/still"))
"""
TRAINED = """
    numbers = {"total_env_steps": 10, "evaluation_interval": 10, "learning_starts": 10}
    numbers |= {"num_seeds": 1, "num_evaluation_episodes": 1, "diagnostics": "none"}
    agent = agent_settings("random")
    train(Config("mine/still", agent=agent, experiment="mine", output=OUTPUT, **numbers))
"""


@pytest.fixture
def mark(tmp_path, monkeypatch) -> Path:
    """A file that is there as soon as anything has run that only files name."""
    mark, place = tmp_path / "ran", tmp_path / "hostile"
    place.mkdir()
    (place / "hostile.py").write_text(f"open({str(mark)!r}, 'w')\nclass Lines: pass\n")
    (place / "python").write_text(f"#!/bin/sh\ntouch {shlex.quote(str(mark))}\n")
    (place / "python").chmod(0o755)
    monkeypatch.syspath_prepend(place)
    with forgetting("hostile"):
        yield mark


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a program: its name and words -> exit status, stdout, stderr."""
    programs = {
        "train": train.main,
        "sweep": sweep.main,
        "envs": tasks.main,
        "datasets": datasets.main,
        "report": lambda: report.main(sys.argv[1:]),
    }

    def run(program: str, *words: str) -> tuple[int, str, str]:
        main = programs[program]
        return in_process.runner(program, main, monkeypatch, capsys)(*map(str, words))

    return run


def _directory(output: Path, **values) -> Path:
    """A run directory whose configuration has other values, names with hyphens for dots."""
    directory = write_run(output, "run", TASK, [1.0])
    path = directory / "config.json"
    config = json.loads(path.read_text())
    for name, value in values.items():
        if name == "agent":
            config["agent"] = {"name": value}
        else:
            config[name] = value
    path.write_text(json.dumps(config))
    (directory / "__main__.py").write_text("raise SystemExit('ran')\n")
    return directory


HOSTILE = {
    "task": ({"task": "hostile:mine/x"}, "--task hostile:mine/x"),
    "gymnasium": ({"task": "gymnasium/hostile:X-v0"}, "--task gymnasium/hostile:X-v0"),
    "elsewhere": (
        {"task": "gymnasium/hostile:X-v0", "host_python": sys.executable},
        f"--task gymnasium/hostile:X-v0 --host-python {sys.executable}",
    ),
    "two modules": ({"task": "os:gymnasium/hostile:X-v0"}, "unknown task"),
    "a chain": ({"task": "gymnasium/os:hostile:X-v0"}, "unknown task"),
    "agent": ({"agent": "hostile"}, "--agent.name hostile"),
    "interpreter": ({"task": SCRIPT, "host_python": "PLACE/python"}, "--host-python"),
    "by another name": ({"task": SCRIPT, "--host-python": "PLACE/python"}, "--host-python"),
    "all": (
        {"task": "hostile:mine/x", "agent": "hostile", "host_python": "PLACE/python"},
        "--agent.name hostile --task hostile:mine/x --host-python",
    ),
}
LOGGERS = {
    "logger": ({"loggers": ["tensorboard", "hostile:Lines"]}, "--loggers tensorboard hostile:"),
    "function": ({"loggers": ["runpy:run_path"]}, "--loggers runpy:run_path"),
    "words": ({"loggers": "tensorboard hostile:Lines"}, "--loggers tensorboard hostile:Lines"),
    "spaces": ({"task": "  hostile:mine/x "}, "--task hostile:mine/x"),
}
READERS = {
    "evaluate": "train --evaluate RUN",
    "video": "train --video RUN",
    "render": "envs render TASK --policy RUN --output PLACE/x.gif",
    "record": "datasets RUN --output PLACE/x.hdf5",
    "resume": "train --resume RUN",
    "config": "train --config RUN/config.json --output PLACE",
}
CASES = [(reader, name) for reader in READERS for name in HOSTILE]
CASES += [(reader, name) for reader in ("resume", "config") for name in LOGGERS]


@pytest.mark.parametrize(("reader", "name"), CASES)
def test_a_run_that_names_code_is_refused_with_the_flag(mark, run, tmp_path, reader, name):
    values, advice = (HOSTILE | LOGGERS)[name]
    place = str(tmp_path / "hostile")
    values = {
        key: value.replace("PLACE", place) if isinstance(value, str) else value
        for key, value in values.items()
    }
    directory = _directory(tmp_path / "runs", **values)
    words = READERS[reader].replace("PLACE", place).replace("RUN", str(directory))
    if reader == "render" and "task" in values:
        pytest.skip("the task is the user's word there")
    before = (directory / "config.json").read_text()
    status, out, error = run(*words.replace("TASK", TASK).split())
    assert not mark.exists()
    assert (status, out) == (2, "")
    *_, line = error.splitlines()
    assert line.startswith("error: ") and advice in line, error
    assert (directory / "config.json").read_text() == before


@pytest.mark.parametrize("read", [evaluate, load_policy, resume])
@pytest.mark.parametrize("name", ["task", "agent", "interpreter"])
def test_so_it_is_in_python(mark, tmp_path, read, name):
    values = {key: value.replace("PLACE", str(tmp_path)) for key, value in HOSTILE[name][0].items()}
    with pytest.raises(ConfigError, match="nothing is run because a file says so"):
        read(_directory(tmp_path / "runs", **values))
    assert not mark.exists()


@pytest.mark.parametrize("name", HOSTILE | LOGGERS)
def test_a_report_shows_such_runs_and_runs_nothing(mark, run, tmp_path, name):
    values, _ = (HOSTILE | LOGGERS)[name]
    _directory(tmp_path / "runs", **values)
    assert run("report", "index", tmp_path / "runs")[0] == 0
    assert not mark.exists()


SWEEPS = {
    "task": ("task: [hostile:mine/x, gymnax/Pendulum-v1]", "--task hostile:mine/x"),
    "agent": ("config: {agent: {name: hostile}}", "--agent.name hostile"),
    "dotted": ("config: {agent.name: hostile}", "--agent.name hostile"),
    "grid": ("grid: {agent.name: [sac, hostile]}", "--agent.name hostile"),
    "words": ("grid: {agent.name: 'sac,hostile'}", "--agent.name is 'hostile'"),
    "configurations": ("configurations: [{agent.name: hostile}]", "--agent.name hostile"),
    "interpreter": ("config: {host_python: PLACE/python}", "--host-python"),
    "logger": ("config: {loggers: [hostile:Lines]}", "--loggers hostile:Lines"),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_in_yaml_is_refused_with_the_flag(mark, run, tmp_path, name):
    text, advice = SWEEPS[name]
    file = tmp_path / "sweep.yaml"
    file.write_text(text.replace("PLACE", str(tmp_path / "hostile")))
    status, _, error = run("sweep", "--file", file, "--dry-run", "--output", tmp_path / "runs")
    assert not mark.exists()
    assert status == 2 and advice in error, error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("words", ["--file FILE.py", "--grid agent.name=hostile,random"])
def test_what_the_user_writes_himself_is_his_word(mark, run, tmp_path, words):
    """A sweep in Python, or a grid on the command line."""
    (tmp_path / "hostile" / "hostile.py").write_text(OWN_AGENT.replace("own_agent", "hostile"))
    (tmp_path / "file.py").write_text('sweep = {"grid": {"agent.name": ["hostile", "random"]}}')
    words = words.replace("FILE", str(tmp_path / "file"))
    config = f"--task {TASK} --output {tmp_path}/runs --total-env-steps 100000"
    status, out, error = run("sweep", *words.split(), *config.split(), "--dry-run")
    assert status == 0 and "agent.name=hostile" in out, error


def test_the_tables_of_a_sweep_need_no_task(mark, tmp_path):
    """They run nothing, so they refuse nothing but an agent whose settings they do not know."""
    directory = _directory(tmp_path / "out", task="hostile:mine/x", host_python="/bin/false")
    place = directory.parents[1]
    target = place / "hostile:mine"
    directory.parent.rename(target)
    (target / directory.name).rename(target / "x")
    description = {"config": {"experiment": "run"}, "task": ["hostile:mine/x"], "axes": []}
    (place / "sweep.json").write_text(json.dumps(description))
    assert [row.task for row in read_results(place).rows] == ["hostile:mine/x"]
    description["config"]["agent.name"] = "hostile"
    (place / "sweep.json").write_text(json.dumps(description))
    with pytest.raises(ConfigError, match=r"give --agent\.name hostile"):
        read_results(place)
    assert not mark.exists()


def test_a_page_about_a_sweep_takes_the_agent(mark, run, tmp_path):
    (tmp_path / "hostile" / "hostile.py").write_text(OWN_AGENT.replace("own_agent", "hostile"))
    directory = _directory(tmp_path / "out", agent="hostile")
    config = {"experiment": "run", "agent.name": "hostile"}
    description = {"config": config, "task": [TASK], "axes": [], "samples": 0}
    description |= {"sampler": "random", "sampler-seed": 0, "halving": None}
    (directory.parents[1] / "sweep.json").write_text(json.dumps(description))
    page, words = tmp_path / "page.html", ("report", directory.parents[1], "--output")
    assert run(*words, page)[0] == 0
    assert "give --agent.name hostile" in page.read_text()
    assert run(*words, page, "--agent.name", "hostile")[0] == 0
    assert "give --agent.name" not in page.read_text()


def _dataset() -> Dataset:
    steps = 20
    ended = np.zeros(steps, bool)
    ended[-1] = True
    observation = np.zeros((steps, 3), np.float32)
    action, reward = np.zeros((steps, 1), np.float32), np.zeros(steps, np.float32)
    return Dataset("d", observation, action, reward, ended, ended, observation)


@pytest.mark.parametrize("task", ["hostile:mine/x", "gymnasium/hostile:X-v0"])
def test_a_dataset_names_no_module(mark, run, tmp_path, task):
    path = tmp_path / "data.hdf5"
    datasets.d4rl.write(path, _dataset())
    with h5py.File(path, "a") as file:
        file.attrs["task"] = task
    status, _, error = run("train", "--offline", path, "--output", tmp_path / "runs")
    assert not mark.exists()
    assert status == 2 and f"give --task {task}" in error


SPEC = {"id": "X-v0", "entry_point": "hostile:X", "kwargs": {}, "additional_wrappers": []}


@pytest.mark.parametrize("spaces", [True, False])
def test_an_environment_that_a_dataset_of_minari_names_is_not_made(
    mark, run, tmp_path, monkeypatch, spaces
):
    """Without spaces Minari itself would make it."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    minari_format.write("mine-v0", _dataset(), "a test")
    load.cache_clear()
    (path,) = tmp_path.rglob("metadata.json")
    said = json.loads(path.read_text())
    said["env_spec"] = json.dumps(SPEC)
    del said["purejax_simba"]
    if not spaces:
        del said["observation_space"], said["action_space"]
    path.write_text(json.dumps(said))
    status, _, error = run("train", "--offline", "minari/mine-v0", "--output", tmp_path / "runs")
    assert not mark.exists()
    advice = "give --task gymnasium/hostile:X-v0" if spaces else "it does not say what its obs"
    assert status == 2 and advice in error


GIVEN = ("--task", "own_still:mine/still")


def _run_script(place: Path, *lines: str) -> tuple[Path, dict]:
    """Runs a script that registers its task; returns its path and what it has found."""
    script = place / "own_still.py"
    script.write_text("".join([OWN, *lines]))
    with forgetting("own_still"):
        return script, runpy.run_path(str(script), run_name="__main__")["found"]


def test_a_run_remembers_the_module_of_its_task(run, tmp_path, monkeypatch):
    (tmp_path / "lab").mkdir()
    script, found = _run_script(tmp_path / "lab")
    assert found == {"task": {"module": "own_still", "file": str(script)}}
    session = SESSION | {"modules": found}
    directory = write_run(tmp_path / "runs", "mine", "mine/still", [1.0], session=session)
    with forgetting("own_still"):
        status, _, error = run("train", "--evaluate", directory)
        assert status == 2 and "give --task own_still:mine/still" in error
        assert f"({script})" in error and f"with {script.parent} on PYTHONPATH" in error
        monkeypatch.syspath_prepend(script.parent)
        status, _, error = run("train", "--evaluate", directory)
        assert status == 2 and error.endswith("or import it first in Python\n")
        assert run("report", "index", directory)[0] == 0
        assert "own_still" not in sys.modules
        status, _, error = run("train", "--evaluate", directory, *GIVEN)
        assert status == 2 and "holds no trained policy" in error
        status, _, error = run("train", "--evaluate", directory, "--task", TASK)
        assert status == 2 and "was trained on mine/still" in error


OWN_AGENT = """
from purejax_simba.agents import random_actions, registry

class Own(random_actions.Random):
    name = "own_agent"

registry.register(Own, random_actions.make)
"""


def test_an_agent_of_ones_own_is_named_again(run, tmp_path, monkeypatch):
    (tmp_path / "own_agent.py").write_text(OWN_AGENT)
    monkeypatch.syspath_prepend(tmp_path)
    with forgetting("own_agent"):
        config = Config(TASK, agent=agent_settings("own_agent"))
        found = trust.modules(config)
        advice = trust.train_command("X", config)
    assert found == {"agent.name": {"module": "own_agent", "file": f"{tmp_path}/own_agent.py"}}
    assert advice.endswith("X --agent.name own_agent")
    directory = _directory(tmp_path / "runs", agent="own_agent")
    with forgetting("own_agent"):
        status, _, error = run("train", "--evaluate", directory)
        assert status == 2 and "give --agent.name own_agent" in error
        own, output = ("--agent.name", "own_agent"), ("--output", tmp_path / "x.gif")
        for words in (
            ("train", "--evaluate", directory),
            ("datasets", directory, "--output", tmp_path / "x.hdf5"),
            ("envs", "render", TASK, "--policy", directory, *output),
        ):
            status, _, error = run(*words, *own)
            assert status == 2 and "holds no trained policy" in error


@pytest.mark.parametrize("reader", ["evaluate", "resume"])
def test_another_module_of_the_same_task_is_another_word(mark, run, tmp_path, monkeypatch, reader):
    (tmp_path / "own_still.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    directory = _directory(tmp_path / "runs", task="hostile:mine/still")
    with forgetting("own_still"):
        status, _, error = run("train", f"--{reader}", directory, *GIVEN)
    assert not mark.exists()
    assert status == 2 and "give --task hostile:mine/still" in error


@pytest.mark.slow
def test_whatever_is_done_with_it_takes_the_module(run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    _, found = _run_script(tmp_path, TRAINED.replace("OUTPUT", repr(str(tmp_path / "runs"))))
    directory, file = tmp_path / "runs" / "mine" / "mine" / "still", tmp_path / "own.hdf5"
    assert read_sessions(directory)[0]["modules"] == found
    with forgetting("own_still"):
        status, out, error = run("train", "--evaluate", directory, *GIVEN)
        assert status == 0 and out.startswith("seed 0: return 5.0"), error
        # From here on it is known in this process, as if the user's own script had imported it.
        assert load_policy(directory).config.task == "mine/still"
        words = ("--output", file, "--episodes", "1", *GIVEN)
        status, out, error = run("datasets", directory, *words)
        assert status == 0, error
        assert f"train --offline {file} {' '.join(GIVEN)}\n" in out
        words = ("--total-env-steps", "20", *GIVEN)
        status, _, error = run("train", "--resume", directory, *words)
        assert status == 0, error
        assert json.loads((directory / "config.json").read_text())["task"] == "mine/still"
        words = "--num-seeds 1 --offline.epochs 1 --num-evaluation-episodes 1 "
        words += f"--offline.random-return 0 --output {tmp_path}/offline --diagnostics none "
        words += "--agent.actor-hidden-dim 8 --agent.critic-hidden-dim 8 --replay.batch-size 2"
        status, _, error = run("train", "--offline", file, *GIVEN, *words.split())
        assert status == 0, error


@pytest.mark.parametrize("script", ["train.py", "sweep.py", "ball.py"])
def test_advice_begins_as_the_program_did(tmp_path, monkeypatch, script):
    monkeypatch.chdir(tiny.ROOT)
    monkeypatch.setattr(sys, "argv", [script, "--num-seeds", "2"])
    program = "python train.py"
    assert trust.train_command("--resume X", Config(TASK)) == f"{program} --resume X"
    # What lies elsewhere only has the same name.
    monkeypatch.chdir(tmp_path)
    installed = "purejax-simba train --resume X"
    assert trust.train_command("--resume X", Config(TASK)) == installed
    monkeypatch.setattr(sys, "argv", [str(tiny.ROOT / "sweep.py")])
    program = f"python {tiny.ROOT / 'train.py'}"
    assert trust.train_command("--resume X", Config(TASK)) == f"{program} --resume X"
    monkeypatch.setattr(sys, "argv", ["purejax-simba sweep"])
    assert trust.train_command("--resume X", Config(TASK)) == installed


def test_advice_has_the_flags_that_are_needed(tmp_path, monkeypatch):
    def advised(config: Config) -> str:
        return trust.train_command("--resume X", config)

    words = "purejax-simba train --resume X"
    assert advised(Config(SCRIPT, host_python="/a b/python", loggers=("wandb",))) == (
        f"{words} --host-python '/a b/python'"
    )
    (tmp_path / "own_still.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with forgetting("own_still"):
        advice = f"{words} --task own_still:mine/still"
        envs.spec("own_still:mine/still")
        for task in ("own_still:mine/still", "mine/still"):
            assert advised(Config(task)) == f"PYTHONPATH={tmp_path}:$PYTHONPATH {advice}"
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        assert advised(Config("mine/still")) == advice
        lines = Config("mine/still", loggers=("wandb", "own_still:Still"))
        assert advised(lines) == f"{advice} --loggers wandb own_still:Still"


def test_what_the_process_has_imported_may_be_named(tmp_path, monkeypatch):
    (tmp_path / "own_still.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    named = {"task": "own_still:mine/still", "loggers": [f"{__name__}:Lines"]}
    with forgetting("own_still"):
        with pytest.raises(ConfigError, match="own_still"):
            trust.check(named, "a file")
        __import__("own_still")
        trust.check(named, "a file")
        assert envs.spec(named["task"]).id == "mine/still"


class Lines:
    """As a logger is."""

    def __init__(self, directory, config):
        pass

    def write(self, run, env_step, metrics):
        pass

    def close(self):
        pass


class Terminal(io.StringIO):
    """Where somebody types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "agrees"), [("yes\n", True), ("y\n", True), ("\n", False)])
def test_at_a_terminal_the_user_is_asked(mark, tmp_path, monkeypatch, typed, agrees):
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    monkeypatch.setattr(sys, "stderr", Terminal())
    python = tmp_path / "hostile" / "python"
    named = {"loggers": ["hostile:Lines"], "host_python": str(python)}
    if agrees:
        trust.check(named, "a file")
    else:
        with pytest.raises(ConfigError):
            trust.check(named, "a file")
    module = tmp_path / "hostile" / "hostile.py"
    question = f"a file names the module hostile ({module}) and the interpreter {python}: run that?"
    assert sys.stderr.getvalue() == f"{question} [y/N] "
    assert mark.exists() == agrees


def test_a_yes_is_to_all_that_was_shown(mark, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal("no\n"))
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(ConfigError, match=r"give --loggers hostile:Lines this:Zen$|or import it"):
        trust.check({"loggers": ["hostile:Lines", "this:Zen"]}, "a file")
    assert "module hostile (" in sys.stderr.getvalue()
    assert "module this (" in sys.stderr.getvalue()


@pytest.mark.parametrize("text", ["", "{}", "[3]", '[{"modules": {"task": "x"}}]', "[[]]"])
def test_a_damaged_record_says_nothing(mark, run, tmp_path, text):
    directory = _directory(tmp_path / "runs", task="mine/unknown")
    (directory / "run.json").write_text(text)
    status, _, error = run("train", "--evaluate", directory)
    assert status == 2 and "unknown task 'mine/unknown'" in error


def test_names_from_files_are_shown_on_one_line():
    with pytest.raises(ConfigError) as refused:
        trust.check({"host_python": "x\n\x1b[31m; rm"}, "a file")
    assert str(refused.value).isprintable()


def test_the_interpreter_that_the_user_gives_takes_the_place_of_the_files(mark, tmp_path):
    """Which may be on another machine; however often the file names its own."""
    python = str(tmp_path / "hostile" / "python")
    values = {"task": SCRIPT, "host_python": python, "host-python": python}
    directory = _directory(tmp_path / "runs", **values)
    with pytest.raises(ConfigError, match="holds no trained policy"):
        load_policy(directory, given={"host_python": sys.executable})
    assert not mark.exists()

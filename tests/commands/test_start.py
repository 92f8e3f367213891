"""Commands start fast, show what is asked for and never fall silent."""

import io
import re
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

from purejax_simba import waiting
from purejax_simba.agents.registry import agent_settings
from purejax_simba.commands import command_line, sweep, train
from purejax_simba.config import Config, ProcessOptions
from purejax_simba.names import find_name, flatten
from purejax_simba.report import __main__ as report
from purejax_simba.report import page
from purejax_simba.runs import experiment
from tests.helpers import tiny

ONLY_SWEEPS = ["scipy.stats", "purejax_simba.sweep"]
HEAVY = [
    *("pandas", "orbax", "mujoco", "gymnax", "brax", "matplotlib", "dm_control"),
    "purejax_simba.report",
]
# Runs a command line and prints what it has imported.
IMPORTED = """
import importlib, sys
command = importlib.import_module(sys.argv[1])
try:
    command.parse(sys.argv[2:])
except SystemExit as ended:
    assert not ended.code
print(*sys.modules, file=sys.stderr)
"""


def _imported(command: str, *words: str) -> set[str]:
    result = subprocess.run(
        [sys.executable, "-c", IMPORTED, command, *words],
        cwd=tiny.ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return set(result.stderr.split())


@pytest.mark.parametrize("flag", ["--help", pytest.param("--help-all", marks=pytest.mark.slow)])
def test_help_of_training_imports_nothing_that_takes_long(flag):
    imported = _imported("purejax_simba.commands.train", flag)
    assert "purejax_simba.config" in imported
    assert not imported & {*HEAVY, *ONLY_SWEEPS}


def test_a_command_line_is_read_without_environments():
    imported = _imported("purejax_simba.commands.train", "--num-seeds", "2", "--agent.tau", "0.01")
    assert not imported & {*HEAVY, *ONLY_SWEEPS, "envs"}


def test_signals_are_heard_before_anything_is_imported_that_takes_long():
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "from purejax_simba import stopping\nimport sys\nprint(*sys.modules)",
        ],
        cwd=tiny.ROOT,
        capture_output=True,
        text=True,
    )
    assert "purejax_simba.waiting" in result.stdout
    assert not {"tqdm", "statistics", "numpy", "jax", "tyro"} & set(result.stdout.split())


def test_help_of_sweeps_imports_no_statistics_and_no_engines():
    assert not _imported("purejax_simba.commands.sweep", "--help") & {"scipy.stats", *HEAVY}


def _shown(command, capsys, *words: str) -> set[str]:
    """The settings that a help text shows, by name."""
    with pytest.raises(SystemExit):
        command.parse(list(words))
    text = capsys.readouterr().out
    return {name.replace("-", "_") for name in re.findall(r"^. --([a-z][\w.-]*)", text, re.M)}


OWN = {"resume", "config", "reset", "evaluate", "video", "compile_for", "list_tasks", "help_all"}


def test_help_shows_about_thirty_settings(capsys):
    shown = _shown(train, capsys, "--help")
    assert 25 <= len(shown) <= 35
    assert {"task", "num_seeds", "agent.learning_rate", "replay.batch_size", *OWN} <= shown
    assert shown == _shown(train, capsys, "-h", "--agent.name", "sac")


def test_all_of_them_are_shown_if_asked_for(capsys):
    shown = _shown(train, capsys, "--help-all")
    every = {*flatten(Config()), *flatten(ProcessOptions())}
    named_otherwise = {"offline.dataset"}  # by its alias
    assert shown == OWN | {"offline"} | every - named_otherwise
    assert shown == _shown(train, capsys, "--help", "--help_all")


def test_sweeps_show_their_own_settings_and_those_changed_first(capsys):
    own = {"suite", "preset", "grid", "log_uniform", "samples", "halving", "file", "dry_run"}
    few, every = _shown(sweep, capsys, "--help"), _shown(sweep, capsys, "--help-all")
    assert own | {"task", "agent.learning_rate"} <= few < every
    assert "agent.tau" in every - few


@pytest.mark.parametrize("name", sorted(command_line.FIRST))
def test_what_is_shown_first_exists(name):
    assert find_name(name) == name


def test_what_is_not_shown_is_read_all_the_same():
    assert train.parse(["--agent.tau", "0.01"]).config.agent.tau == 0.01


def test_what_takes_long_says_so_again_and_again(monkeypatch):
    monkeypatch.setattr(waiting, "SECONDS", 0.05)
    said: list[str] = []
    with waiting.still("compiling", said.append):
        while len(said) < 2:
            time.sleep(0.01)
    count = len(said)
    assert all(re.fullmatch(r"still compiling, \d+ s so far", line) for line in said)
    time.sleep(0.2)
    assert len(said) == count


def test_what_takes_long_says_how_far_it_is(monkeypatch):
    monkeypatch.setattr(waiting, "SECONDS", 0.05)
    said: list[str] = []
    with waiting.still("playing", said.append) as note:
        assert waiting.doing() == "playing"
        note("2 of 4 seeds")
        while not said:
            time.sleep(0.01)
    assert said[0] == "still playing, 0 s so far: 2 of 4 seeds"
    assert waiting.doing() == ""


class Terminal(io.StringIO):
    """As somebody looks at it."""

    def isatty(self) -> bool:
        return True


def test_words_stand_above_a_live_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    display = waiting.ProgressDisplay(100)
    display.update(20, 5.0, 0.0, np.array([1.0, 3.0, np.nan]))
    waiting.say("evaluated")
    display.close()
    waiting.say("done")
    shown = [line.rpartition("\r")[2] for line in terminal.getvalue().splitlines()]
    assert {"evaluated", "done"} <= set(shown)
    assert shown[-1] == "done"
    assert [line for line in shown if line.startswith(" 20%") and "return 2.0 ± 1.0" in line]


def test_what_is_fast_says_nothing(capsys):
    with waiting.still("compiling"):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_failure_ends_the_words(monkeypatch):
    monkeypatch.setattr(waiting, "SECONDS", 0.01)
    said: list[str] = []
    with pytest.raises(ZeroDivisionError), waiting.still("compiling", said.append):
        raise ZeroDivisionError
    count = len(said)
    time.sleep(0.1)
    assert len(said) == count


@pytest.mark.slow
def test_whatever_part_of_a_run_takes_long_says_so(tmp_path, monkeypatch):
    doing: set[str] = set()

    class Recorded(threading.Thread):
        def __init__(self, name: str, **options: Any):
            super().__init__(name=name, **options)
            doing.add(name)

    monkeypatch.setattr(waiting, "Thread", Recorded)
    config = Config(
        task="gymnax/Pendulum-v1",
        agent=agent_settings("random"),
        num_seeds=1,
        total_env_steps=20,
        evaluation_interval=10,
        num_evaluation_episodes=1,
        episode_length=5,
        learning_starts=10,
        output=str(tmp_path),
    )
    experiment.train(config)
    assert doing >= {
        "making the environment",
        "finding the memory that it takes",
        "compiling gymnax/Pendulum-v1",
        "training",
        "evaluating",
        "writing a checkpoint",
        "writing the results",
    }


def test_a_report_says_that_it_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(waiting, "SECONDS", 0.001)
    read = page.read
    monkeypatch.setattr(page, "read", lambda paths: time.sleep(0.2) or read(paths))
    assert report.main([str(tmp_path), "--output", str(tmp_path / "report.html")]) == 0
    assert "still reading and drawing, 0 s so far" in capsys.readouterr().err

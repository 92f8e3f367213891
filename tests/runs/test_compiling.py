"""How a program is compiled, and what is said meanwhile."""

import dataclasses
import gc
import subprocess
import sys
import threading
from functools import partial
from typing import Any, cast

import jax
import pytest

from purejax_simba.runs import compiling
from purejax_simba.runs.compiling import CompiledProgram, Compiler
from purejax_simba.runs.devices import Placement
from purejax_simba.training import make_program
from tests.helpers import stopping, tiny

ALARM = """E0101 02:03:04.567890 12 slow_operation_alarm.cc:73] {took}
********************************
[Compiling module jit_advance] Very slow compile? If you want to file a bug, run with envvar \
XLA_FLAGS=--xla_dump_to=/tmp/foo and attach the results.
********************************
"""
WRITES = """
import os, sys
from purejax_simba.runs.compiling import without_alarms
from purejax_simba.waiting import say
with without_alarms():
    say("still compiling")
    for words in sys.argv[1:]: os.write(2, words.encode())
    say("still compiling")
os.write(2, sys.argv[1].encode())
"""


def test_alarms_of_slow_compiling_are_dropped_and_nothing_else():
    needed = "W0101 02:03:04.567890 12 gpu.cc:1] the driver is old\n***\n"
    alarms = ALARM.format(took=""), needed, ALARM.format(took="The operation took 2m3s\n")
    words = ["half a line ", needed, *alarms, "E0101 a.cc:1] an error\n", "end\n"]
    command = [sys.executable, "-c", WRITES, *words]
    result = subprocess.run(command, cwd=tiny.ROOT, stderr=subprocess.PIPE, text=True)
    kept = ["half a line ", needed, needed, "E0101 a.cc:1] an error\n", "end\n"]
    said = "still compiling\n"
    assert result.stderr == said + "".join(kept) + said + "half a line "


@pytest.fixture
def cache(tmp_path):
    """Where compiled programs are kept."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", before)


def test_it_is_said_how_long_compiling_takes(cache, monkeypatch):
    monkeypatch.setattr(compiling, "compile_program", lambda *_: None)
    program = make_program(stopping.CONFIG)
    several, one = (
        Placement.choose(program, [dataclasses.replace(program.config, num_seeds=count)])
        for count in (3, 1)
    )
    compiler = Compiler(program)
    assert compiler.expectation(several) == "compiling, which may take minutes ..."
    compiler.compile(several)
    assert compiler.expectation(several) == "compiled before"
    for seconds in (75.0, 30.0):  # where JAX has kept it, it is faster
        compiling._remember_seconds(compiler._name, seconds)
    line = "compiling again, for another number of runs, which took up to 75 s before ..."
    assert compiler.expectation(one) == line
    assert Compiler(program).expectation(one) == "compiling, which took up to 75 s before ..."


@pytest.mark.parametrize("text", ["[]", "{", '{"simba_v2 on gymnax/Pendulum-v1": "x"}', "\0"])
def test_what_is_remembered_may_be_anything(cache, text):
    (cache / "seconds.json").write_text(text)
    program = make_program(stopping.CONFIG)
    expected = "compiling, which may take minutes ..."
    assert Compiler(program).expectation(Placement.choose(program)) == expected


def test_functions_are_compiled_while_others_are_lowered(monkeypatch):
    """And Python looks for no garbage meanwhile, which takes a fifth of the time."""
    lowered, is_last = [], threading.Event()

    class Lowered:
        def __init__(self, name: str):
            self._name = name

        def compile(self) -> str:
            assert is_last.wait(10.0), "the last one is lowered after the first is compiled"
            return f"{self._name} compiled"

    def lower(name: str) -> Lowered:
        assert not gc.isenabled()
        lowered.append(name)
        if len(lowered) == len(CompiledProgram._fields):
            is_last.set()
        return Lowered(name)

    functions = CompiledProgram(*(partial(lower, name) for name in CompiledProgram._fields))
    monkeypatch.setattr(compiling, "lowering", lambda *_: functions)
    nothing = cast(Any, None)
    compiled = compiling.compile_program(nothing, nothing, 1)
    assert compiled == tuple(f"{name} compiled" for name in CompiledProgram._fields)
    assert lowered[0] == "advance", "which takes longest"
    assert gc.isenabled()

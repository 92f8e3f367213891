"""Programs compiled for devices that are not here, and what is said of them."""

import os
from types import SimpleNamespace

import jax
import pytest
from jax.experimental import topologies

from purejax_simba.agents import registry
from purejax_simba.config import Config, ConfigError, ReplayConfig
from purejax_simba.program import Program
from purejax_simba.runs import targets
from purejax_simba.runs.memory import GIB

SMALL = Config(
    task="gymnax/Pendulum-v1",
    num_seeds=2,
    agent=registry.agent_settings("random"),
    replay=ReplayConfig(capacity=20_000),
    diagnostics="none",
)


@pytest.fixture
def as_target(monkeypatch):
    """What is here stands for what is not, with so much memory."""

    def stand_in(size: int) -> None:
        target = targets.Target(jax.devices()[:1], size)
        monkeypatch.setattr(targets.Target, "of", lambda name: target)

    return stand_in


def test_the_table_says_what_the_compiler_says(as_target, capsys):
    as_target(GIB)
    targets.show("mine", [(SMALL, 2)])
    table = capsys.readouterr().out
    rows = dict(line.split("  ", 1) for line in table.splitlines())
    assert rows["program"].strip() == "2 runs of random on gymnax/Pendulum-v1"
    assert rows["collectives"].strip() == "none"
    # Five numbers make a transition; with everything else a run takes less than twice that.
    most = GIB // (SMALL.replay.capacity * 5 * 4)
    assert most / 2 < int(rows["runs that fit"].replace(",", "")) < most


@pytest.mark.slow
def test_what_does_not_fit_is_refused_with_advice(as_target, capsys):
    as_target(800_000)
    with pytest.raises(ConfigError, match=r"give --num-seeds 1 or a smaller --replay\.capacity"):
        targets.show("mine", [(SMALL, 2)])
    assert "runs that fit" in capsys.readouterr().out
    # A sweep takes as many at a time as there is room for.
    targets.show("mine", [(SMALL, 2)], in_parts=True)
    assert "1 run of" in capsys.readouterr().out


def test_what_the_compiler_itself_refuses_gets_the_same_advice(as_target, monkeypatch):
    def refuse(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Ran out of memory on HBM.\nMore.")

    as_target(1_300_000)
    monkeypatch.setattr(targets, "compile_program", refuse)
    with pytest.raises(ConfigError, match=r"^mine: Ran out of memory on HBM.: give --num-seeds 1"):
        targets.show("mine", [(SMALL, 2)])


def test_the_engine_is_the_one_that_training_would_choose(monkeypatch):
    """By the environments of all seeds, also where their number comes with a recipe."""

    class Chosen(Exception):
        pass

    def stop(program: Program, *_):
        raise Chosen(program.environment.engine)

    target = targets.Target([SimpleNamespace(platform="gpu")], None)
    monkeypatch.setattr(targets.Target, "of", lambda name: target)
    monkeypatch.setattr(targets, "make_mesh", lambda *_: SimpleNamespace(size=1))
    monkeypatch.setattr(targets, "compile_program", stop)
    flash = registry.agent_settings("flash_sac")
    for recipe, engine in {"paper": "mujoco", "parallel": "mjx"}.items():
        with pytest.raises(Chosen, match=engine):
            targets.compile_for(
                "mine", Config("dmc/cartpole-balance", agent=flash, recipe=recipe), 4
            )
    for runs, engine in {4: "mujoco", 4_000: "mjx"}.items():  # of a sweep
        with pytest.raises(Chosen, match=engine):
            targets.compile_for("mine", Config("dmc/cartpole-balance"), runs)


def test_an_unknown_target_and_a_missing_compiler_are_said_in_a_line(monkeypatch, tmp_path):
    os.mkfifo(tmp_path / "pipe.txtpb")
    for name, reason in {
        "mine": "No such file or directory",
        "pipe": "it is no regular file",
    }.items():
        path = tmp_path / f"{name}.txtpb"
        with pytest.raises(
            ConfigError, match=rf"^cannot compile for {path} \({reason}\): give one"
        ):
            targets.Target.of(str(path))

    def fail(**_):
        raise NotImplementedError("no such platform")

    monkeypatch.setattr(topologies, "get_topology_desc", fail)
    for name in ("h100", "v5e:2x4"):
        with pytest.raises(ConfigError, match=r"pip install 'purejax_simba\[targets\]'"):
            targets.Target.of(name)

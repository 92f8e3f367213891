"""What a sweep is: axes, samples, configurations, groups, and the advice on what cannot be."""

import contextlib
import dataclasses
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np
import pytest

import envs
from purejax_simba.agents import registry
from purejax_simba.agents.registry import agent_settings
from purejax_simba.agents.simba_v2 import SimbaV2
from purejax_simba.commands import sweep as command_line
from purejax_simba.config import (
    CheckpointConfig,
    Config,
    ConfigError,
    ReplayConfig,
    TemperatureConfig,
)
from purejax_simba.names import all_settings, find_name, flatten, replace_values
from purejax_simba.run_state import Counters
from purejax_simba.runs import memory
from purejax_simba.runs.result_files import run_directory
from purejax_simba.sweep import commands
from purejax_simba.sweep.axes import Axis, parse_axis, sample_positions
from purejax_simba.sweep.definition import Sweep, check_same
from purejax_simba.sweep.grouping import (
    divide,
    group,
    make_groups,
    parts_of,
    resolve_all,
    static_part,
)
from purejax_simba.sweep.halving import Halving, rungs_of
from purejax_simba.sweep.options import BaseConfig, SweepOptions, make_sweep, read_file
from purejax_simba.sweep.results import Results, Row, Score, ranking
from purejax_simba.training import make_program
from tests.helpers import in_process, tiny

TASK = "gymnax/Pendulum-v1"
CONFIG = Config(
    task=TASK,
    num_seeds=3,
    total_env_steps=400,
    evaluation_interval=100,
    episode_length=40,
    learning_starts=60,
    agent=tiny.AGENT,
    replay=ReplayConfig(prioritized=True),  # so that its exponents can vary
    experiment="simba_v2",
)
TRACED = [name for name, setting in all_settings().items() if setting.traced]
RATES = Axis("agent.learning_rate", "grid", (1e-4, 3e-4))
SHIFTS = Axis("agent.shift", "uniform", (1.0, 5.0))


@pytest.fixture(autouse=True)
def no_compilation(monkeypatch):
    """Nothing here is to be compiled."""
    in_process.refuse_compilation(monkeypatch)


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command line in this process: arguments -> exit status, stdout, stderr."""
    return in_process.runner("sweep.py", command_line.main, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("grid", "agent.learning-rate=1e-4,3e-4", RATES),
        ("grid", "--agent.learning_rate=1e-4, 3e-4", RATES),
        ("uniform", "agent.shift=1,5", SHIFTS),
        (
            "grid",
            "agent.critic-loss=cross_entropy,squared_error",
            ("cross_entropy", "squared_error"),
        ),
        ("grid", "normalize-rewards=true,False", (True, False)),
        ("grid", "agent.num-critics=none,2", (None, 2)),
        ("grid", "discount=none,0.9", (None, 0.9)),
        ("log_uniform", "temperature.initial=1e-3,1e-1", (1e-3, 1e-1)),
    ],
)
def test_axes_are_read_with_the_types_of_the_configuration(kind, text, expected):
    axis = parse_axis(kind, text)
    assert axis == expected if isinstance(expected, Axis) else axis.values == expected
    assert parse_axis(kind, str(axis).partition(" ")[2]) == axis


@pytest.mark.parametrize("sampler", ["random", "latin-hypercube", "sobol"])
def test_samples_lie_in_the_cube_and_are_repeatable(sampler):
    positions = sample_positions(sampler, 12, 3, 5)
    assert positions.shape == (12, 3)
    assert ((positions >= 0) & (positions < 1)).all()
    np.testing.assert_array_equal(positions, sample_positions(sampler, 12, 3, 5))
    assert (positions != sample_positions(sampler, 12, 3, 6)).any()
    if sampler == "latin-hypercube":
        for column in positions.T:
            assert sorted((column * 12).astype(int)) == list(range(12))
    if sampler == "sobol":  # every half of every dimension has half of the first 2^n
        assert ((positions[:8] < 0.5).sum(axis=0) == 4).all()


def test_every_choice_meets_every_sample_on_every_task():
    temperatures = Axis("temperature.initial", "log_uniform", (1e-3, 1e-1))
    tasks = (TASK, "dmc/cheetah-run")
    sweep = Sweep(CONFIG, tasks, (RATES, SHIFTS, temperatures), samples=5)
    trials = sweep.trials()
    assert [trial.name for trial in trials] == [f"{i:03d}" for i in range(10)] * 2
    assert [trial.values["agent.learning_rate"] for trial in trials[:10]] == (
        [1e-4] * 5 + [3e-4] * 5
    )
    first, second = trials[:5], trials[5:10]
    for name, low, high in (("agent.shift", 1, 5), ("temperature.initial", 1e-3, 1e-1)):
        values = [trial.values[name] for trial in first]
        assert values == [trial.values[name] for trial in second]
        assert len(set(values)) == 5
        assert all(low <= value <= high for value in values)
    assert [trial.config.task for trial in trials] == [TASK] * 10 + ["dmc/cheetah-run"] * 10
    assert trials[7].config.experiment == "simba_v2/007"
    assert trials[7].config.agent.shift == trials[7].values["agent.shift"]
    assert Sweep(CONFIG, (TASK,)).trials()[0].config == CONFIG


def test_samples_are_spread_by_logarithm():
    axis = Axis("temperature.initial", "log_uniform", (1e-3, 1e-1))
    assert [axis.at(x) for x in (0.0, 0.25, 0.5)] == [1e-3, 0.00316228, 1e-2]
    assert SHIFTS.at(0.25) == 2.0


def test_a_file_says_what_options_say(tmp_path, command):
    path = tmp_path / "sweep.yaml"
    path.write_text(
        """
        config: {num_seeds: 3, agent: {critic-hidden-dim: 64}, temperature.initial: 1e-2}
        task: [gymnax/Pendulum-v1, brax/ant]
        grid: {agent.learning-rate: [1e-4, 3e-4], agent: {num_bins: 11}}
        log_uniform: {agent.tau: [0.001, 0.01]}
        samples: 8
        sampler: latin-hypercube
        """
    )
    config = BaseConfig(
        task=(TASK, "brax/ant"),
        num_seeds=3,
        agent=SimbaV2(critic_hidden_dim=64),
        temperature=TemperatureConfig(initial=0.01),
    )
    options = read_file(path)
    assert options == SweepOptions(
        config=config,
        grid=("agent.learning-rate=1e-4,3e-4", "agent.num_bins=11"),
        log_uniform=("agent.tau=0.001,0.01",),
        samples=8,
        sampler="latin-hypercube",
    )
    assert make_sweep(options).trials()[-1].values["agent.num_bins"] == 11
    parsed = command_line.parse(["--file", str(path), "--num-seeds", "5", "--task", TASK])
    assert parsed.options.config == dataclasses.replace(config, num_seeds=5, task=(TASK,))
    assert parsed.options.samples == 8


def test_a_python_file_computes_what_a_file_says(tmp_path, command):
    path = tmp_path / "widths.py"
    path.write_text(
        """
widths = (8, 16)

def sweep():
    return {
        "task": "gymnax/Pendulum-v1",
        "configurations": [
            {"agent": {"critic_hidden_dim": width}, "agent.learning-rate": 0.02 / width}
            for width in widths
        ] + [{"agent.critic_hidden_dim": 32}],
        "grid": {"agent.tau": (0.1, 0.2)},
        "samples": 3,
        "uniform": {"agent.shift": (1, 5)},
    }
"""
    )
    options = command_line.parse(["--file", str(path), "--agent.learning-rate", "1e-5"]).options
    sweep = make_sweep(options)
    trials = sweep.trials()
    assert len(trials) == 3 * 2 * 3
    chosen = [
        tuple(trial.values[f"agent.{name}"] for name in ("critic_hidden_dim", "learning_rate"))
        for trial in trials
    ]
    # What a configuration does not say is as in all others.
    assert list(dict.fromkeys(chosen)) == [(8, 0.0025), (16, 0.00125), (32, 1e-5)]
    assert [(axis.name, axis.values) for axis in sweep.all_axes] == [
        ("agent.critic_hidden_dim", (8, 16, 32)),
        ("agent.learning_rate", (0.0025, 0.00125, 1e-5)),
        ("agent.tau", (0.1, 0.2)),
        ("agent.shift", (1.0, 5.0)),
    ]
    for axis, text in zip(sweep.all_axes, sweep.description()["axes"], strict=True):
        assert parse_axis(axis.kind, text.partition(" ")[2]) == axis


def test_books_kept_otherwise_are_of_the_same_sweep():
    """Also beside a `sweep.json` of a version that wrote more of them."""
    sweep, kept = Sweep(CONFIG, (TASK,), (RATES,)), CheckpointConfig(keep=5, replay=False)
    before = sweep.description()
    before["config"] |= {"checkpoint.replay": True, "log_seeds": "apart", "output": "moved"}
    config = dataclasses.replace(CONFIG, output="b", devices_per_run=2, checkpoint=kept)
    check_same(dataclasses.replace(sweep, config=config), before, "here", "--experiment")
    for name in ("checkpoint.keep", "output"):  # which an earlier version wrote of none
        del before["config"][name]
    check_same(dataclasses.replace(sweep, config=config), before, "here", "--experiment")


def test_names_and_values():
    values = flatten(CONFIG)
    assert replace_values(Config(), values) == CONFIG
    assert find_name("agent.num-bins") == "agent.num_bins"
    known = all_settings()
    assert known["replay.n_step"].parse("replay.n_step", 3) == 3
    assert known["agent.scaler_init"].parse("agent.scaler_init", "None") is None


def _with_another(config: Config, names: Iterable[str]) -> Config:
    """The configuration with other values of those of these names that its agent has."""
    (config,), known = resolve_all([config]), all_settings()
    for name in names:
        value = flatten(config).get(name)
        if isinstance(value, bool):
            value = not value
        elif known[name].kind is int and value is not None:
            value += 1
        else:
            value = 0.7 if value is None else 0.9 * value + 0.003
        with contextlib.suppress(ConfigError):
            (config,) = resolve_all([replace_values(config, {name: value})])
    return config


def test_what_is_traced_is_no_part_of_the_program():
    """The traced steps of two configurations that differ in all traced values are the same."""
    programs = [make_program(config) for config in (CONFIG, _with_another(CONFIG, TRACED))]
    assert static_part(programs[0].config) == static_part(programs[1].config)
    numbers = [program.hyperparameters() for program in programs]
    texts = []
    for program in programs:
        state = jax.eval_shape(program.init, jax.random.key(0), numbers[0])
        counters = jax.eval_shape(Counters.create)
        arguments = (counters, state, numbers[0], jax.ShapeDtypeStruct((), np.int32))
        steps = str(jax.make_jaxpr(program.advance)(*arguments))
        texts.append(re.sub(r"0x[0-9a-f]+", "", steps))  # addresses of functions
    assert texts[0] == texts[1]


@pytest.mark.parametrize("name", sorted(TRACED))
def test_every_traced_value_is_a_hyperparameter(name):
    """Of some agent."""
    changed = []
    for agent in registry.AGENTS:
        config = dataclasses.replace(CONFIG, agent=agent_settings(agent))
        both = (config, _with_another(config, [name]))
        before, after = (jax.tree.leaves(make_program(c).hyperparameters()) for c in both)
        changed += [float(a) != float(b) for a, b in zip(before, after, strict=True)]
    assert any(changed)


def test_configurations_are_grouped_by_what_is_static():
    bins = Axis("agent.num_bins", "grid", (11, 13))
    critics = Axis("agent.num_critics", "grid", (None, 1))
    trials = Sweep(CONFIG, (TASK,), (RATES, bins, critics)).trials()
    configs = resolve_all([trial.config for trial in trials])
    assert all(config.agent.num_critics == 1 for config in configs)
    assert group(configs) == [[0, 1, 4, 5], [2, 3, 6, 7]]  # what is resolved alike is alike
    assert envs.spec(TASK).terminates is False


def _sweep_of(count: int, output) -> Sweep:
    config = dataclasses.replace(CONFIG, output=str(output))
    return Sweep(config, (TASK,), (SHIFTS,), samples=count)


def test_groups_that_do_not_fit_are_split(monkeypatch, tmp_path):
    sweep = _sweep_of(12, tmp_path)
    (group,) = make_groups(sweep)
    per_run = sum(memory.bytes_per_run(make_program(group.config)).values())
    monkeypatch.setattr(memory, "_available_bytes", lambda: int(10.5 * per_run))
    text = commands.describe([group], sweep)
    assert "10 fit at a time, in 4 parts" in text
    assert "1 group, 4 compiled programs, 12 configurations, 36 runs" in text
    parts = parts_of(group)
    assert [len(part) for part in parts] == [3, 3, 3, 3]
    assert [job.whole for part in parts for job in part] == [trial.config for trial in group.trials]
    assert all(job.config == job.whole for part in parts for job in part)
    monkeypatch.setattr(memory, "_available_bytes", lambda: int(2.5 * per_run))
    text = commands.describe([group], sweep)
    assert "2 fit at a time, the 3 seeds of a configuration take turns, in 24 parts" in text
    turns = parts_of(group._replace(directory=tmp_path / "turns"))
    seeds = [[(job.whole, *job.config.seeds) for job in part] for part in turns]
    assert seeds[:3] == [
        [(group.trials[0].config, 0, 1)],
        [(group.trials[0].config, 2)],
        [(group.trials[1].config, 0, 1)],
    ]
    assert len(turns) == 24
    # What was begun goes on as it was, whatever is free now.
    monkeypatch.setattr(memory, "_available_bytes", lambda: None)
    assert parts_of(group) == parts


@pytest.mark.parametrize(
    ("fit", "sizes"),
    [
        (0, [1] * 5),  # which is refused when its turn comes
        (3, [1] * 5),
        (6, [2, 2, 1]),
        (8, [2, 2, 1]),
        (12, [3, 2]),
        (15, [5]),
        (99, [5]),
    ],
)
def test_parts_are_few_and_about_equally_large(tmp_path, fit, sizes):
    (group,) = make_groups(_sweep_of(5, tmp_path))
    parts = divide(group, fit)
    assert [len(part) for part in parts] == sizes
    assert [piece for part in parts for piece in part] == [(i, 0, 3) for i in range(5)]


def test_runs_that_fit(monkeypatch):
    program = make_program(CONFIG)
    per_run = sum(memory.bytes_per_run(program).values())
    for available, fit in ((0.5, 0), (2.2, 2), (8.5, 8), (100, 20)):
        monkeypatch.setattr(memory, "_available_bytes", lambda n=available: int(n * per_run))
        assert memory.runs_that_fit(program, 20) == fit
        if fit:
            memory.check_memory(program, 1, fit, fit)


def test_a_dry_run_says_what_would_be_done(command, monkeypatch):
    monkeypatch.setattr(memory, "_available_bytes", lambda: 2**40)
    words = "--grid agent.num-bins=11,13 --uniform agent.shift=1,5 --samples 4 --num-seeds 3"
    words = f"--task {TASK} --dry-run {words} --output there"
    status, out, error = command(*words.split())
    assert (status, error) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"group 0: {TASK}, agent.num_bins=11, 4 configurations, 12 runs, ")
    assert "GiB per run" in lines[0]
    assert lines[-1] == "2 groups, 2 compiled programs, 8 configurations, 24 runs"
    # The directory of each, and what was sampled for it.
    trials = make_sweep(command_line.parse(words.split()).options).trials()
    shown = [line.split() for line in lines if line.startswith(" ")]
    for trial, (place, shift) in zip(trials, shown, strict=True):
        assert place == f"there/simba_v2/{trial.name}/{TASK}"
        assert shift == f"agent.shift={trial.values['agent.shift']:.4g}"
    status, out, _ = command(*words.split(), "--sampler", "tpe")
    assert status == 0
    assert "agent.num_bins=11, 4 samples in batches of 4 configurations, 12 runs" in out
    assert f"  there/simba_v2/<sample>/{TASK}  --uniform agent.shift=1.0,5.0\n" in out
    assert out.splitlines()[-1] == "2 groups, 2 compiled programs, 8 configurations, 24 runs"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "50")
    status, narrow, _ = command(*words.split(), "--sampler", "tpe")
    assert max(map(len, narrow.splitlines())) <= 50
    assert narrow.split() == out.split()


def test_a_dry_run_names_what_is_given_only(command, tmp_path):
    file = tmp_path / "sweep.yaml"
    choices = "[{agent.name: random}, {agent.name: sac, agent.actor_hidden_dim: 8}]"
    file.write_text(f"task: {TASK}\nconfigurations: {choices}\n")
    status, out, _ = command("--file", str(file), "--dry-run")
    first, _, second, *_ = out.splitlines()
    assert status == 0
    assert f"{TASK}, agent.name=random, 1 configuration, " in first
    assert f"{TASK}, agent.name=sac, agent.actor_hidden_dim=8, 1 configuration, " in second


def test_tasks_without_their_package_can_be_left_out(command, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "brax" else find_spec(name)
    )
    words = f"--task {TASK} brax/ant brax/halfcheetah --dry-run".split()
    status, _, error = command(*words)
    assert status == 2
    assert error.startswith("error: 2 of 3 tasks: brax is not installed: pip install ")
    assert error.endswith(" (brax/ant, brax/halfcheetah), or leave them out: --skip-missing\n")
    status, out, error = command(*words, "--skip-missing")
    assert status == 0
    assert error.startswith("left out 2 of 3 tasks: brax is not installed: pip install ")
    assert "(brax/ant, brax/halfcheetah)" in error
    assert [line.split()[2] for line in out.splitlines()[:1]] == [f"{TASK},"]
    assert out.splitlines()[-1].startswith("1 group, ")
    # What is left of nothing is nothing to train.
    status, _, error = command("--task", "brax/ant", "brax/halfcheetah", "--skip-missing")
    assert status == 2
    assert error.startswith("error: 2 of 2 tasks: brax is not installed")
    assert "--skip-missing" not in error


def _results(count: int) -> Results:
    """A sweep over so many axes with long names."""
    axes = [Axis(f"agent.hyperparameter_{i:02d}", "grid", (0.125, 0.25)) for i in range(count)]
    score = Score(1000, {0: 1.0, 1: 2.0}, 0)
    rows = [
        Row(f"00{i}-label", TASK, {a.name: a.values[i] for a in axes}, Path(), score, "env steps")
        for i in (0, 1)
    ]
    return Results(CONFIG, (TASK,), tuple(axes), tuple(rows))


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_the_ranking_fits_the_terminal(width):
    results = _results(14)
    whole = ranking(results).splitlines()
    assert len(whole) == 3 and len(whole[0]) > 300
    lines = ranking(results, width).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[1].startswith("000-label")
    names = {axis.name for axis in results.axes}
    assert names == {name for name in names if name in lines[0]} ^ {
        name for name in names if name in " ".join(lines[3:])
    }
    assert lines[0].endswith("diverged") or width == 40
    if width > 40:
        assert lines[3].startswith("In sweep.csv besides: agent.hyperparameter_")
    assert ranking(results, 1000) == ranking(results)


def test_rungs():
    config = resolve_all([dataclasses.replace(CONFIG, total_env_steps=2700)])[0]
    assert rungs_of(None, config, 27) == []
    assert rungs_of(Halving(3), config, 27) == [100, 300, 900]
    assert rungs_of(Halving(3), config, 9) == [300, 900]
    assert rungs_of(Halving(3), config, 1) == []
    assert rungs_of(Halving(3, (200, 500)), config, 27) == [200, 500]
    late = dataclasses.replace(config, learning_starts=500)
    assert rungs_of(Halving(3), late, 27) == [900]
    assert [Halving(3).keep(n) for n in (27, 8, 2, 1)] == [9, 2, 1, 1]


def test_rungs_need_checkpoints_with_replay(command):
    """What is to be dropped is named as it was given."""
    flag = "--checkpoint.no-replay"
    words = f"--task {TASK} --grid agent.tau=0.1,0.2 --halving 2 --dry-run"
    status, _, error = command(*words.split(), flag)
    assert status == 2
    assert error.endswith(f"drop --checkpoint.interval 0 and {flag}\n")


def test_a_sweep_without_a_name_has_that_of_the_agent():
    config = dataclasses.replace(CONFIG, experiment="", output="somewhere")
    (first, *_) = Sweep(config, (TASK,), (RATES,)).trials()
    assert run_directory(first.config) == Path("somewhere") / "simba_v2" / "000" / TASK


def test_contradictions_are_refused():
    with pytest.raises(ConfigError, match="two axes"):
        Sweep(CONFIG, (TASK,), (RATES, RATES))

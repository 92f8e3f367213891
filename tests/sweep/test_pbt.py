"""Population-based training: who goes on from whom, with what, and sweeps that do it."""

import dataclasses
import json
import pickle
import signal
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

from purejax_simba import drawing
from purejax_simba.agents.registry import agent_settings
from purejax_simba.agents.simba_v2 import SPHERE
from purejax_simba.commands import train
from purejax_simba.config import ConfigError, OfflineConfig
from purejax_simba.defaults import resolve
from purejax_simba.runs.compiling import Compiler
from purejax_simba.runs.devices import Placement
from purejax_simba.runs.result_files import read_returns, run_directory
from purejax_simba.runs.runs import Runs
from purejax_simba.sweep import commands, running
from purejax_simba.sweep.axes import Axis
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.evolving import Evolution
from purejax_simba.sweep.lineage import Lineage, read_lineage
from purejax_simba.sweep.pbt import PBT, evolve
from purejax_simba.sweep.plots import draw_lineage
from purejax_simba.training import make_program
from tests.helpers import linear, tiny
from tests.helpers.stopping import CONFIG, at_interactions, config

RATES = Axis("agent.learning_rate", "log_uniform", (1e-3, 1e-1))
DELAYS = Axis("agent.target_update_interval", "grid", (1, 3, 2))
TAUS = Axis("agent.tau", "uniform", (0.1, 0.6))


@pytest.fixture
def asked():
    with linear.compiled_once() as asked:
        yield asked


def _sweep(output: Path, **options) -> Sweep:
    own = config(output, num_seeds=2, diagnostics="none", experiment="evolved")
    names = {"config": own, "axes": (RATES,), "pbt": PBT(60), "samples": 5}
    return Sweep(tasks=(CONFIG.task,), **(names | options))


@pytest.mark.parametrize("name", SPHERE)
def test_numbers_that_networks_are_made_for_are_no_axes(tmp_path, name):
    """A child has its parent's parameters, which with others of these are another function."""
    axis = Axis(f"agent.{name}", "uniform", (0.1, 0.6))
    with pytest.raises(ConfigError, match=f"^agent.{name} cannot change later: training begins"):
        _sweep(tmp_path, axes=(axis,))


def test_a_discount_is_no_axis_where_rewards_were_scaled_for_it(tmp_path):
    axis = Axis("discount", "uniform", (0.9, 0.99))
    assert _sweep(tmp_path, axes=(axis,)).count == 5
    own = dataclasses.replace(config(tmp_path), offline=OfflineConfig("data.hdf5"))
    with pytest.raises(ConfigError, match=r"^discount cannot change while a dataset is learned"):
        _sweep(tmp_path, axes=(axis,), config=own)
    own = dataclasses.replace(own, agent=agent_settings("sac"))  # which scales none
    assert _sweep(tmp_path, axes=(axis,), config=own).count == 5


def test_the_worst_go_on_from_the_best():
    returns = np.array([3.0, np.nan, 5.0, 1.0, 4.0, 2.0, 6.0, 0.0])
    values = np.array([[0.001 * 2**n, 0.1 + 0.05 * n, 1 + n % 3] for n in range(8)])
    for seed in range(50):
        random = np.random.default_rng(seed)
        parents, new = evolve(PBT(replaced=0.25), (RATES, TAUS, DELAYS), returns, values, random)
        np.testing.assert_array_equal(parents[[0, 2, 3, 4, 5, 6]], [0, 2, 3, 4, 5, 6])
        assert set(parents[[1, 7]]) <= {2, 6}
        kept = [0, 2, 3, 4, 5, 6]
        np.testing.assert_array_equal(new[kept], values[kept])
        assert (new >= [1e-3, 0.1, 1]).all() and (new <= [1e-1, 0.6, 3]).all()
        assert set(new[:, 2]) <= {1, 2, 3}
    again = evolve(PBT(), (RATES, TAUS, DELAYS), returns, values, np.random.default_rng(seed))
    np.testing.assert_array_equal(again[0], parents)
    np.testing.assert_array_equal(again[1], new)


def test_values_are_changed_a_little_or_drawn_anew():
    returns, values = np.arange(4.0), np.array([[0.002], [0.003], [0.004], [0.05]])
    near = {float(f"{0.05 * factor:.6g}") for factor in (1.2, 1 / 1.2)}
    drawn = []
    for seed in range(200):
        for chance in (0.0, 1.0):
            pbt, random = PBT(resampled=chance), np.random.default_rng(seed)
            parents, new = evolve(pbt, (RATES,), returns, values, random)
            assert parents[0] == 3
            if chance:
                drawn.append(new[0, 0])
            else:
                assert new[0, 0] in near
    # Logarithms evenly over two decades.
    logarithms = np.log10(drawn)
    assert abs(logarithms.mean() + 2.0) < 4 * (2 / 12**0.5) / 200**0.5
    assert logarithms.min() < -2.9 and logarithms.max() > -1.1


def test_values_stay_on_their_axis():
    assert RATES.beside(0.09, True) == 0.1 and RATES.beside(1.1e-3, False) == 1e-3
    assert TAUS.beside(0.3, True) == 0.35 and TAUS.beside(0.58, True) == 0.6
    assert [DELAYS.beside(2.0, up) for up in (False, True)] == [1, 3]
    assert DELAYS.beside(3.0, True) == 3 and {DELAYS.at(x) for x in (0.0, 0.5, 0.99)} == {1, 2, 3}
    wide = Axis("agent.tau", "grid", (0.5, 0.01, 0.1))
    assert wide.at(0.0) == 0.01 and wide.at(0.5) == pytest.approx(0.005**0.5, rel=1e-5)


def test_nobody_is_replaced_where_all_have_diverged():
    values = np.ones((3, 1))
    parents, new = evolve(PBT(), (RATES,), np.full(3, np.nan), values, np.random.default_rng(0))
    assert parents.tolist() == [0, 1, 2] and (new == values).all()


def test_a_lineage_is_read_as_it_was_written(tmp_path):
    random = np.random.default_rng(0)
    lineage = Lineage.create((3, 7), ("000", "001", "002"), ("agent.tau", "discount"))
    for step in (0, 40, 80, 120):
        lineage = lineage.with_generation(
            env_steps=step,
            returns=random.normal(size=(3, 2)),
            parents=random.integers(3, size=(3, 2))
            if step in (40, 80)
            else [[0, 0], [1, 1], [2, 2]],
            values=random.random((3, 2, 2)),
        )
    lineage.returns[2, 1, 0] = np.nan
    lineage.write(tmp_path / "lineage.csv")
    read = read_lineage(tmp_path)
    assert (read.populations, read.members, read.axes) == (
        lineage.populations,
        lineage.members,
        lineage.axes,
    )
    for name, array in lineage.arrays().items():
        np.testing.assert_array_equal(read.arrays()[name], array)

    for population in range(2):
        # Backwards, by hand.
        last = int(lineage.returns[3, :, population].argmax())
        middle = lineage.parents[2, last, population]
        first = lineage.parents[1, middle, population]
        values = lineage.values[..., population, :]
        expected = [values[0, first], values[1, middle], values[2, last]]
        np.testing.assert_array_equal(lineage.schedule(population), expected)
        returns = lineage.returns[..., population]
        expected = [returns[0, first], returns[1, first], returns[2, middle], returns[3, last]]
        np.testing.assert_array_equal(lineage.returns_of_best(population), expected)

    first = (tmp_path / "lineage.csv").read_text().splitlines(keepends=True)[:4]
    (tmp_path / "lineage.csv").write_text("".join(first))
    with pytest.raises(ConfigError, match="no generation has been trained yet"):
        read_lineage(tmp_path)
    (tmp_path / "lineage.csv").write_text("population,generation\n")
    with pytest.raises(ConfigError, match="its columns are not those of a lineage"):
        read_lineage(tmp_path)


@pytest.mark.slow
def test_a_population_evolves_and_goes_on_where_it_was_killed(asked, tmp_path, capsys):
    straight = _sweep(tmp_path / "straight")
    commands.train(straight)
    assert len(asked) == 1
    printed = capsys.readouterr().out
    lineage = read_lineage(straight.directory)
    assert lineage.env_steps.tolist() == [0, 60, 120, 180, 240]
    assert (lineage.populations, len(lineage.members)) == ((0, 1), 5)
    moved = lineage.parents != np.arange(5)[:, None]
    assert moved[1:-1].sum(1).tolist() == [[1, 1]] * 3 and not moved[[0, -1]].any()
    for member, trial in enumerate(straight.trials()):
        returns = read_returns(run_directory(trial.config))
        rate = trial.values["agent.learning_rate"]
        assert (lineage.values[0, member] == rate).all()
        for population in range(2):
            known = dict(returns[population])
            own = [known[step] for step in lineage.env_steps]
            np.testing.assert_allclose(lineage.returns[:, member, population], own)
    assert f"{straight.directory / 'lineage.csv'}" in printed
    for name in ("lineage", "agent.learning_rate"):
        plot = straight.directory / "plots" / f"{name}.png"
        assert plot.read_bytes().startswith(b"\x89PNG")

    # The best and its ancestors, as a file that training follows.
    rates = lineage.schedule(lineage.best_population)[:, 0]
    followed = dict(zip(lineage.env_steps.tolist(), rates, strict=False))
    written, rate = json.loads((straight.directory / "schedule.json").read_text()), 0.0
    known = {entry["env_step"]: entry["agent.learning_rate"] for entry in written}
    for step, expected in followed.items():
        rate = known.get(step, rate)
        assert rate == expected
    assert set().union(*written) == {"env_step", "agent.learning_rate"}  # all that evolved
    best = train.parse(["--config", str(straight.directory / "best.json"), "--seed", "9"])
    assert best.config.schedule == str(straight.directory / "schedule.json")

    # Killed in between, where the newest checkpoint is not the newest generation, and stopped.
    killed = _sweep(tmp_path / "killed")

    def kill() -> None:
        raise InterruptedError

    for moment in (100, 190):
        with at_interactions([moment], kill), pytest.raises(running.WriteError):
            commands.train(killed)
    stop = at_interactions([200], lambda: signal.raise_signal(signal.SIGTERM))
    with stop, pytest.raises(SystemExit):
        commands.train(killed)
    commands.train(killed)
    for name in ("lineage.csv", "schedule.json"):
        assert (killed.directory / name).read_text() == (straight.directory / name).read_text()
    for trial in straight.trials():
        directory = run_directory(trial.config)
        same = killed.directory / directory.relative_to(straight.directory) / "metrics.csv"
        assert same.read_text() == (directory / "metrics.csv").read_text()

    with pytest.raises(ConfigError, match=r"holds another sweep.*pbt was"):
        running.run_sweep(dataclasses.replace(killed, pbt=PBT(60, replaced=0.5)))


@pytest.mark.slow
def test_a_population_is_one_program_wherever_it_trains(asked, tmp_path):
    """A launcher takes it to another process."""

    def elsewhere(assignments):
        for each in assignments:
            yield each, pickle.loads(pickle.dumps(each)).train()

    for place, launcher in (("here", None), ("there", elsewhere)):
        running.run_sweep(_sweep(tmp_path / place), launcher)
    texts = [path.read_text() for path in sorted(tmp_path.glob("*here/evolved/lineage.csv"))]
    assert len(texts) == 2 and texts[0] == texts[1]


def test_a_population_that_cannot_be_together_is_refused(asked, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("purejax_simba.sweep.grouping.runs_that_fit", lambda *_: 8)
        with pytest.raises(running.SweepError, match="--pbt needs all 5 configurations"):
            running.run_sweep(_sweep(tmp_path / "room"))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with linear.agents():
        program = make_program(config(tmp_path))
    with pytest.raises(ConfigError, match="--pbt-replay: replays and episodes do not pass"):
        Evolution(_sweep(tmp_path), PBT(replay=True), [], program)
    assert not asked


def test_generations_begin_with_the_first_update():
    with linear.agents():
        resolved = make_program(config("runs", learning_starts=130)).config
    assert PBT().generations(resolved) == [0, 180, 240]
    assert PBT(120).generations(resolved) == [0, 240]
    for interval in (0, 50, 240):
        with pytest.raises(ConfigError, match=rf"--pbt-interval {interval}: give a multiple"):
            PBT(interval).generations(resolved)


def test_generations_on_a_dataset_are_counted_in_updates(tmp_path, monkeypatch):
    offline = OfflineConfig("data.hdf5", transitions=900)
    lengths = dict.fromkeys(("total_env_steps", "evaluation_interval", "learning_starts"))
    own = resolve(config(tmp_path, offline=offline, **lengths))
    with pytest.raises(ConfigError, match=r"a multiple of \d+ updates, an evaluation interval, be"):
        PBT(7).generations(own)
    lineage = Lineage.create((0,), ("000", "001"), (RATES.name,))
    for step in (0, 10):
        generation = {"returns": [[1], [2]], "parents": [[0], [1]], "values": [[[0.1]], [[0.2]]]}
        lineage = lineage.with_generation(env_steps=step, **generation)
    titles: list[str] = []

    def save(figure: Figure, path: Path) -> None:
        titles.extend(axes.get_xlabel() for axes in figure.axes)

    monkeypatch.setattr(drawing, "save", save)
    draw_lineage(lineage, _sweep(tmp_path, config=own))
    assert titles == ["updates", "updates"]


@pytest.mark.parametrize("with_replay", [False, True])
def test_runs_that_take_turns_go_on_from_others(asked, monkeypatch, with_replay):
    """Five runs in three groups."""
    monkeypatch.setattr("purejax_simba.runs.devices.runs_at_a_time", lambda *_: 2)
    program = make_program(config("runs", num_seeds=5, diagnostics="none"))
    runs = Runs(Compiler(program), Placement.choose(program))
    runs.advance(60)
    before, parents = runs.snapshot().named(), np.array([4, 1, 0, 3, 3])
    runs.inherit(parents, with_replay)
    after = runs.snapshot().named()
    for name, rows in {
        "state.agent.actor": parents,
        "state.progress.diverged_at": parents,
        "state.replay.steps": parents if with_replay else np.arange(5),
        "state.key": np.arange(5),
    }.items():
        name = next(key for key in before if key.startswith(name))
        np.testing.assert_array_equal(after[name], before[name][rows], err_msg=name)
    assert len({actor.tobytes() for actor in before["state.agent.actor"]}) == 5
    runs.replace({"state.key": before["state.key"]})  # as a checkpoint has it
    runs.advance(10)


@pytest.mark.slow
def test_on_two_devices():
    """In a process of its own, which alone can have so many."""
    tiny.run_module("tests.sweep.test_pbt")


def compare_devices() -> None:
    """Five members of two seeds each on two devices and on one; replays move, too."""
    found = []
    for devices in (2, 1):
        some = jax.local_devices()[:devices]
        with linear.agents(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(jax, "local_devices", lambda some=some: some)
            sweep = _sweep(Path(tempfile.mkdtemp()), pbt=PBT(60, replay=True))
            commands.train(sweep)
        found.append(read_lineage(sweep.directory))
    np.testing.assert_array_equal(found[0].parents, found[1].parents)
    np.testing.assert_array_equal(found[0].values, found[1].values)
    np.testing.assert_allclose(found[0].returns, found[1].returns, rtol=1e-3)
    assert (found[0].parents[1:-1] != np.arange(5)[:, None]).any()


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 2)
    sys.exit(compare_devices())

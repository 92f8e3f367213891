"""Datasets in both formats: the same batches from each, and advice on what cannot be read."""

import dataclasses
import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import h5py
import jax
import jax.numpy as jnp
import minari
import numpy as np
import pytest

import envs
from envs import TimeLimit
from purejax_simba.config import Config, ConfigError, OfflineConfig
from purejax_simba.data.transitions import Transitions
from purejax_simba.datasets import d4rl, loading, minari_format
from purejax_simba.datasets.dataset import Dataset, Origin, check_spaces, describe, observations_of
from purejax_simba.runs import compiling
from tests.helpers import tiny
from tests.helpers.counter import Counter

SIZE = 50
ORIGIN = Origin("gymnax/Pendulum-v1", 1, 200, -1200.0, -150.0)
LAYOUT = ("observations", "actions", "rewards", "terminals", "timeouts")


@pytest.fixture(autouse=True)
def _minari_root(monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setattr(minari_format, "_is_remote_reachable", lambda: False)
    loading.load.cache_clear()


def _dataset() -> Dataset:
    """Two episodes that a time limit cut and one that terminated, between them."""
    random = np.random.default_rng(0)
    stream = random.normal(size=(SIZE + 1, 3)).astype(np.float32)
    ended, terminated = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    ended[[19, 29, 49]] = terminated[29] = True
    following = stream[1:].copy()
    following[ended] += 1.0
    return Dataset(
        "made here",
        observation=stream[:-1],
        action=random.uniform(-1.0, 1.0, (SIZE, 2)).astype(np.float32),
        reward=random.normal(size=SIZE).astype(np.float32),
        terminated=terminated,
        ended=ended,
        next_observation=following,
        origin=ORIGIN,
    )


def _write_layout(path: Path, **changes: np.ndarray | None) -> Path:
    """A file as D4RL has them, without `next_observations`; None leaves an array out."""
    dataset = _dataset()
    arrays = dict(
        zip(
            LAYOUT,
            (
                dataset.observation,
                dataset.action,
                dataset.reward,
                dataset.terminated,
                dataset.ended & ~dataset.terminated,
            ),
            strict=True,
        )
    )
    with h5py.File(path, "w") as file:
        for key, array in (arrays | changes).items():
            if array is not None:
                file[key] = array
    return path


def _batch(dataset: Dataset) -> dict[str, np.ndarray]:
    arrays = {f.name: getattr(dataset, f.name) for f in dataclasses.fields(dataset)}
    del arrays["name"], arrays["origin"], arrays["action_range"]
    transitions = jax.tree.map(jnp.asarray, Transitions.create(**arrays))
    batch = transitions.sample(jax.random.key(0), 256, jnp.float32(0.9))
    arrays = batch._asdict()
    assert arrays.pop("weight") is None
    return jax.device_get(arrays)


def test_both_formats_of_the_same_data_give_identical_batches(tmp_path):
    written = _dataset()
    d4rl.write(tmp_path / "data.hdf5", written)
    minari_format.write(minari_format.check_new("minari/pendulum/mine"), written, "a test")
    from_file = loading.load(str(tmp_path / "data.hdf5"))
    from_minari = loading.load("minari/pendulum/mine-v0")
    expected = _batch(written)
    for read in (from_file, from_minari):
        assert read.origin == ORIGIN
        for name, values in _batch(read).items():
            np.testing.assert_array_equal(values, expected[name], err_msg=name)
            assert values.dtype == np.float32


def test_without_next_observations_a_truncated_step_has_no_successor_and_is_left_out(tmp_path):
    whole = _dataset()
    read = loading.load(str(_write_layout(tmp_path / "data.hdf5")))
    kept = np.delete(np.arange(SIZE), [19, 49])
    assert read.size == len(kept)
    np.testing.assert_array_equal(read.observation, whole.observation[kept])
    np.testing.assert_array_equal(read.reward, whole.reward[kept])
    followed = ~read.terminated
    np.testing.assert_array_equal(
        read.next_observation[followed], whole.next_observation[kept][followed]
    )
    # Of those that a time limit cut the end is left out with the step.
    np.testing.assert_array_equal(np.flatnonzero(read.ended), [28])
    np.testing.assert_array_equal(np.flatnonzero(read.terminated), [28])


def test_the_last_row_has_no_successor_and_is_left_out_however_it_ended(tmp_path):
    terminals = np.zeros(SIZE, bool)
    terminals[-1] = True
    path = _write_layout(tmp_path / "data.hdf5", terminals=terminals, timeouts=np.zeros(SIZE, bool))
    read = loading.load(str(path))
    assert read.size == SIZE - 1
    assert not read.terminated.any()


@pytest.mark.parametrize(
    ("name", "attributes", "kept"),
    [
        ("hopper_medium-v2", {}, [19, 49]),  # one of D4RL's
        ("mine", {}, []),
        ("hopper_medium-v2", {"task": "gymnax/Pendulum-v1"}, []),  # recorded here
    ],
)
def test_with_next_observations_only_d4rls_own_datasets_lose_what_a_time_limit_cut(
    tmp_path, name, attributes, kept
):
    whole = _dataset()
    path = _write_layout(tmp_path / f"{name}.hdf5", next_observations=whole.next_observation)
    with h5py.File(path, "a") as file:
        file.attrs.update(attributes)
    read = loading.load(str(path))
    rows = np.delete(np.arange(SIZE), kept)
    np.testing.assert_array_equal(read.observation, whole.observation[rows])
    followed = ~read.terminated
    np.testing.assert_array_equal(
        read.next_observation[followed], whole.next_observation[rows][followed]
    )


@pytest.mark.parametrize(
    ("name", "task", "expert"),
    [
        ("halfcheetah_medium-v2", "mujoco/HalfCheetah-v4", 12135.0),
        ("hopper-medium-replay-v2", "mujoco/Hopper-v4", 3234.3),
        ("walker2d_medium_expert-v2", "mujoco/Walker2d-v4", 4592.3),
    ],
)
def test_the_name_of_a_file_says_its_environment(tmp_path, name, task, expert):
    origin = loading.load(str(_write_layout(tmp_path / f"{name}.hdf5"))).origin
    assert (origin.task, origin.expert_return) == (task, expert)


def test_returns_that_are_equal_are_no_scale(monkeypatch):
    """A task in which random play earns as much as the policy can still be trained offline."""
    dataset = SimpleNamespace(
        name="sparse",
        size=9,
        origin=Origin("dmc/cheetah-run", 2, random_return=0.0, expert_return=0.0),
    )
    monkeypatch.setattr(loading, "load", lambda name: dataset)
    config = loading.fill_in(Config(offline=OfflineConfig("sparse")))
    assert (config.offline.random_return, config.offline.expert_return) == (None, None)
    assert config.task == "dmc/cheetah-run"


def test_how_long_actions_were_held_is_asked_for_where_a_suite_holds_them(monkeypatch):
    dataset = SimpleNamespace(name="mine", size=9, origin=Origin("dmc/cheetah-run"))
    monkeypatch.setattr(loading, "load", lambda name: dataset)
    config = Config(offline=OfflineConfig("mine"))
    with pytest.raises(ConfigError, match="held: give --action-repeat 1, or 2 as the suite has it"):
        loading.fill_in(config)
    assert loading.fill_in(dataclasses.replace(config, action_repeat=1)).action_repeat == 1
    assert (
        loading.fill_in(dataclasses.replace(config, task="mujoco/HalfCheetah-v4")).action_repeat
        is None
    )


def test_all_nine_published_datasets_are_known():
    origins = {
        d4rl.origin_of(f"{robot}-{kind}-v2")
        for robot in ("halfcheetah", "hopper", "walker2d")
        for kind in ("medium", "medium-replay", "medium-expert")
    }
    assert len(origins) == 3
    assert all(origin.random_return < origin.expert_return for origin in origins)
    assert d4rl.origin_of("cheetah") == Origin()


def test_a_dataset_that_minari_collected_is_read_in_the_range_of_the_task():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collector = minari.DataCollector(gymnasium.make("Pendulum-v1", max_episode_steps=7))
        actions = []
        for _ in range(2):
            collector.reset(seed=0)
            for _ in range(7):
                actions.append(collector.action_space.sample())
                collector.step(actions[-1])
        collector.create_dataset("pendulum/random-v0")
        collector.close()
    read = loading.load("minari/pendulum/random-v0")
    assert read.origin == Origin("gymnasium/Pendulum-v1", 1, 7, observations="3")
    np.testing.assert_allclose(2.0 * read.action, actions, rtol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(read.ended), [6, 13])
    assert not read.terminated.any()
    np.testing.assert_array_equal(read.next_observation[:6], read.observation[1:7])


FAKES = "tests.helpers.host_environments:test/"


def _collect(kind: str, own_id: str) -> list[dict]:
    """Records two episodes of 5 random steps with Minari; returns what was observed."""
    observed = []

    class Watched(gymnasium.Wrapper):
        def reset(self, **named):
            observation, info = super().reset(**named)
            observed.append(observation)
            return observation, info

        def step(self, action):
            answer = super().step(action)
            observed.append(answer[0])
            return answer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        environment = gymnasium.make(f"{FAKES}{kind}-v0", max_episode_steps=5)
        collector = minari.DataCollector(Watched(environment))
        for seed in range(2):
            collector.reset(seed=seed)
            collector.action_space.seed(seed)
            for _ in range(5):
                collector.step(collector.action_space.sample())
        collector.create_dataset(own_id)
        collector.close()
    return observed


def test_dictionaries_are_those_of_the_environment_name_by_name():
    observed = _collect("Named", "named/random-v0")
    read = loading.load("minari/named/random-v0")
    kept = [observed[episode * 6 + step] for episode in range(2) for step in range(5)]
    columns = {"target": [6, 7], "noise": [4, 5], "palm": [0, 1], "tip": [2, 3]}
    for name, where in columns.items():
        expected = [(seen | seen["hand"])[name] for seen in kept]
        np.testing.assert_array_equal(read.observation[:, where], expected, err_msg=name)
    # And that of the environment as it is played here, whose numbers follow from its steps.
    environment = envs.make(f"gymnasium/{FAKES}Named-v0", episode_length=5)
    state, first = environment.reset(jax.random.key(0))
    np.testing.assert_array_equal(read.observation[0], first)
    for step in range(5):
        state, timestep = environment.step(state, jnp.zeros(1))
        np.testing.assert_array_equal(read.next_observation[step], timestep.observation)
    check_spaces(read, environment, "test")
    parts = "hand/palm 2, hand/tip 2, noise 2, target 2"
    assert read.origin.observations == observations_of(environment) == parts


@pytest.mark.parametrize("change", ["observations", "names", "vector", "actions", "unbounded"])
def test_another_environment_than_the_datasets_is_refused_in_one_line(change):
    _collect("Wide" if change == "actions" else "Named", "named/random-v0")
    read = loading.load("minari/named/random-v0")
    environment = envs.make(f"gymnasium/{FAKES}Named-v0")
    advice = ["minari/named/random-v0 has other observations than mine", "give the --task"]
    if change == "observations":
        environment.layout = [*environment.layout[:2], ("noise", (1, 3)), *environment.layout[3:]]
        advice.append("noise 2 where the environment has noise 3")
    elif change == "names":
        environment.layout = environment.layout[::-1]
        advice[1:] = ["hand/palm 2 where the environment has target 2: give --privileged-observat"]
    elif change == "vector":
        environment = TimeLimit(Counter(), 9)
        environment.observation_size = 8
        advice.append("hand/palm 2 where the environment has 8")
    elif change == "actions":
        advice = ["another range of actions than mine", "action 0 reaches 2 where", "has 3: give"]
    else:
        read = dataclasses.replace(read, action_range=(-np.ones(1), np.ones(1)))
        advice = ["another range of actions than mine", "action 0 reaches 1 where", "has 3: give"]
    with pytest.raises(ConfigError) as refused:
        check_spaces(read, environment, "mine")
    _is_one_line(refused, *advice)


def test_no_program_is_made_for_another_environment():
    _collect("Wide", "wide/random-v0")
    task = f"gymnasium/{FAKES}Wide-v0"
    offline = OfflineConfig("minari/wide/random-v0")
    config = Config(task, agent=tiny.AGENT, offline=offline)
    program = compiling.make_program(config)
    assert program.config.episode_length == 7, "its own, and not the 5 of another task"
    with pytest.raises(ConfigError, match="another range of actions"):
        compiling.make_program(dataclasses.replace(config, task=task.replace("Wide", "Named")))


def test_one_part_needs_no_name_and_our_own_recordings_say_what_they_hold(tmp_path):
    assert describe([("only", (1, 3))]) == describe([("", (3,))]) == "3"
    assert describe([("a", ()), ("b", (2, 1, 3))]) == "a 1, b 2x3"
    parts = "hand/palm 2, hand/tip 2, noise 2, target 2"
    origin = ORIGIN._replace(observations=parts)
    written = dataclasses.replace(_dataset(), origin=origin)
    d4rl.write(tmp_path / "data.hdf5", written)
    minari_format.write(minari_format.check_new("minari/named/mine"), written, "a test")
    for name in (str(tmp_path / "data.hdf5"), "minari/named/mine-v0"):
        read = loading.load(name)
        assert read.origin == origin and read.action_range is None
        check_spaces(read, envs.make(f"gymnasium/{FAKES}Named-v0"), "mine")
        with pytest.raises(ConfigError, match="hand/palm 2 where the environment has 3"):
            check_spaces(read, envs.make("gymnax/Pendulum-v1"), "gymnax/Pendulum-v1")
    # Files that say nothing are taken at their word.
    check_spaces(_dataset(), envs.make("gymnax/Pendulum-v1"), "gymnax/Pendulum-v1")


def test_what_was_recorded_with_entries_for_critics_says_how_to_read_it():
    dataset = dataclasses.replace(_dataset(), origin=Origin(observations="hand 3, goal 2"))
    environment: Any = SimpleNamespace(layout=[("goal", (2,)), ("hand", (3,))])
    with pytest.raises(ConfigError, match="give --privileged-observations as it was recorded"):
        check_spaces(dataset, environment, "mine")


def test_integer_actions_come_back_as_what_they_were():
    """Each is the middle of its share of [-1, 1], which the environment takes back to it."""
    _collect("Steered", "steered/random-v0")
    read = loading.load("minari/steered/random-v0")
    taken = read.reward  # the environment pays its action
    assert len(np.unique(taken)) > 2
    np.testing.assert_allclose(read.action[:, 0], (2 * taken + 1) / 5 - 1, atol=1e-6)
    environment = envs.make(f"gymnasium/{FAKES}Steered-v0", episode_length=5)
    check_spaces(read, environment, "test")
    state, _ = environment.reset(jax.random.key(0))
    paid = []
    for action in read.action[:5]:
        state, timestep = environment.step(state, jnp.asarray(action))
        paid.append(float(timestep.reward))
    assert paid == taken[:5].tolist()


def test_an_action_without_a_choice_is_the_middle():
    ends = np.array([1.0, -1.0]), np.array([1.0, 3.0])
    actions = np.array([[1.0, -1.0], [1.0, 2.0]], np.float32)
    assert minari_format._rescale(actions, *ends).tolist() == [[0.0, -1.0], [0.0, 0.5]]


def _nan_at(row: int) -> np.ndarray:
    observation = _dataset().observation.copy()
    observation[row] = np.nan
    return observation


BAD = {
    "missing": ({"actions": None, "timeouts": None}, ["no actions and no timeouts", "rewards"]),
    "nan": ({"observations": _nan_at(7)}, ["observation of transition 7 is not finite", "remove"]),
    "flat": (
        {"observations": np.zeros(SIZE)},
        ["observations has shape (50,)", "(steps, numbers)"],
    ),
    "rows": ({"rewards": np.zeros(SIZE - 1)}, ["rewards has 49 rows", "need 50"]),
    "range": ({"actions": np.full((SIZE, 2), 2.0)}, ["actions reach 2", "rescale"]),
    "text": ({"rewards": np.full(SIZE, b"x")}, ["rewards is of type", "numbers"]),
    "length": ({"next_observations": np.zeros((SIZE, 4))}, ["4 numbers", "3"]),
    "empty": (
        {
            "observations": np.zeros((0, 3)),
            "actions": np.zeros((0, 2)),
            **{key: np.zeros(0) for key in LAYOUT[2:]},
        },
        ["holds no transitions"],
    ),
}


def _is_one_line(error: pytest.ExceptionInfo, *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_trained_on_is_refused(tmp_path, case):
    changes, parts = BAD[case]
    path = _write_layout(tmp_path / "data.hdf5", **changes)
    with pytest.raises(ConfigError) as refused:
        loading.load(str(path))
    _is_one_line(refused, str(path), *parts)


def test_a_file_that_is_none_is_refused(tmp_path):
    for name, advice in (("absent.hdf5", "No such file"), ("text.hdf5", "cannot be read")):
        (tmp_path / "text.hdf5").write_text("no HDF5")
        with pytest.raises(ConfigError) as refused:
            loading.load(str(tmp_path / name))
        _is_one_line(refused, name, advice)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("minari/pendulum/mime-v0", "did you mean minari/pendulum/mine-v0?"),
        ("minari/nothing/like-v0", "`minari list local`"),
        ("minari/pendulum mine", "is no id of Minari's"),
        ("pendulum", "give minari/<id>"),
    ],
)
def test_an_unknown_dataset_is_refused_with_the_nearest(name, advice):
    minari_format.write(minari_format.check_new("minari/pendulum/mine"), _dataset(), "a test")
    with pytest.raises(ConfigError) as refused:
        loading.load(name)
    _is_one_line(refused, advice)


@pytest.mark.parametrize("package", ["minari", "h5py"])
def test_a_missing_package_is_named_with_its_command(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError) as refused:
        loading.load("minari/pendulum/mine-v0" if package == "minari" else "data.hdf5")
    _is_one_line(refused, f"{package} is not installed", "pip install 'purejax_simba[offline]'")


@pytest.mark.parametrize("name", ["minari/pendulum/mine-v0", "data.hdf5"])
def test_what_the_machine_cannot_hold_is_not_read(monkeypatch, tmp_path, name):
    minari_format.write(minari_format.check_new("minari/pendulum/mine"), _dataset(), "a test")
    path = _write_layout(tmp_path / "data.hdf5")
    monkeypatch.setattr("purejax_simba.datasets.dataset.host_bytes", lambda: 100)
    with pytest.raises(ConfigError) as refused:
        loading.load(str(path) if name == "data.hdf5" else name)
    _is_one_line(refused, name, "GiB of memory to read", "smaller")


def test_nothing_is_overwritten(tmp_path):
    path = tmp_path / "data.hdf5"
    d4rl.write(path, _dataset())
    with pytest.raises(ConfigError, match="exists already"):
        d4rl.write(path, _dataset())
    minari_format.write(minari_format.check_new("minari/mine"), _dataset(), "a test")
    with pytest.raises(ConfigError, match="exists already"):
        minari_format.check_new("minari/mine")


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"task": 3}, "task is 3: a word is needed"),
        ({"action_repeat": "two"}, "action_repeat is 'two'"),
        ({"expert_return": [1.0]}, "expert_return is [1.0]"),
        ([1, 2], "it is [1, 2]: names with values is needed"),
        (None, "it is None: names with values is needed"),
    ],
)
def test_what_our_own_datasets_say_of_themselves_has_types(tmp_path, said, line):
    minari_format.write(minari_format.check_new("minari/mine"), _dataset(), "a test")
    (path,) = (tmp_path / "minari").rglob("metadata.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"purejax_simba": said}))
    with pytest.raises(ConfigError) as refused:
        loading.load("minari/mine-v0")
    _is_one_line(refused, f"minari/mine-v0 cannot be read ({line}")

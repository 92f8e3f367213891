"""What a worker makes of an environment's spaces, actions and answers, without a process."""

import sys
from types import SimpleNamespace
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs.workers.program import FLAGS, EnvPoolEnvironments, GymnasiumEnvironments, Refused
from tests.helpers import host_environments

COUNT = 2


class Memory:
    """What a worker writes to: results, and the slots that were begun."""

    def __init__(self, environments):
        size = environments.description["observation_size"]
        self.results = np.full((COUNT, FLAGS + size), np.nan, np.float32)
        self.begun = []
        self.environments = environments
        self.slots = list(range(COUNT))
        self._give = self.results, self.begun.append
        environments.reset(self.slots, self.slots, [False] * COUNT, *self._give)

    def step(self, *actions):
        """The results of one step with an action for each slot, all zero if none are given."""
        self.begun.clear()
        actions = np.array(actions or [0.0] * COUNT, np.float32).reshape(COUNT, -1)
        self.environments.step(self.slots, actions, *self._give)
        return self.results


@pytest.fixture
def made(monkeypatch):
    """Makes environments of a class of `host_environments` with some arguments."""
    monkeypatch.setattr(host_environments.Answers, "made", 0)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))

    def make(name, **arguments) -> Memory:
        own_id = f"test/{name}{len(gymnasium.envs.registration.registry)}-v0"
        entry_point = f"tests.helpers.host_environments:{name}"
        gymnasium.register(own_id, entry_point=entry_point, kwargs=arguments)
        return Memory(GymnasiumEnvironments({"id": own_id}))

    return make


class Pool:
    """As EnvPool's: environments in another order than asked for, answers as told."""

    observation_space = host_environments.Named.observation_space
    action_space = spaces.Box(-1, 2, (1,), np.int32)
    spec = SimpleNamespace(config=SimpleNamespace(max_episode_steps=7))
    answers: ClassVar[dict] = {}

    def __init__(self, seeds):
        self.steps = np.zeros(len(seeds))
        self.taken = []

    def reset(self, indices):
        return self._observe(indices), {"env_id": indices[::-1]}

    def step(self, actions, indices):
        self.taken.append(actions)
        self.steps[indices] += 1
        ends = np.zeros(len(indices), bool)
        answer = {"reward": actions[:, 0], "terminated": ends, "truncated": ends}
        answer |= {key: value for key, value in self.answers.items() if key in answer}
        info = {"env_id": indices[::-1], **self.answers.get("info", {})}
        return self._observe(indices), *answer.values(), info

    def _observe(self, indices):
        steps = np.stack([self.steps[indices], -self.steps[indices]], 1)
        return {"target": steps, "noise": steps / 8, "hand": {"tip": steps / 4, "palm": steps / 2}}


@pytest.fixture
def pooled(monkeypatch):
    """Makes a stand-in for EnvPool's environments."""
    pools = []

    def make_pool(name, *, env_type, num_envs, num_threads, seed, **options):
        pools.append(Pool(seed))
        pools[-1].options = options
        return pools[-1]

    monkeypatch.setitem(sys.modules, "envpool", SimpleNamespace(make=make_pool))

    def make(limit=None, **answers) -> Memory:
        monkeypatch.setattr(Pool, "answers", answers)
        memory = Memory(EnvPoolEnvironments({"id": "Any-v0", "max_episode_steps": limit}))
        memory.pool = pools[-1]
        return memory

    return make


LAYOUT = [["hand/palm", [2]], ["hand/tip", [2]], ["noise", [2]], ["target", [2]]]
AFTER_ONE_STEP = [1 / 2, -1 / 2, 1 / 4, -1 / 4, 1 / 8, -1 / 8, 1, -1]


def test_parts_come_in_the_order_of_their_names_at_every_level(made, pooled):
    for memory in (made("Named"), pooled()):
        assert memory.environments.description["layout"] == LAYOUT
        np.testing.assert_array_equal(memory.step()[:, FLAGS:], [AFTER_ONE_STEP] * COUNT)


def test_every_part_has_the_shape_of_its_space(made, monkeypatch):
    memory = made("Named")
    wrong = {"target": np.zeros(1), "noise": np.zeros(2), "hand": {"palm": [0] * 2, "tip": [0] * 3}}
    monkeypatch.setattr(host_environments.Named, "observe", lambda self: wrong)
    # Together they would have as many numbers as they should.
    with pytest.raises(Refused, match=r"observation hand/tip of shape \(3,\) where .* has \(2,\)"):
        memory.step()
    wrong["hand"]["tip"] = ["1", "2"]
    with pytest.raises(Refused, match="observation hand/tip of type <U1: numbers are needed"):
        memory.step()


NAN = float("nan")
SOLVED = {
    "bool": (True, True),
    "numpy": (np.bool_(False), False),
    "number": (1.0, True),
    "zero": (0, False),
    "array of one": (np.array([[True]]), True),
    "NaN": (NAN, False),
    "NaN in an array": (np.array([NAN]), False),
    "None": (None, False),
}


@pytest.mark.parametrize("key", ["success", "is_success", "solved"])
@pytest.mark.parametrize("case", SOLVED)
def test_what_counts_as_success(made, case, key):
    value, expected = SOLVED[case]
    assert made("Answers", info={key: value}).step()[:, 3].tolist() == [expected] * COUNT
    assert made("Answers", info={"other": True}).step()[:, 3].tolist() == [0, 0]


REFUSED = {
    "text": ({"info": {"success": "False"}}, r"'False' as info\['success'\]: a number is"),
    "empty": ({"info": {"solved": []}}, r"info\['solved'\] of shape \(0,\): one number is needed"),
    "several": ({"info": {"is_success": [1, 0]}}, r"info\['is_success'\] of shape \(2,\)"),
    "no info": ({"info": None}, r"no \(observation, reward, terminated, truncated, info\)"),
    "flags": ({"terminated": np.array([True, False])}, r"returned terminated of shape \(2,\)"),
    "flag of text": ({"truncated": "False"}, "'False' as truncated: a number is needed"),
    "no flag": ({"truncated": None}, "None as truncated: a number is needed"),
    "NaN": ({"terminated": NAN}, "returned nan as terminated"),
    "rewards": ({"reward": [1.0, 2.0]}, r"returned reward of shape \(2,\)"),
    "reward of text": ({"reward": "1.0"}, "'1.0' as reward: a number is needed"),
    "no reward": ({"reward": None}, "None as reward: a number is needed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_answer_is_refused_where_it_was_given(made, case):
    answers, text = REFUSED[case]
    memory = made("Answers", only_last_of=COUNT, **answers)
    with pytest.raises(Refused, match=text):
        memory.step()
    assert memory.begun == [0, 1]
    memory = made("Answers", **answers)
    with pytest.raises(Refused, match=text):
        memory.step()
    assert memory.begun == [0]


def test_arrays_of_one_element_are_answers(made):
    one = {"reward": np.array([[2.5]]), "terminated": np.array([True]), "truncated": np.array(1)}
    assert made("Answers", **one).step()[:, :FLAGS].tolist() == [[2.5, 1, 1, 0]] * COUNT


@pytest.mark.parametrize("key", ["success", "solved"])
def test_a_pool_reports_success_per_environment(pooled, key):
    # Its answers are in the other order.
    memory = pooled(info={key: np.array([NAN, 1.0])})
    assert memory.step()[:, 3].tolist() == [1, 0]
    assert pooled(info={key: np.array([[True], [False]])}).step()[:, 3].tolist() == [0, 1]
    with pytest.raises(Refused, match=rf"as info\['{key}'\]: a number is needed"):
        pooled(info={key: np.array(["False", "True"])}).step()
    with pytest.raises(Refused, match=rf"info\['{key}'\] of shape \(1,\)"):
        pooled(info={key: np.array([True])}).step()


def test_a_pool_that_returns_no_flag_is_refused_where_it_did(pooled):
    memory = pooled(truncated=np.array([NAN, 0.0]))
    with pytest.raises(Refused, match="returned nan as truncated"):
        memory.step()
    assert memory.begun[-1] == 1
    with pytest.raises(Refused, match=r"returned reward of shape \(2, 2\)"):
        pooled(reward=np.zeros((2, 2))).step()


RANGES = [(0, 4, "int32"), (-3, -1, "int8"), (0, 255, "uint8"), (-1, 2, "int64"), (5, 5, "int16")]


@pytest.mark.parametrize(("low", "high", "dtype"), RANGES)
def test_every_integer_action_has_an_equal_share(made, low, high, dtype):
    memory = made("Steered", low=low, high=high, dtype=dtype)
    bottom, top = (memory.environments.description[end][0] for end in ("low", "high"))
    assert (bottom, top) == (low - 0.5, high + 0.5)
    count = high - low + 1
    # Four actions of [-1, 1] for each, as `RescaleAction` passes them on.
    actions = (np.arange(4 * count) + 0.5) / (2 * count) - 1
    taken = [memory.step(x, x)[0, 0] for x in bottom + (top - bottom) * (actions + 1) / 2]
    np.testing.assert_array_equal(taken, np.repeat(np.arange(low, high + 1), 4))
    ends = [memory.step(x, x)[0, 0] for x in (bottom, top, bottom - 9, top + 9)]
    assert ends == [low, high, low, high]


def test_a_pool_takes_integers_too(pooled):
    memory = pooled()
    assert memory.environments.description["low"] == [-1.5]
    assert memory.step(-1.2, 2.5)[:, 0].tolist() == [2, -1], "its answers are in the other order"
    (taken,) = memory.pool.taken
    assert taken.dtype == np.int32 and taken.tolist() == [[-1], [2]]


@pytest.mark.parametrize(
    ("low", "high", "dtype", "advice"),
    [
        (0, 2**31 - 1, "int32", "has integer actions beyond 4194304"),
        (-(2**62), 2**62, "int64", "has integer actions beyond 4194304"),
        (-3.4e38, 3.4e38, "float32", "has unbounded actions"),
        (-1e300, 1e300, "float64", "has unbounded actions"),
    ],
)
def test_ranges_that_float32_cannot_hold_are_refused(made, low, high, dtype, advice):
    with pytest.raises(Refused, match=advice):
        made("Steered", low=low, high=high, dtype=dtype)


def test_a_pool_is_given_a_longer_limit(pooled):
    for asked, passed, limit in [(None, {}, 7), (5, {}, 7), (9, {"max_episode_steps": 9}, 9)]:
        memory = pooled(limit=asked)
        assert memory.pool.options == passed
        assert memory.environments.description["episode_length"] == limit

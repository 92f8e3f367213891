"""The ring of rows against a plain list of transitions."""

import re
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from purejax_simba.agents.agent import Batch
from purejax_simba.data.replay import TRUNCATED, Replay
from purejax_simba.data.rows import MOST_PADDING
from tests.helpers.examples import mark_others

ENVIRONMENTS, ROWS, EPISODE, STEPS, ACTIONS = 3, 12, 5, 61, 2
CAPACITY = ENVIRONMENTS * ROWS
DISCOUNT = 0.9
PRIORITY, IMPORTANCE = 0.7, 0.4


class Step(NamedTuple):
    """What the learner sees of one step of one environment."""

    observation: tuple[float, ...]
    action: tuple[float, ...]
    reward: float
    terminated: bool
    truncated: bool
    successor: tuple[float, ...]


def _name(time: int, environment: int, is_final: bool) -> tuple[float, ...]:
    """A unique observation."""
    return (1.0 + time, float(environment), float(is_final))


def _script(seed: int, early: float = 0.0) -> list[list[Step]]:
    """Steps of every environment: episodes of at most EPISODE steps, some of which terminate.

    `early` is how often one is truncated for no reason.
    """
    generator = np.random.default_rng(seed)
    stream: list[list[Step]] = []
    age = np.array([0, 2, 4])  # environments are cut at different times
    for time in range(STEPS):
        row = []
        for environment in range(ENVIRONMENTS):
            terminated = bool(generator.random() < 0.12)
            is_cut = early > 0.0 and generator.random() < early
            truncated = bool(age[environment] == EPISODE - 1 or is_cut) and not terminated
            ended = terminated or truncated
            age[environment] = 0 if ended else age[environment] + 1
            row.append(
                Step(
                    _name(time, environment, False),
                    tuple(generator.integers(-8, 8, ACTIONS) / 8.0),
                    float(np.float32(generator.normal())),
                    terminated,
                    truncated,
                    _name(time + 1, environment, ended),
                )
            )
        stream.append(row)
    return stream


def _transitions(script: list[list[Step]], steps: int, n_step: int) -> dict[tuple, tuple]:
    """What may be sampled after so many steps: observation -> the rest of the transition."""
    valid = {}
    for start in range(max(0, steps - n_step + 1 - ROWS), steps - n_step + 1):
        for environment in range(ENVIRONMENTS):
            reward, discount = 0.0, 1.0
            for k in range(n_step):
                last = script[start + k][environment]
                reward += discount * last.reward
                discount *= DISCOUNT
                if last.terminated or last.truncated:
                    break
            first = script[start][environment]
            following = None if last.terminated else last.successor
            discount = 0.0 if last.terminated else discount
            valid[first.observation] = (first.action, reward, discount, following)
    return valid


def _empty(n_step: int, prioritized: bool = False, keeps_terminals: bool = False) -> Replay:
    first = [_name(0, environment, False) for environment in range(ENVIRONMENTS)]
    return Replay.create(
        jnp.array(first),
        ACTIONS,
        capacity=CAPACITY,
        n_step=n_step,
        truncation_interval=EPISODE,
        prioritized=prioritized,
        keeps_terminals=keeps_terminals,
    )


@jax.jit
def _append(
    replay: Replay, step: jax.Array, row: dict[str, jax.Array], origin: jax.Array | int = 0
) -> Replay:
    return replay.append(step, **row, origin=origin)


@partial(jax.jit, static_argnums=3)
def _sample(replay: Replay, key: jax.Array, steps: jax.Array, size: int) -> Batch:
    return replay.sample(key, steps, size, jnp.float32(DISCOUNT))


@partial(jax.jit, static_argnums=3)
def _sample_by_priority(
    replay: Replay, key: jax.Array, steps: jax.Array, size: int, origin: jax.Array | int = 0
) -> tuple[Batch, jax.Array]:
    discount, exponent = jnp.float32(DISCOUNT), jnp.float32(IMPORTANCE)
    return replay.sample_by_priority(
        key, steps, size, discount, origin, importance_exponent=exponent
    )


def _row(steps: list[Step], time: int) -> dict[str, np.ndarray]:
    names = [_name(time + 1, environment, False) for environment in range(ENVIRONMENTS)]
    return {
        "action": np.array([step.action for step in steps], np.float32),
        "reward": np.array([step.reward for step in steps], np.float32),
        "terminated": np.array([step.terminated for step in steps]),
        "truncated": np.array([step.truncated for step in steps]),
        "final_observation": np.array([step.successor for step in steps], np.float32),
        "next_observation": np.array(names, np.float32),
    }


def _check(sample: Batch, valid: dict[tuple, tuple]) -> np.ndarray:
    """Compares every sampled transition with the reference; returns how often each was drawn."""
    places = {name: place for place, name in enumerate(valid)}
    names = [tuple(observation) for observation in np.asarray(sample.observation).tolist()]
    assert set(names) <= set(valid)
    drawn = np.array([places[name] for name in names])
    actions, rewards, discounts, following = zip(*valid.values(), strict=True)
    np.testing.assert_array_equal(sample.action, np.array(actions)[drawn])
    np.testing.assert_allclose(sample.reward, np.array(rewards)[drawn], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sample.discount, np.array(discounts)[drawn], rtol=1e-6)
    # Nobody looks at what follows a termination.
    alive = np.array([successor is not None for successor in following])[drawn]
    expected = np.array([successor or (0.0,) * 3 for successor in following])[drawn]
    np.testing.assert_array_equal(np.asarray(sample.next_observation)[alive], expected[alive])
    return np.bincount(drawn, minlength=len(valid))


@pytest.mark.parametrize("n_step", mark_others(pytest.mark.slow, (3,), (1, 3)))
def test_every_sample_is_a_transition_of_the_list(n_step):
    script = _script(seed=n_step)
    replay = _empty(n_step)
    kinds = set()
    for time, steps in enumerate(script):
        replay = _append(replay, np.int32(time), _row(steps, time))
        kinds |= {(step.terminated, step.truncated) for step in steps}
        count = time + 1
        if count < n_step:
            assert int(replay.complete_steps(jnp.int32(count))) == 0
            continue
        valid = _transitions(script, count, n_step)
        assert int(replay.complete_steps(jnp.int32(count))) * ENVIRONMENTS == len(valid)
        sample = _sample(replay, jax.random.key(time), np.int32(count), 512)
        counts = _check(sample, valid)
        # 512 draws from at most 36: each is missed with a chance below one in a million.
        assert counts.min() > 0
    assert kinds == {(False, False), (True, False), (False, True)}
    assert len(valid) == CAPACITY
    assert STEPS // replay.rows >= 4  # the ring was written over several times


@pytest.mark.parametrize("n_step", mark_others(pytest.mark.slow, (3,), (1, 3)))
@pytest.mark.parametrize("count", [9, STEPS], ids=["filling", "full"])
def test_samples_are_uniform(n_step, count):
    script = _script(seed=7)
    replay = _empty(n_step)
    for time in range(count):
        replay = _append(replay, np.int32(time), _row(script[time], time))
    valid = _transitions(script, count, n_step)
    size = 400 * len(valid)
    sample = _sample(replay, jax.random.key(0), np.int32(count), size)
    counts = _check(sample, valid)
    deviation = ((counts - 400) ** 2 / 400).sum()
    assert deviation < stats.chi2.ppf(0.999, len(valid) - 1)


@pytest.mark.parametrize("n_step", mark_others(pytest.mark.slow, (3,), (1, 3)))
def test_what_follows_a_termination_is_there_for_who_asks_as_long_as_there_is_room(n_step):
    script = _script(seed=n_step)
    replay = _empty(n_step, keeps_terminals=True)
    places = len(replay.terminals.steps)
    kinds = set()
    for time, steps in enumerate(script):
        replay = _append(replay, np.int32(time), _row(steps, time))
        count = time + 1
        if count < n_step:
            continue
        valid = _transitions(script, count, n_step)
        sample = _sample(replay, jax.random.key(time), np.int32(count), 512)
        _check(sample, valid)
        rows = np.asarray(sample.observation).tolist(), np.asarray(sample.next_observation).tolist()
        for (time_seen, place, _), following in zip(*rows, strict=True):
            environment, window = int(place), range(int(time_seen) - 1, int(time_seen) - 1 + n_step)
            ended = [k for k in window if any(script[k][environment][3:5])]
            if not ended or not script[ended[0]][environment].terminated:
                continue
            newer = sum(script[k][environment].terminated for k in range(ended[0], count))
            assert tuple(following) == _name(ended[0] + 1, environment, newer <= places)
            kinds.add(newer <= places)
    assert True in kinds


def _truncations(script: list[list[Step]], steps: int) -> list[list[int]]:
    """The steps, of so many, in which each environment was truncated."""
    return [
        [time for time in range(steps) if script[time][environment].truncated]
        for environment in range(ENVIRONMENTS)
    ]


@pytest.mark.parametrize("prioritized", [False, True], ids=["alike", "by_priority"])
@pytest.mark.parametrize("early", [0.3, 1.0])
@pytest.mark.parametrize("n_step", mark_others(pytest.mark.slow, (3,), (1, 3, 5)))
def test_successors_are_right_however_often_episodes_are_truncated(n_step, early, prioritized):
    """Of a truncation whose final observation is overwritten, what is right cannot be told."""
    script = _script(seed=n_step, early=early)
    replay = _empty(n_step, prioritized)
    places = len(replay.steps_to_final)
    withheld = 0
    for time, steps in enumerate(script):
        replay = _append(replay, np.int32(time), _row(steps, time))
        count = time + 1
        if count < n_step:
            continue
        valid = _transitions(script, count, n_step)
        complete = len(valid)
        lost = [cuts[: max(0, len(cuts) - places)] for cuts in _truncations(script, count)]
        if prioritized:
            # An episode ends where its name says that nothing of it comes after.
            finals = {_name(step + 1, e, True) for e, steps in enumerate(lost) for step in steps}
            valid = {name: rest for name, rest in valid.items() if rest[3] not in finals}
            draw = _sample_by_priority(replay, jax.random.key(time), np.int32(count), 512)[0]
        else:
            newest = max((cuts[-1] for cuts in lost if cuts), default=-1)
            valid = {name: rest for name, rest in valid.items() if name[0] - 1.0 > newest}
            draw = _sample(replay, jax.random.key(time), np.int32(count), 512)
        assert _check(draw, valid).min() > 0
        assert int(replay.withheld(jnp.int32(count))) == complete - len(valid)
        withheld = max(withheld, complete - len(valid))
    assert withheld > 0
    assert STEPS // replay.rows >= 3


def test_more_places_lose_nothing_that_was_there():
    """Wherever among its places a ring was when it grew, as at a resume with more steps."""
    every, interval = 20, 50

    def empty(capacity: int) -> Replay:
        sizes: Any = {"capacity": capacity, "truncation_interval": interval}
        return Replay.create(jnp.zeros((1, 1)), 1, **sizes, keeps_terminals=True)

    def grown(array: jax.Array, larger: jax.Array) -> jax.Array:
        free = [(0, n - m) for m, n in zip(array.shape, larger.shape, strict=True)]
        return jnp.pad(array, free)

    @jax.jit
    def step(time: jax.Array, replay: Replay) -> Replay:
        nothing, ends = jnp.zeros((1, 1)), (time + 1) % every == 0
        return replay.append(
            time,
            action=nothing,
            reward=nothing[0],
            terminated=jnp.zeros(1, bool),
            truncated=ends[None],
            final_observation=nothing,
            next_observation=nothing,
        )

    replay = empty(1000)
    for time in range(700):
        replay = step(jnp.int32(time), replay)
    larger = empty(1500)
    places = len(replay.steps_to_final)
    assert len(larger.steps_to_final) > places
    for time in range(700, 1000):
        at_once = jax.tree.map(grown, replay.replace(rows=larger.rows), larger)
        after = step(jnp.int32(time), at_once.with_more_places(places))
        assert after.held_steps(jnp.int32(time + 1)) > replay.held_steps(jnp.int32(time))
        replay = step(jnp.int32(time), replay)
    # So it is with the final observations of terminations.
    many = replay.terminals.replace(count=jnp.array([7 * places], jnp.int32))
    assert replay.replace(terminals=many).with_more_places(places).terminals.count == places


@pytest.mark.parametrize("n_step", mark_others(pytest.mark.slow, (3,), (1, 3, 5)))
def test_a_cut_may_come_at_any_moment(n_step):
    """An episode is cut off at a resume, whatever happened in the steps before."""
    script = _script(seed=n_step, early=0.3)
    for cut in range(STEPS - ROWS, STEPS - 1):
        replay = _empty(n_step)
        changed = [list(steps) for steps in script]
        for time in range(cut + 2):
            replay = _append(replay, np.int32(time), _row(script[time], time))
            if time == cut:
                names = [_name(time + 1, e, False) for e in range(ENVIRONMENTS)]
                following = np.array(names, np.float32) + np.float32([0.0, 0.0, 2.0])
                replay = replay.cut(np.int32(time + 1), following)
                for environment, step in enumerate(script[time]):
                    if not step.terminated:
                        changed[time][environment] = step._replace(truncated=True)
                    after = script[time + 1][environment]
                    changed[time + 1][environment] = after._replace(
                        observation=tuple(following[environment].tolist())
                    )
        valid = _transitions(changed, cut + 2, n_step)
        newest = max(
            (
                cuts[-len(replay.steps_to_final) - 1]
                for cuts in _truncations(changed, cut + 2)
                if len(cuts) > len(replay.steps_to_final)
            ),
            default=-1,
        )
        valid = {name: rest for name, rest in valid.items() if name[0] - 1.0 > newest}
        assert _check(_sample(replay, jax.random.key(cut), np.int32(cut + 2), 512), valid).min() > 0


def test_an_observation_is_stored_once():
    rows, environments, size, actions = 1000, 2, 17, 6
    for interval in (10, 50):
        replay = Replay.create(
            jnp.zeros((environments, size)),
            actions,
            capacity=(rows - 1) * environments,
            truncation_interval=interval,
        )
        assert replay.rows == rows
        places = rows // interval + 1
        row, place = (size + actions + 2) * 4, (size + 1) * 4
        padding = 1 + MOST_PADDING
        blocks = (5 * row + 14 * place) * padding  # the last one may be nearly empty
        bound = environments * ((rows * row + places * place) * padding + blocks + 8)
        assert sum(leaf.nbytes for leaf in jax.tree.leaves(replay)) <= bound


def test_places_of_any_number_are_told_apart():
    """Endings are float32, which has no odd numbers beyond 2^24."""
    for capacity, places in ((2**16, 2**16 + 2), (2**24, 2**24 - TRUNCATED)):
        create = partial(Replay.create, action_size=1, capacity=capacity)
        replay = jax.eval_shape(create, jnp.zeros((1, 1)))
        assert len(replay.steps_to_final) == places
    last = np.float32(places - 1 + TRUNCATED)
    assert last - np.float32(1) == last - 1 != last


def test_appends_of_many_runs_are_slice_updates():
    runs = 4

    def many(tree):
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (runs, *x.shape)), tree)

    row = many({name: jnp.asarray(x) for name, x in _row(_script(0)[0], 0).items()})
    append = jax.vmap(lambda replay, step, row: replay.append(step, **row), in_axes=(0, None, 0))
    replay = Replay.create(
        jnp.zeros((ENVIRONMENTS, 3)), ACTIONS, capacity=20 * CAPACITY, truncation_interval=EPISODE
    )
    lowered = jax.jit(append, donate_argnums=0).lower(many(replay), jnp.int32(0), row)
    program = lowered.compile().as_text()
    sizes = ",".join(str(size) for size in (runs, *replay.steps.blocks.shape))
    ring = rf"f32\[{sizes}\]\S* "
    assert re.search(ring + r"dynamic-update-slice\(", program)
    assert not re.search(ring + r"scatter\(", program)


def test_runs_under_vmap_are_the_runs_alone():
    scripts = [_script(seed) for seed in (1, 2)]
    empty = _empty(3)
    together = jax.tree.map(lambda x: jnp.stack([x, x]), empty)
    append = jax.jit(jax.vmap(lambda r, step, row: r.append(step, **row), in_axes=(0, None, 0)))
    alone = [empty, empty]
    for time in range(2 * ROWS):
        rows = [_row(script[time], time) for script in scripts]
        stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        together = append(together, np.int32(time), stacked)
        step = np.int32(time)
        alone = [_append(replay, step, row) for replay, row in zip(alone, rows, strict=True)]
    for run, replay in enumerate(alone):
        pairs = zip(jax.tree.leaves(together), jax.tree.leaves(replay), strict=True)
        for batched, single in pairs:
            np.testing.assert_array_equal(batched[run], single)


class Reference:
    """Priorities of a prioritised replay, in numpy."""

    def __init__(self, replay: Replay):
        self.values = np.zeros((replay.rows, ENVIRONMENTS))
        self.largest = 1.0

    def append(self, time: int, n_step: int, origin: int = 0) -> None:
        """With what step number `time` makes complete, and what it overwrites."""
        self.values[(time + 1) % len(self.values)] = 0.0
        first = time + 1 - n_step
        if first >= origin:
            self.values[first % len(self.values)] = self.largest

    def put(self, index: np.ndarray, error: np.ndarray) -> None:
        """With the priorities of errors."""
        priority = (np.float64(error) + 1e-6) ** PRIORITY
        flat = self.values.reshape(-1)
        flat[index] = 0.0
        np.maximum.at(flat, index, priority)
        self.largest = max(self.largest, priority.max())

    def check(self, replay: Replay) -> None:
        """Compares all that are stored."""
        stored = np.asarray(replay.priorities.values).ravel()
        np.testing.assert_allclose(stored[: self.values.size], self.values.ravel(), rtol=1e-5)
        assert not stored[self.values.size :].any()


@pytest.mark.parametrize("n_step", mark_others(pytest.mark.slow, (3,), (1, 3)))
def test_every_prioritised_sample_is_a_transition_of_the_list(n_step):
    """What is overwritten or not complete yet has no priority, as the ring goes round."""
    script = _script(seed=n_step)
    replay = _empty(n_step, prioritized=True)
    reference = Reference(replay)
    generator = np.random.default_rng(0)
    prioritize = jax.jit(Replay.prioritize)
    for time, steps in enumerate(script):
        replay = _append(replay, np.int32(time), _row(steps, time))
        reference.append(time, n_step)
        reference.check(replay)
        count = time + 1
        if count < n_step:
            continue
        valid = _transitions(script, count, n_step)
        assert (reference.values > 0.0).sum() == len(valid)
        sample, index = _sample_by_priority(replay, jax.random.key(time), np.int32(count), 64)
        _check(sample, valid)
        probability = reference.values.ravel()[index] / reference.values.sum()
        weight = (len(valid) * probability) ** -IMPORTANCE
        np.testing.assert_allclose(sample.weight, weight / weight.max(), rtol=1e-4)
        # Errors of an earlier draw count too, and some transitions are drawn several times.
        error = np.float32(generator.gamma(0.5, 4.0, 64))
        replay = prioritize(replay, index, error, jnp.float32(PRIORITY))
        reference.put(np.asarray(index), error)
        reference.check(replay)
    assert STEPS // replay.rows >= 4  # the ring was written over several times


@pytest.mark.parametrize("n_step", mark_others(pytest.mark.slow, (3,), (1, 3)))
def test_prioritised_samples_are_in_proportion(n_step):
    script = _script(seed=7)
    replay = _empty(n_step, prioritized=True)
    for time in range(STEPS):
        replay = _append(replay, np.int32(time), _row(script[time], time))
    valid = _transitions(script, STEPS, n_step)
    sample, index = _sample_by_priority(replay, jax.random.key(0), np.int32(STEPS), 2048)
    # The observation says which transition it is.
    error = np.asarray(sample.observation)[:, 0] % 5.0 + 0.3
    replay = replay.prioritize(index, error, jnp.float32(PRIORITY))
    draw = jax.vmap(lambda key: _sample_by_priority(replay, key, np.int32(STEPS), 1)[0])
    sample = jax.jit(draw)(jax.random.split(jax.random.key(1), 20_000))
    counts = _check(jax.tree.map(lambda x: x[:, 0], sample), valid)
    priority = (np.array([name[0] % 5.0 + 0.3 for name in valid]) + 1e-6) ** PRIORITY
    often = 20_000 * priority / priority.sum()
    assert ((counts - often) ** 2 / often).sum() < stats.chi2.ppf(0.999, len(valid) - 1)


def test_a_replay_that_was_left_behind_is_never_drawn_from():
    """After a resume without it, counters go on and the ring is empty."""
    origin, n_step = 40, 3
    script = _script(seed=3)
    replay = _empty(n_step, prioritized=True)
    replay = jax.tree.map(jnp.zeros_like, replay)
    first = np.array([_name(origin, environment, False) for environment in range(ENVIRONMENTS)])
    replay = replay.cut(np.int32(origin), first.astype(np.float32))
    for time in range(origin, STEPS):
        assert bool((replay.priorities.totals > 0.0).any()) == (time >= origin + n_step)
        replay = _append(replay, np.int32(time), _row(script[time], time), np.int32(origin))
    valid = _transitions(script, STEPS, n_step)
    key = jax.random.key(0)
    sample, _ = _sample_by_priority(replay, key, np.int32(STEPS), 512, np.int32(origin))
    assert _check(sample, valid).min() > 0
    np.testing.assert_allclose(sample.weight, 1.0)


def test_errors_that_are_not_finite_do_no_harm():
    """A run that diverged goes on beside the others."""
    replay = _empty(1, prioritized=True)
    for time, steps in enumerate(_script(seed=0)[:5]):
        replay = _append(replay, np.int32(time), _row(steps, time))
    error = jnp.array([jnp.nan, jnp.inf, -jnp.inf, 2.0])
    replay = replay.prioritize(jnp.arange(4), error, jnp.float32(PRIORITY))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(replay.priorities))
    np.testing.assert_allclose(replay.priorities.values[0, 3], 2.0**PRIORITY, rtol=1e-5)


def test_uniform_samples_need_no_priorities():
    assert _empty(1).priorities is None
    leaves, more = (len(jax.tree.leaves(_empty(1, p))) for p in (False, True))
    assert more - leaves == 4

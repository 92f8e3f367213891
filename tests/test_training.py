"""The training program: chunks, batches of runs, counts of updates, divergence, compilation."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import monitoring

from purejax_simba.agents.agent import Agent, Noise, UpdateMetrics
from purejax_simba.config import Config, ReplayConfig, StartConfig
from purejax_simba.defaults import resolve
from purejax_simba.evaluation import evaluate, evaluation_policy
from purejax_simba.run_state import Counters, Progress, RunState
from purejax_simba.runs.compiling import Compiler
from purejax_simba.runs.devices import Placement
from purejax_simba.runs.runs import Runs
from purejax_simba.training import make_program, make_train
from tests.helpers import linear, reference_runs
from tests.helpers.counter import Counter
from tests.helpers.reference_runs import (
    CONFIG,
    EPISODE,
    RUNS,
    ReferenceRuns,
    assert_close,
    assert_identical,
    linear_runs,
    pick,
)
from tests.helpers.stored import stored


@functools.cache
def _simba_runs(count: int = RUNS) -> ReferenceRuns:
    return reference_runs.make(CONFIG, count)


def test_chunks_of_any_size_give_the_same_numbers():
    runs = _simba_runs()
    whole = runs.after(80)
    assert_identical(whole, runs.after(1, 7, 72))
    assert int(whole[0].interactions) == 80
    assert whole[1].agent.updates.tolist() == [31] * RUNS
    assert (whole[1].progress.diverged_at == -1).all()


@pytest.mark.slow
def test_make_train_is_the_same_program_in_one_piece():
    runs = linear_runs()
    with linear.agents():
        train = jax.jit(jax.vmap(make_train(CONFIG)))
        state, reports = train(runs.keys, runs.hyperparameters)
    evaluations, (counters, chunked) = [], runs.start()
    for chunks in ([], [1, 39], [7, 33]):
        for size in chunks:
            size = jnp.int32(size)
            counters, chunked = runs.advance(counters, chunked, runs.hyperparameters, size)
        evaluations.append(runs.evaluate(counters, chunked, runs.hyperparameters))
    for part in ("agent", "replay", "observation_moments", "reward_scale"):
        # Two programs, so two ways to round.
        assert_close(getattr(state, part), getattr(chunked, part), 1e-5)
    for name, value in reports.evaluation._asdict().items():
        expected = np.stack([getattr(metrics, name) for metrics in evaluations], axis=1)
        np.testing.assert_allclose(value, expected, rtol=1e-4)
    progress = reports.progress
    assert progress.updates.tolist() == [[0, 0, 31]] * 2
    assert progress.last_return.shape == progress.episode_return.shape == (2, 3, 1)
    assert progress.diverged_at.tolist() == [[-1] * 3] * 2
    for name in UpdateMetrics._fields:
        assert getattr(progress.update_sums, name).shape == (2, 3)


@pytest.mark.slow
def test_a_seed_of_a_batch_is_the_seed_alone():
    runs = _simba_runs()
    seed = 5
    alone = _simba_runs(1)._replace(
        keys=runs.keys[seed : seed + 1], hyperparameters=pick(runs.hyperparameters, slice(1))
    )
    _, together = runs.after(60)
    _, single = alone.after(60)
    assert single.agent.updates.tolist() == [11]
    for part in ("actor", "critic", "target_critic", "log_temperature"):
        ours, theirs = getattr(together.agent, part), getattr(single.agent, part)
        assert_close(pick(ours, seed), pick(theirs, 0), 1e-4)
    for part in ("replay", "observation_moments", "reward_scale"):
        assert_close(pick(getattr(together, part), seed), pick(getattr(single, part), 0), 1e-4)


def test_different_seeds_are_different_runs():
    _, state = _simba_runs().after(60)
    for name in ("observation", "action", "reward"):
        rows = getattr(stored(state.replay), name).reshape(RUNS, -1)
        assert len(np.unique(rows, axis=0)) == RUNS


@pytest.mark.parametrize("learning_rate", [np.nan, 1e30])
def test_a_run_that_diverges_leaves_its_neighbours_alone(learning_rate):
    runs = _simba_runs()
    bad, others = 3, np.array([0, 1, 2, 4, 5, 6, 7])
    numbers = runs.hyperparameters
    rates = numbers.learning_rate.at[bad].set(learning_rate)
    disturbed = runs._replace(hyperparameters=numbers.replace(learning_rate=rates))  # type: ignore[attr-defined]
    counters, healthy = runs.after(80)
    counters_too, state = disturbed.after(80)
    assert_identical(counters, counters_too)
    assert_identical(pick(healthy, others), pick(state, others))
    assert (state.progress.diverged_at[others] == -1).all()
    assert 50 <= int(state.progress.diverged_at[bad]) <= 55  # the first update follows the 50th
    assert np.isfinite(state.replay.steps.blocks[bad]).all()
    # It is frozen from then on.
    _, later = disturbed.after(100)
    assert_identical(pick(state.agent, bad), pick(later.agent, bad))
    # So is what its observations are normalised with, or its policy would be another.
    moments = state.observation_moments, later.observation_moments
    assert_identical(*(pick(each, bad) for each in moments))
    assert (moments[1].count[others] > moments[0].count[others]).all()
    assert later.progress.diverged_at[bad] == state.progress.diverged_at[bad]


def _expected_updates(config: Config, interactions: int) -> int:
    """Updates due: the ratio times the interactions that end with enough transitions."""
    complete = config.replay.n_step - 1
    learning = sum(
        (done - complete) * config.num_environments >= config.learning_starts
        for done in range(1, interactions + 1)
    )
    ratio = Fraction(str(config.update_to_data_ratio)) * config.num_environments
    return int(learning * ratio)


@pytest.mark.parametrize(
    ("ratio", "environments", "n_step"),
    [
        pytest.param(2.0, 1, 1, marks=pytest.mark.slow),
        pytest.param(0.5, 1, 1, marks=pytest.mark.slow),
        (0.3, 3, 2),
    ],
)
def test_number_of_updates(ratio, environments, n_step):
    config = dataclasses.replace(
        CONFIG,
        update_to_data_ratio=ratio,
        num_environments=environments,
        total_env_steps=80 * environments,
        evaluation_interval=40 * environments,
        replay=ReplayConfig(capacity=60, batch_size=16, n_step=n_step),
    )
    runs = linear_runs(config)
    first = -(-config.learning_starts // environments) + n_step - 1
    counters, state = runs.after(first - 1)
    assert state.agent.updates.tolist() == [0, 0]
    random_actions = stored(state.replay).action
    assert (np.abs(random_actions) <= 1).all()
    for interactions in range(first, first + 12):
        counters, state = runs.advance(counters, state, runs.hyperparameters, jnp.int32(1))
        expected = _expected_updates(runs.program.config, interactions)
        assert state.agent.updates.tolist() == [expected] * 2
        assert int(counters.updates) == expected
        if interactions == first:
            assert expected == int(ratio * environments)
    assert stored(state.replay).action.shape[2] == environments
    assert state.environment.observation.shape == (2, environments, 3)
    assert state.observation_moments.count.tolist() == [(first + 11) * environments] * 2
    # Environments of a run are not copies of each other.
    assert len(np.unique(state.environment.observation[0], axis=0)) == environments


@pytest.mark.parametrize(
    ("resets", "before", "since"),
    # Updates begin with interaction 50; a reset comes after the evaluation at its env step.
    [
        pytest.param({"reset_env_steps": (60,)}, 60, 10, marks=pytest.mark.slow),
        pytest.param({"reset_updates": (3, 8)}, 52, 13, marks=pytest.mark.slow),
    ],
)
def test_networks_and_optimisers_begin_anew(resets, before, since):
    runs = linear_runs()
    agent = dataclasses.replace(CONFIG.agent, **resets)
    reset_runs = linear_runs(dataclasses.replace(CONFIG, agent=agent))
    assert_identical(runs.after(before), reset_runs.after(before))
    counters, state = runs.after(70)
    reset_counters, reset_state = reset_runs.after(70)
    assert_identical(counters, reset_counters)
    assert reset_state.agent.updates.tolist() == state.agent.updates.tolist() == [21, 21]
    for name in ("actor_optimizer", "critic_optimizer", "temperature_optimizer"):
        assert getattr(reset_state.agent, name).count.tolist() == [since] * 2
    assert np.abs(reset_state.agent.critic - state.agent.critic).max() > 0.01
    assert reset_state.progress.diverged_at.tolist() == [-1, -1]


@pytest.mark.slow
def test_resets_that_never_come_may_be_asked_for():
    """Beyond what a run can count, for the same settings in runs of any length."""
    agent = dataclasses.replace(CONFIG.agent, reset_updates=(2**33,), reset_env_steps=(10**12,))
    runs = linear_runs(dataclasses.replace(CONFIG, agent=agent))
    assert_identical(runs.after(60), linear_runs().after(60))


def test_a_run_that_diverged_does_not_begin_anew():
    """Not even where a reset is due among the updates of the same interaction."""
    agent = dataclasses.replace(CONFIG.agent, reset_updates=(2,))
    runs = linear_runs(dataclasses.replace(CONFIG, update_to_data_ratio=3.0, agent=agent))
    numbers = runs.hyperparameters
    rates = numbers.learning_rate.at[0].set(np.nan)
    disturbed = runs._replace(hyperparameters=numbers.replace(learning_rate=rates))  # type: ignore[attr-defined]
    _, state = disturbed.after(50)
    assert state.agent.updates.tolist() == [0, 3]
    assert state.progress.diverged_at.tolist() == [50, -1]
    _, start = runs.start()
    assert_identical(pick(state.agent, 0), pick(start.agent, 0))


def test_a_reset_comes_once_and_every_time_to_other_networks():
    """Before the first update of its interaction, however many follow."""
    agent = dataclasses.replace(CONFIG.agent, reset_env_steps=(59, 69))
    with linear.agents():
        program = make_program(dataclasses.replace(CONFIG, agent=agent))
    runs = linear_runs()
    state, numbers = pick(runs.start()[1], 0), pick(runs.hyperparameters, 0)

    @jax.jit
    def actor(interactions: int, number: int) -> jax.Array:
        """After what precedes an update, where 30 updates came before this interaction."""
        counters = Counters.create().replace(
            interactions=interactions, updates=30, last_update=interactions - 1
        )
        key = jax.random.fold_in(state.key, interactions)
        return program._reset_if_due(key, counters, state, numbers, jnp.int32(number)).actor

    start = np.asarray(state.agent.actor)
    first, second = actor(60, 30), actor(70, 30)
    for one, other in ((first, start), (second, start), (first, second)):
        assert np.abs(one - other).max() > 0.01
    for interactions, number in ((60, 31), (59, 30), (61, 30)):
        np.testing.assert_array_equal(actor(interactions, number), start)


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        ((53, 56, 59, 63, 66), 63),  # not every interaction has one
        ((53, 56, 90, 91), 90),  # while a new replay filled, from whichever interaction on
        ((53, 56, 60, 61), 60),
    ],
)
def test_a_reset_waits_for_an_update(updates, expected):
    agent = dataclasses.replace(CONFIG.agent, reset_env_steps=(59,))
    with linear.agents():
        program = make_program(dataclasses.replace(CONFIG, agent=agent))
    runs = linear_runs()
    state, numbers = pick(runs.start()[1], 0), pick(runs.hyperparameters, 0)

    @jax.jit
    def is_reset(last_update: int, interactions: int) -> jax.Array:
        counters = Counters.create().replace(interactions=interactions, last_update=last_update)
        key = jax.random.key(1)
        agent = program._reset_if_due(key, counters, state, numbers, jnp.int32(0))
        return (agent.actor != state.agent.actor).any()

    found = [now for last, now in itertools.pairwise((50, *updates)) if is_reset(last, now)]
    assert found == [expected]


def test_it_is_known_when_the_last_update_came():
    """Updates begin with interaction 50, and there are three in ten interactions."""
    runs = linear_runs(dataclasses.replace(CONFIG, update_to_data_ratio=0.3))
    found = [int(runs.after(interactions)[0].last_update) for interactions in (49, 52, 53, 58, 60)]
    assert found == [0, 0, 53, 56, 59]


def test_an_update_sees_its_own_step_and_the_statistics_before_it():
    """The first update, of interaction 50, put together from the states around it."""
    runs = linear_runs()
    (_, before), (_, after) = runs.after(49), runs.after(50)
    before, after, numbers = pick(before, 1), pick(after, 1), pick(runs.hyperparameters, 1)
    assert (int(before.agent.updates), int(after.agent.updates)) == (0, 1)
    fold = jax.random.fold_in
    update_key = fold(fold(before.key, 2), 49)
    sample_key, noise_key = (fold(fold(update_key, number), 0) for number in range(2))
    drawn = after.replay.sample(sample_key, jnp.int32(50), 16, numbers.discount)
    # The newest transition is among those that can be drawn.
    mean = np.asarray(before.observation_moments.mean.high, np.float64)
    deviation = np.sqrt(np.asarray(before.observation_moments.variance, np.float64) + 1e-8)
    scale = before.reward_scale
    deviation_of_returns = np.sqrt(float(scale.moments.variance[0]) + 1e-8)
    denominator = max(deviation_of_returns, float(scale.largest) / 5.0)
    batch = drawn._replace(
        observation=jnp.float32((drawn.observation - mean) / deviation),
        next_observation=jnp.float32((drawn.next_observation - mean) / deviation),
        reward=drawn.reward / denominator,
    )
    normal = jax.random.normal(noise_key, (2, 16, 1))
    noise = Noise(normal[0], normal[1])
    expected, metrics, _ = jax.jit(runs.program.agent.update)(
        before.agent, batch, noise, numbers, jnp.int32(0)
    )
    assert_close(after.agent, expected, 1e-4)
    assert_close(after.progress.update_sums, metrics, 1e-4)


def test_random_actions_come_before_what_was_learned_here_or_elsewhere():
    runs = linear_runs()
    state, numbers = pick(runs.start()[1], 0), pick(runs.hyperparameters, 0)
    keys = jax.random.split(jax.random.key(1))
    observation = jnp.ones((1, 3))

    def acts(counters: Counters, **start: Any) -> bool:
        """Whether the policy does."""
        with linear.agents():
            program = make_program(dataclasses.replace(CONFIG, start=StartConfig(**start)))
        _, action = program._act(*keys, counters, state, observation, numbers)
        random = jax.random.uniform(keys[1], (1, 1), minval=-1.0, maxval=1.0)
        noise = jax.random.normal(keys[0], (1, 1))
        own = program.agent.explore(state.agent, observation, noise, numbers)
        assert np.array_equal(action, own) != np.array_equal(action, random)
        return np.array_equal(action, own)

    def after(interactions: int, replay_start: int = 0) -> Counters:
        return Counters.create().replace(
            interactions=jnp.int32(interactions), replay_start=jnp.int32(replay_start)
        )

    assert [acts(after(count)) for count in (0, 49, 50)] == [False, False, True]
    assert acts(after(60, replay_start=60))  # resumed without its replay
    assert acts(after(0), run="earlier")
    assert not acts(after(0), run="earlier", parts=("critic", "temperature"))


def test_sums_begin_anew_and_any_loss_that_is_not_finite_is_noticed():
    metrics = UpdateMetrics(*jnp.arange(9.0))
    progress = Progress.create(1)
    for number in range(3):
        progress = progress.begin_interval(jnp.bool_(number == 1))
        progress = progress.add_update(metrics, jnp.int32(number))
    assert int(progress.updates) == 2
    assert [float(total) for total in progress.update_sums] == [2.0 * x for x in range(9)]
    assert int(progress.diverged_at) == -1
    for name in ("actor_loss", "critic_loss"):
        bad = metrics._replace(**{name: jnp.float32(np.nan)})
        diverged = progress.add_update(bad, jnp.int32(7)).add_update(bad, jnp.int32(8))
        assert int(diverged.diverged_at) == 7


def test_means_over_very_many_updates_keep_their_digits(monkeypatch):
    """Added to one sum, each of a hundred thousand would lose a thousandth of what it is."""
    program, reported = make_program(CONFIG), jnp.float32(0.0137)

    def learn(*_) -> tuple:
        return None, UpdateMetrics(*[reported] * len(UpdateMetrics._fields)), None

    monkeypatch.setattr(program, "agent", dataclasses.replace(program.agent, update=learn))
    monkeypatch.setattr(program, "draw", lambda *_: (None, None, None))
    nothing = dict.fromkeys(field.name for field in dataclasses.fields(RunState))

    def interact(number: jax.Array, state: RunState) -> RunState:
        return program.update(jax.random.key(0), Counters.create(), state, None, 1000)[1]

    begin = RunState(**(nothing | {"progress": Progress.create(1)}))
    progress = jax.jit(lambda: jax.lax.fori_loop(0, 100, interact, begin))().progress
    assert progress.updates == 100_000
    np.testing.assert_allclose(progress.update_sums.temperature / 100_000, 0.0137, rtol=1e-4)


def test_an_actor_that_is_not_finite_plays_zeros():
    agent = Agent(init=None, act=lambda actor, x, *_: x * actor, explore=None)  # type: ignore[arg-type]
    config = dataclasses.replace(CONFIG, normalize_observations=False)
    act = evaluation_policy(config, agent, np.float32([np.nan, np.inf, 0.5]), None, None)  # type: ignore[arg-type]
    assert act(jnp.ones((2, 3)), jax.random.key(0)).tolist() == [[0.0, 0.0, 0.5]] * 2


class Late(Counter):
    """Ends after one to three steps, by its start, and succeeds in step 2, whoever looks."""

    episode_length = 3

    def step(self, state: Any, action: jax.Array) -> tuple[Any, Any]:
        state, timestep = super().step(state, action)
        ended = state.steps >= 1 + (3.0 * state.start).astype(jnp.int32)
        return state, timestep.replace(terminated=ended)  # type: ignore[attr-defined]


def test_what_comes_after_the_end_of_an_episode_does_not_count():
    keys = jax.random.split(jax.random.key(4), 20)
    starts = np.asarray(jax.vmap(jax.random.uniform)(keys))
    lengths = 1 + (3.0 * starts).astype(int)
    assert set(lengths) == {1, 2, 3}
    found = evaluate(Late(), lambda x, _: jnp.full((20, 1), 0.5), jax.random.key(4), 20)
    np.testing.assert_allclose(found.avg_length, lengths.mean(), rtol=1e-6)
    np.testing.assert_allclose(found.avg_return, 0.5 * lengths.mean(), rtol=1e-6)
    np.testing.assert_allclose(found.avg_success, (lengths >= 2).mean(), rtol=1e-6)


def test_evaluation_changes_nothing_and_plays_whole_episodes():
    runs = linear_runs()
    counters, state = runs.after(30)
    before = jax.tree.map(jnp.copy, state)
    metrics = runs.evaluate(counters, state, runs.hyperparameters)
    assert_identical(state, before)
    assert metrics.avg_length.tolist() == [EPISODE, EPISODE]
    assert metrics.avg_success.tolist() == [0, 0]
    assert_identical(metrics, runs.evaluate(counters, state, runs.hyperparameters))
    again = runs.evaluate(counters.replace(interactions=jnp.int32(31)), state, runs.hyperparameters)  # type: ignore[attr-defined]
    assert (again.avg_return != metrics.avg_return).all()


def test_evaluation_returns_are_those_of_a_loop():
    runs = linear_runs()
    counters, state = runs.after(30)
    measured = float(runs.evaluate(counters, state, runs.hyperparameters).avg_return[0])
    one = pick(state, 0)
    environment = runs.program.environment
    reset, step = jax.jit(environment.reset), jax.jit(environment.step)
    key = jax.random.fold_in(one.evaluation_key, 30)
    mean = np.asarray(one.observation_moments.mean.high, np.float64)
    deviation = np.sqrt(np.asarray(one.observation_moments.variance, np.float64) + 1e-8)
    returns = []
    for episode_key in jax.random.split(key, CONFIG.num_evaluation_episodes):
        inner, observation = reset(episode_key)
        total = 0.0
        for _ in range(EPISODE):
            normalised = (np.asarray(observation, np.float64) - mean) / deviation
            action = np.tanh(normalised @ np.asarray(one.agent.actor, np.float64))
            inner, timestep = step(inner, jnp.asarray(action, jnp.float32))
            observation = timestep.observation
            total += float(timestep.reward)
        assert bool(timestep.truncated)
        returns.append(total)
    np.testing.assert_allclose(measured, np.mean(returns), rtol=1e-3)


def test_episode_returns_are_tracked():
    runs = linear_runs()
    _, state = runs.after(EPISODE - 1)
    assert np.isnan(state.progress.last_return).all()
    _, state = runs.after(EPISODE + 4)
    replay = stored(state.replay)
    rewards = replay.reward[:, 1:, 0].astype(np.float64)
    expected = rewards[:, :EPISODE].sum(1)
    np.testing.assert_allclose(state.progress.last_return[:, 0], expected, rtol=1e-5)
    expected = rewards[:, EPISODE : EPISODE + 4].sum(1)
    np.testing.assert_allclose(state.progress.episode_return[:, 0], expected, rtol=1e-5)
    assert np.asarray(state.replay.truncations).sum() == 2
    # Statistics are of what is acted on, the first observation of the second episode among them.
    seen = replay.observation[0, 1 : EPISODE + 5, 0].astype(np.float64)
    moments = pick(state.observation_moments, 0)
    np.testing.assert_allclose(moments.mean.high, seen.mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(moments.variance, seen.var(0), rtol=1e-3)


@pytest.fixture
def compilations() -> Iterator[list[float]]:
    """Durations of the compilations so far."""
    durations: list[float] = []
    listening = True

    def listen(event: str, duration: float, **_: Any) -> None:
        if listening and event == "/jax/core/compile/backend_compile_duration":
            durations.append(duration)

    monitoring.register_event_duration_secs_listener(listen)
    yield durations
    listening = False


@pytest.mark.parametrize("at_a_time", [RUNS, pytest.param(RUNS // 2, marks=pytest.mark.slow)])
def test_everything_is_compiled_once(compilations, monkeypatch, at_a_time):
    monkeypatch.setattr("purejax_simba.runs.devices.runs_at_a_time", lambda *_: at_a_time)
    with linear.agents():
        program = make_program(CONFIG)
    compiler, placement = Compiler(program), Placement.choose(program)
    assert len(placement.groups) == RUNS // at_a_time
    compilations.clear()
    compiler.compile(placement)
    assert len(compilations) >= 3
    compilations.clear()
    runs = Runs(compiler, placement)
    for interactions in (1, 7, 42, 30):
        runs.advance(interactions)
        assert runs.evaluate().avg_return.shape == (RUNS,)
    assert compilations == []
    assert int(runs.counters.interactions) == 80
    assert runs.get(lambda state: state.agent.updates).tolist() == [31] * RUNS


def test_types_of_the_state_are_strong_and_never_change():
    program = make_program(CONFIG)
    numbers = program.hyperparameters()
    state = jax.eval_shape(program.init, jax.random.key(0), numbers)
    before = (Counters.create(), state)
    after = jax.eval_shape(program.advance, *before, numbers, jnp.int32(1))
    assert jax.tree.structure(before) == jax.tree.structure(after)
    pairs = zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True)
    for (path, a), b in pairs:
        name = jax.tree_util.keystr(path)
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        assert not a.weak_type, name
        assert not b.weak_type, name


def test_defaults_that_depend_on_the_task():
    config = resolve(dataclasses.replace(CONFIG, episode_length=None, replay=ReplayConfig()))
    assert config.episode_length == 200
    assert config.discount == pytest.approx(1 - 5 / 200)
    assert config.update_to_data_ratio == 1.0
    assert config.stored_transitions == 80  # no more than the run fills
    assert config.interactions == 80
    with pytest.raises(ValueError, match="call resolve"):
        _ = CONFIG.interactions

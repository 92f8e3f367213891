"""Training with a prioritised replay: errors, weights, priorities, going on."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba.agents import registry
from purejax_simba.agents.agent import AgentState
from purejax_simba.agents.values import Bootstrap
from purejax_simba.config import Config, ReplayConfig
from purejax_simba.data.priorities import importance_exponent
from purejax_simba.data.replay import Replay
from purejax_simba.run_state import Counters
from purejax_simba.runs.checkpoint import Checkpoint
from purejax_simba.runs.compiling import Compiler
from purejax_simba.runs.devices import Placement
from purejax_simba.runs.runs import Runs
from purejax_simba.runs.starting import Start
from purejax_simba.training import make_program
from tests.helpers import linear, reference_runs, updates
from tests.helpers.examples import mark_others
from tests.helpers.stored import stored

CONFIG = dataclasses.replace(
    reference_runs.CONFIG, replay=ReplayConfig(capacity=60, batch_size=16, prioritized=True)
)


LEARNERS = [name for name in registry.AGENTS if name != "random"]
EXAMPLES = ("sac", "crossq")  # with a target critic and without


@pytest.mark.parametrize("name", mark_others(pytest.mark.slow, EXAMPLES, LEARNERS))
def test_every_agent_weighs_its_losses_and_says_how_far_off_it_was(name):
    agent, numbers = updates.make(name, num_critics=3 if name == "redq" else 2)
    numbers = numbers.replace(dropout_rate=np.float32(0.0))
    state, batch = updates.start(agent, numbers)
    # What follows does not count, so that the target is known.
    batch = jax.tree.map(jnp.asarray, batch._replace(discount=np.zeros_like(batch.discount)))
    weight = np.abs(updates.draw(4, updates.BATCH))
    weights = np.stack([weight, 2.0 - weight, np.ones_like(weight)])
    noise = updates.noise(5)

    def update(weight: jax.Array) -> tuple:
        weighted = batch._replace(weight=weight)
        return agent.update(state, weighted, noise, numbers, jnp.int32(0))

    def expect() -> jax.Array:
        outputs = updates.outputs(agent, state.critic, batch.observation, batch.action, numbers)
        value = agent.actor_critic.value
        bootstrap = Bootstrap(batch.reward, batch.discount, batch.discount)
        target = value.target(outputs[0], bootstrap, numbers.value_range)
        return value.error(outputs, target).mean(0)

    (after, metrics, errors), expected = jax.jit(lambda: (jax.vmap(update)(weights), expect()))()
    loss = metrics.critic_loss
    assert abs(loss[0] - loss[2]) > 1e-3 * loss[2]
    np.testing.assert_allclose(loss[0] + loss[1], 2.0 * loss[2], rtol=1e-4)
    moved = [np.abs(leaf[0] - leaf[2]).max() for leaf in jax.tree.leaves(after.critic)]
    assert max(moved) > 1e-6
    np.testing.assert_allclose(errors[0], errors[2], rtol=1e-5)
    assert errors.shape == (3, updates.BATCH)
    if name not in ("crossq", "flash_sac"):  # their critics see the batch as a whole
        np.testing.assert_allclose(errors[2], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_weights_of_one_change_nothing():
    agent, numbers = updates.make("sac")
    state, batch = updates.start(agent, numbers)
    update = jax.jit(agent.update)
    noise = updates.noise(5)
    plain = update(state, batch, noise, numbers, jnp.int32(0))
    weighted = batch._replace(weight=np.ones(updates.BATCH, np.float32))
    same = update(state, weighted, noise, numbers, jnp.int32(0))
    jax.tree.map(np.testing.assert_array_equal, plain, same)


@pytest.mark.slow
def test_priorities_are_those_of_the_errors():
    """Critics that stay as they are, and targets that are rewards: errors can be told later."""
    config = dataclasses.replace(
        CONFIG,
        discount=0.0,
        update_to_data_ratio=1.5,
        num_environments=2,
        total_env_steps=160,
        evaluation_interval=80,
        normalize_observations=False,
        normalize_rewards=False,
        replay=dataclasses.replace(CONFIG.replay, n_step=2),
    )
    runs = reference_runs.linear_runs(config)
    exponents, none = np.float32([0.6, 0.3]), np.zeros(2, np.float32)
    numbers = runs.hyperparameters.replace(  # type: ignore[attr-defined]
        learning_rate=none, learning_rate_end=none, priority_exponent=exponents
    )
    _, state = runs._replace(hyperparameters=numbers).after(70)
    assert state.agent.updates.tolist() == [3 * (70 - 25)] * 2
    replay, steps = state.replay, stored(state.replay)
    rows = replay.rows
    assert rows == 32
    action, reward = (np.roll(array, -1, axis=1) for array in (steps.action, steps.reward))
    for run, exponent in enumerate(exponents):
        inputs = np.concatenate([steps.observation[run], action[run]], axis=-1)
        values = inputs.astype(np.float64) @ np.asarray(state.agent.critic[run, 0, :, 0])
        error = np.abs(values - reward[run])
        priorities = np.asarray(replay.priorities.values[run]).ravel()[: 2 * rows].reshape(rows, 2)
        complete = (70 - 2 - np.arange(30)) % rows
        assert set(np.flatnonzero(priorities.any(1))) == set(complete)
        priorities, expected = priorities[complete], (error[complete] + 1e-6) ** exponent
        is_drawn = np.abs(priorities / expected - 1.0) < 1e-3
        assert is_drawn.mean() > 0.9
        # What was not drawn yet has the largest so far, and that is 1 at first.
        assert (priorities[~is_drawn] >= 1.0).all()
        assert replay.priorities.largest[run] >= priorities.max()


@pytest.mark.slow
def test_weights_are_those_of_the_paper_at_every_moment():
    runs = reference_runs.linear_runs(CONFIG)
    for interactions in (50, 70):
        counters, state = runs.after(interactions)
        one, numbers = reference_runs.pick((state, runs.hyperparameters), 0)
        batch, _, entries = runs.program.draw(
            jax.random.split(jax.random.key(1), 3), counters, one, numbers
        )
        priority = np.asarray(one.replay.priorities.values, np.float64).ravel()
        count = min(interactions, 60)
        assert (priority > 0.0).sum() == count
        exponent = 0.4 + 0.6 * interactions / 80
        weight = (count * priority[entries] / priority.sum()) ** -exponent
        np.testing.assert_allclose(batch.weight, weight / weight.max(), rtol=1e-4)
        assert batch.weight.min() < 0.9


def test_the_importance_exponent_rises_to_one():
    numbers = reference_runs.linear_runs(CONFIG).program.hyperparameters()
    progress = jnp.array([0.0, 0.5, 1.0, 1.5])
    np.testing.assert_allclose(
        importance_exponent(numbers.importance_exponent, progress), [0.4, 0.7, 1.0, 1.0]
    )


@pytest.mark.slow
def test_chunks_of_any_size_give_the_same_numbers():
    runs = reference_runs.linear_runs(CONFIG)
    whole = runs.after(80)
    reference_runs.assert_identical(whole, runs.after(1, 7, 72))
    assert whole[1].agent.updates.tolist() == [31] * 2
    assert (whole[1].progress.diverged_at == -1).all()


@pytest.mark.slow
def test_a_seed_of_a_batch_is_the_seed_alone():
    runs = reference_runs.linear_runs(CONFIG)
    with linear.agents():
        alone = reference_runs.make(CONFIG, 1)._replace(keys=runs.keys[1:])
    _, together = runs.after(60)
    _, single = alone.after(60)
    assert single.agent.updates.tolist() == [11]
    for part in ("agent", "replay"):
        ours, theirs = getattr(together, part), getattr(single, part)
        ours, theirs = reference_runs.pick(ours, 1), reference_runs.pick(theirs, 0)
        reference_runs.assert_close(ours, theirs, 1e-4)


def test_without_priorities_nothing_is_carried():
    program = make_program(reference_runs.CONFIG)
    state = jax.eval_shape(program.init, jax.random.key(0), program.hyperparameters())
    assert state.replay.priorities is None
    program = make_program(dataclasses.replace(CONFIG, diagnostics="total"))
    state = jax.eval_shape(program.init, jax.random.key(0), program.hyperparameters())
    arguments = (Counters.create(), state, program.hyperparameters())
    assert "critic/gradient_norm" in jax.eval_shape(program.diagnose, *arguments)


@functools.cache
def _compiler(config: Config) -> Compiler:
    with linear.agents():
        return Compiler(make_program(config))


def _begin(config: Config, start: Start | None = None) -> Runs:
    compiler = _compiler(config)
    return (start or Start([None])).begin(compiler, Placement.choose(compiler.program), print)


def _go_on(config: Config, checkpoint: Checkpoint) -> Runs:
    return _begin(config, Start([0], checkpoint=checkpoint))


def _checkpoint(runs: Runs, with_replay: bool = True) -> Checkpoint:
    steps = int(runs.counters.interactions)
    notes = {"interactions": steps, "replay": with_replay, "metrics_bytes": [0]}
    return Checkpoint(steps, runs.snapshot(with_replay).named(), notes, [])


SHORT = dataclasses.replace(
    CONFIG, num_seeds=2, replay=dataclasses.replace(CONFIG.replay, capacity=1000)
)
LONG = dataclasses.replace(SHORT, total_env_steps=160)


def _state(runs: Runs) -> tuple[AgentState, Replay]:
    return runs.get(lambda state: (state.agent, state.replay))


def _stored(runs: Runs) -> np.ndarray:
    """Priorities, `(runs, entries)`."""
    priorities = _state(runs)[1].priorities
    assert priorities is not None
    stored = np.asarray(priorities.values).reshape(runs.placement.count, -1)
    np.testing.assert_allclose(priorities.totals.sum(-1), stored.sum(-1), rtol=1e-5)
    return stored


@pytest.mark.slow
def test_a_resumed_run_is_as_one_that_never_stopped(capsys):
    straight, first = _begin(SHORT), _begin(SHORT)
    straight.advance(80)
    first.advance(63)
    resumed = _go_on(SHORT, _checkpoint(first))
    assert "new episodes" not in capsys.readouterr().out
    resumed.advance(17)
    reference_runs.assert_identical(_state(resumed), _state(straight))


@pytest.mark.slow
def test_more_steps_keep_the_priorities_so_far():
    first = _begin(SHORT)
    first.advance(80)
    runs = _go_on(LONG, _checkpoint(first))
    before, after = _stored(first), _stored(runs)
    assert after.shape[1] > before.shape[1]
    np.testing.assert_array_equal(after[:, : before.shape[1]], before)
    runs.advance(80)
    assert (_stored(runs) > 0.0).sum(1).tolist() == [160, 160]


@pytest.mark.slow
def test_without_the_replay_only_new_transitions_are_drawn(capsys):
    first = _begin(SHORT)
    first.advance(75)  # in the middle of an episode
    updates = _state(first)[0].updates[0]
    runs = _go_on(LONG, _checkpoint(first, with_replay=False))
    assert "resumed, with new episodes" in capsys.readouterr().out
    assert not _stored(runs).any()
    # Nothing of the episodes that were under way goes on.
    assert first.get(lambda state: state.reward_scale.discounted_return).all()
    assert first.get(lambda state: state.progress.episode_return).all()
    assert not runs.get(lambda state: state.reward_scale.discounted_return).any()
    assert not runs.get(lambda state: state.progress.episode_return).any()
    runs.advance(60)
    assert [set(np.flatnonzero(run)) for run in _stored(runs)] == [set(range(75, 135))] * 2
    assert _state(runs)[0].updates.tolist() == [updates + 11] * 2

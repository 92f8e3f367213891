"""Episodes that end as they please: what is drawn from the replay of a whole program."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import envs
from purejax_simba.agents.agent import Batch
from purejax_simba.agents.registry import agent_settings
from purejax_simba.config import Config, ConfigError, ReplayConfig
from purejax_simba.data.replay import Replay
from purejax_simba.run_state import Counters
from purejax_simba.training import WITHHELD, make_program
from tests.helpers.examples import mark_others

LIMIT, SHORTEST, LONGEST = 100, 3, 10
DISCOUNT = 0.95


@struct.dataclass
class _State:
    key: jax.Array
    step: jax.Array
    length: jax.Array
    terminates: jax.Array


class Tagged(envs.Environment):
    """Says which episode it is in, and which step; it is truncated after 3 to 10 steps.

    One episode in `terminations` terminates instead.
    """

    observation_size, action_size = 3, 1
    episode_length: int | None = None

    def __init__(self, terminations: float = 0.25):
        self._terminations = terminations

    def reset(self, key: jax.Array) -> tuple[_State, jax.Array]:
        """See `envs.Environment`."""
        tag, length_key, end_key = jax.random.split(key, 3)
        length = jax.random.randint(length_key, (), SHORTEST, LONGEST + 1)
        terminates = jax.random.uniform(end_key) < self._terminations
        state = _State(tag, jnp.zeros((), jnp.int32), length, terminates)
        return state, self._observe(state)

    def step(self, state: _State, action: jax.Array) -> tuple[_State, envs.TimeStep]:
        """See `envs.Environment`."""
        observation = self._observe(state)
        state = state.replace(step=state.step + 1)  # type: ignore[attr-defined]
        ended = state.step >= state.length
        return state, envs.TimeStep(
            observation=self._observe(state),
            reward=self._reward(observation),
            terminated=ended & state.terminates,
            truncated=ended & ~state.terminates,
            success=jnp.zeros((), bool),
        )

    def _observe(self, state: _State) -> jax.Array:
        # 23 bits of its random number name an episode.
        tag = jax.random.bits(state.key, (), jnp.uint32) >> 9
        return jnp.array([tag, state.step, state.length], jnp.float32)

    def _reward(self, observation: jax.Array) -> jax.Array:
        return observation[1]


class Signs(Tagged):
    """Observation and reward are both +1 or both -1 throughout an episode of three steps."""

    def __init__(self) -> None:
        super().__init__(terminations=0.0)

    def _observe(self, state: _State) -> jax.Array:
        sign = jnp.where(jax.random.bits(state.key) % 2 == 0, 1.0, -1.0)
        return jnp.full(3, sign)

    def _reward(self, observation: jax.Array) -> jax.Array:
        return observation[0]


envs.register("test/tagged", lambda physics: Tagged(), suite="test", episode_length=LIMIT)
envs.register("test/signs", lambda physics: Signs(), suite="test", episode_length=60)


@functools.cache
def _collect(
    task: str, n_step: int, prioritized: bool = False, truncation_interval: int = 50
) -> tuple[Any, Counters, Replay]:
    """Random play of two environments, until their replay has been overwritten several times."""
    config = Config(
        task=task,
        num_environments=2,
        total_env_steps=4000,
        evaluation_interval=4000,
        learning_starts=10,
        discount=DISCOUNT,
        diagnostics="none",
        agent=agent_settings("random"),
        replay=ReplayConfig(
            capacity=800,
            n_step=n_step,
            prioritized=prioritized,
            truncation_interval=truncation_interval,
        ),
    )
    program = make_program(config)
    numbers = program.hyperparameters()
    state = jax.jit(program.init)(jax.random.key(0), numbers)
    start = Counters.create()
    counters, state = jax.jit(program.advance)(start, state, numbers, jnp.int32(2000))
    metrics = program.diagnose(counters, state, numbers)
    return metrics, counters, state.replay


def _draw(counters: Counters, replay: Replay, size: int = 20_000) -> Batch:
    choice = (jax.random.key(1), counters.interactions, size, jnp.float32(DISCOUNT))
    if replay.priorities is None:
        return jax.tree.map(np.asarray, replay.sample(*choice))
    drawn, _ = replay.sample_by_priority(*choice, importance_exponent=jnp.float32(0.4))
    return jax.tree.map(np.asarray, drawn)


@pytest.mark.parametrize(
    "prioritized", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["alike", "by_priority"]
)
@pytest.mark.parametrize("n_step", mark_others(pytest.mark.slow, (1,), (1, 3, 5)))
def test_every_successor_is_of_its_own_episode(n_step, prioritized):
    """Truncations are ten times as frequent as the time limit alone would have them."""
    metrics, counters, replay = _collect("test/tagged", n_step, prioritized)
    batch = _draw(counters, replay)
    tag, step, length = batch.observation.T
    taken = np.minimum(n_step, length - step)
    # The rewards of an episode count its steps.
    rewards = sum(np.where(k < taken, DISCOUNT**k * (step + k), 0.0) for k in range(n_step))
    np.testing.assert_allclose(batch.reward, rewards, rtol=1e-5)
    alive = batch.discount > 0.0
    np.testing.assert_allclose(batch.discount[alive], DISCOUNT ** taken[alive], rtol=1e-6)
    expected = np.stack([tag, step + taken, length], axis=1)
    np.testing.assert_array_equal(batch.next_observation[alive], expected[alive])
    # There are all kinds among them, and every transition that can be drawn was.
    ends = step + taken == length
    assert (ends & alive).any() and (ends & ~alive).any()
    assert not (~ends & ~alive).any()
    distinct = len({(*row, step) for *row, step in zip(tag, step, strict=True)})
    assert distinct == 800 - int(metrics[WITHHELD])
    # Every 6.5 steps there is an end, of which three in four are truncations; there is room for
    # one in 50 steps.
    assert 0 < metrics[WITHHELD] < 800


def test_values_are_those_worked_out_by_hand():
    """Every episode goes on for ever as far as values are concerned: 1 / (1 - 0.95) = 20."""
    _, counters, replay = _collect("test/signs", 1)
    batch = _draw(counters, replay)
    assert (batch.discount > 0.0).all()
    values = dict.fromkeys((1.0, -1.0), 0.0)
    for _ in range(500):
        target = batch.reward + batch.discount * np.vectorize(values.get)(
            batch.next_observation[:, 0]
        )
        values = {sign: target[batch.observation[:, 0] == sign].mean() for sign in values}
    np.testing.assert_allclose([values[1.0], values[-1.0]], [20.0, -20.0], rtol=1e-4)


@pytest.mark.slow
def test_new_episodes_at_a_resume_do_not_mix_with_the_old():
    _, counters, replay = _collect("test/tagged", 3)
    batch = _draw(counters, replay.cut(counters.interactions, jnp.full((2, 3), -1.0)))
    alive = batch.discount > 0.0
    np.testing.assert_array_equal(batch.next_observation[alive, 0], batch.observation[alive, 0])


def test_there_is_room_for_as_many_truncations_as_asked_for():
    metrics, counters, replay = _collect("test/tagged", 1, truncation_interval=SHORTEST)
    assert metrics[WITHHELD] == 0
    batch = _draw(counters, replay)
    assert len({tuple(row) for row in batch.observation.tolist()}) == 800


def test_a_truncation_interval_has_to_be_positive():
    with pytest.raises(ConfigError, match=r"--replay.truncation-interval is 0: give"):
        make_program(Config("test/tagged", replay=ReplayConfig(truncation_interval=0)))

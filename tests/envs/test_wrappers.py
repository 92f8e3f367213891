"""Wrappers over a counting environment whose every quantity is known."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import (
    ActionRepeat,
    AutoReset,
    RescaleAction,
    Stagger,
    TaskError,
    TimeLimit,
    TimeStep,
    Wrapper,
)
from tests.helpers.counter import Count, Counter

ACTION = jnp.ones(1)


def play(environment: Any, steps: int, seed: int = 0) -> tuple[Any, TimeStep]:
    """`steps` steps of one environment; the time steps are stacked."""
    state, _ = environment.reset(jax.random.key(seed))

    def step(state, _):
        state, timestep = environment.step(state, ACTION)
        return state, timestep

    return jax.jit(lambda state: jax.lax.scan(step, state, length=steps))(state)


def test_rescale_maps_the_ends_and_the_middle():
    environment = RescaleAction(Counter(), np.array([-3.0]), np.array([1.0]))
    state, _ = environment.reset(jax.random.key(0))
    rewards = [float(environment.step(state, jnp.array([a]))[1].reward) for a in (-1.0, 0.0, 1.0)]
    assert rewards == [-3.0, -1.0, 1.0]


def test_time_limit_truncates_at_the_last_step():
    _, timesteps = play(TimeLimit(Counter(), 4), 4)
    assert timesteps.truncated.tolist() == [False, False, False, True]
    assert not timesteps.terminated.any()


def test_time_limit_leaves_a_termination_alone():
    _, timesteps = play(TimeLimit(Counter(ends_after=4), 4), 4)
    assert timesteps.terminated.tolist() == [False, False, False, True]
    assert not timesteps.truncated.any()


@pytest.mark.parametrize(
    ("repeat", "ends_after", "solved"),
    [
        (3, 10**6, [False, False]),  # solved at 2, in the midst of the first
        (2, 10**6, [True, False]),
        (1, 10**6, [False, True]),
        (3, 2, [True]),  # the last step that was taken, not the last there would have been
    ],
)
def test_action_repeat_adds_rewards_and_takes_the_success_of_its_last_step(
    repeat, ends_after, solved
):
    _, timesteps = play(ActionRepeat(Counter(ends_after), repeat), len(solved))
    steps = [min(repeat * (1 + count), ends_after) for count in range(len(solved))]
    assert timesteps.observation[:, 1].tolist() == steps
    assert timesteps.reward.tolist() == np.diff([0, *steps]).tolist()
    assert timesteps.success.tolist() == solved


@pytest.mark.parametrize("limit", [True, False])
def test_action_repeat_stops_where_the_episode_ends(limit):
    inner = TimeLimit(Counter(), 5) if limit else Counter(ends_after=5)
    _, timesteps = play(ActionRepeat(inner, 3), 2)
    assert timesteps.reward.tolist() == [3.0, 2.0]
    assert timesteps.observation[1, 1] == 5.0
    assert (timesteps.truncated if limit else timesteps.terminated).tolist() == [False, True]


def test_episode_length_counts_repeated_steps():
    assert TimeLimit(Counter(), 1000).episode_length == 1000
    assert ActionRepeat(TimeLimit(Counter(), 1000), 2).episode_length == 500
    assert ActionRepeat(TimeLimit(Counter(), 5), 2).episode_length == 3
    assert ActionRepeat(Counter(), 2).episode_length is None


def test_auto_reset_reports_the_final_observation_and_acts_on_the_first():
    environment = AutoReset(TimeLimit(Counter(), 3))
    state, first = environment.reset(jax.random.key(0))
    for _ in range(3):
        state, timestep = environment.step(state, ACTION)
    assert timestep.truncated
    assert timestep.observation.tolist() == [first[0], 3.0]
    assert state.observation[1] == 0.0
    assert state.observation[0] != first[0]
    following, timestep = environment.step(state, ACTION)
    assert timestep.observation.tolist() == [state.observation[0], 1.0]
    np.testing.assert_array_equal(timestep.observation, following.observation)


def test_auto_reset_draws_a_new_start_every_time():
    _, timesteps = play(AutoReset(TimeLimit(Counter(), 2)), 20)
    assert len(np.unique(timesteps.observation[:, 0])) == 10


def test_staggered_episodes_end_apart_from_each_other():
    length, count = 5, 400
    environment = AutoReset(Stagger(ActionRepeat(TimeLimit(Counter(), 2 * length), 2)))
    state, _ = jax.vmap(environment.reset)(jax.random.split(jax.random.key(0), count))

    def step(state, _):
        return jax.vmap(environment.step, (0, None))(state, ACTION)

    _, timesteps = jax.jit(lambda state: jax.lax.scan(step, state, length=3 * length))(state)
    ended = np.asarray(timesteps.truncated)
    ends = [np.flatnonzero(of_one) for of_one in ended.T]
    # After the first all are as long as the limit, so every step sees about as many end.
    assert all((np.diff(times) == length).all() for times in ends)
    of_each_step = ended.reshape(-1, length, count).sum((0, 2)) / 3
    np.testing.assert_allclose(of_each_step, count / length, rtol=0.25)
    # The final observation is that of the step, as at any end.
    first = [times[0] for times in ends]
    final = np.asarray(timesteps.observation)[first, np.arange(count), 1]
    np.testing.assert_array_equal(final, 2 * (np.array(first) + 1))


def test_a_first_episode_that_terminates_sooner_is_not_truncated():
    environment = AutoReset(Stagger(TimeLimit(Counter(ends_after=1), 50)))
    _, timesteps = play(environment, 60)
    assert timesteps.terminated.all() and not timesteps.truncated.any()


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_auto_reset_runs_resets_only_when_an_episode_ends(shape):
    inner = Counter()
    environment = AutoReset(TimeLimit(inner, 5))
    reset, step = environment.reset, environment.step
    for _ in shape:
        reset, step = jax.vmap(reset), jax.vmap(step)
    states, _ = reset(jax.random.split(jax.random.key(0), shape))
    actions = jnp.ones((*shape, 1))
    scan = jax.jit(
        lambda states: jax.lax.scan(lambda state, _: step(state, actions), states, length=20)
    )
    inner.host_resets = 0
    _, timesteps = jax.block_until_ready(scan(states))
    assert inner.host_resets == 4
    assert timesteps.truncated.sum() == 4 * np.prod(shape)


def test_nested_vmap_equals_single_environments():
    class Staggered(Counter):
        """Starts at different counts, so that episodes end at different times."""

        def reset(self, key):
            state, _ = super().reset(key)
            state = state.replace(steps=(state.start * 7).astype(jnp.int32))
            return state, self._observe(state)

    environment = AutoReset(Staggered(ends_after=8))
    keys = jax.random.split(jax.random.key(0), (2, 3))

    def rollout(key):
        state, _ = environment.reset(key)
        return jax.lax.scan(lambda state, _: environment.step(state, ACTION), state, length=20)[1]

    together = jax.jit(jax.vmap(jax.vmap(rollout)))(keys)
    for run in range(2):
        for member in range(3):
            alone = jax.jit(rollout)(keys[run, member])
            jax.tree.map(
                lambda a, b, run=run, member=member: np.testing.assert_array_equal(
                    a[run, member], b
                ),
                together,
                alone,
            )
    assert together.terminated.any()
    assert len(np.unique(together.terminated.sum(-1))) > 1


def test_states_keep_their_types():
    environment = AutoReset(ActionRepeat(TimeLimit(Counter(), 5), 2))
    state, _ = jax.eval_shape(environment.reset, jax.random.key(0))
    following, _ = jax.eval_shape(environment.step, state, ACTION)

    def types(tree):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)

    assert types(state) == types(following)


def test_wrappers_pass_on_what_an_environment_says_of_itself():
    class Pool(Counter):
        """Has all that an environment may have."""

        layout: ClassVar = [("start", ()), ("steps", ())]
        closed = False

        def close(self):
            self.closed = True

    bare = Pool()
    low, high = np.array([-3.0]), np.array([1.0])
    limited = TimeLimit(RescaleAction(bare, low, high), 9)
    environment = AutoReset(ActionRepeat(ActionRepeat(limited, 2), 3))
    assert not environment.elsewhere and environment.layout == bare.layout
    assert environment.action_range == (low, high) and bare.action_range is None
    assert (bare.repeat, limited.repeat, environment.repeat) == (1, 1, 6)
    assert environment.unwrapped is bare
    state, _ = environment.reset(jax.random.key(0))
    assert environment.unwrapped_state(state) is state.inner.inner
    assert isinstance(environment.unwrapped_state(state), Count)
    environment.close()
    assert bare.closed
    bare.elsewhere = True
    assert AutoReset(ActionRepeat(RescaleAction(bare, low, high), 2)).elsewhere


class Halved(Wrapper):
    """What a user writes who wants other observations: no word of restarts."""

    def reset(self, key):
        state, observation = self.inner.reset(key)
        return state, observation / 2

    def step(self, state, action):
        state, timestep = self.inner.step(state, action)
        return state, dataclasses.replace(timestep, observation=timestep.observation / 2)


class Counted(Wrapper):
    """One with a state of its own, and a restart that calls the base's."""

    def reset(self, key):
        inner, observation = self.inner.reset(key)
        return (inner, jnp.zeros((), jnp.int32)), observation

    def step(self, state, action):
        inner, timestep = self.inner.step(state[0], action)
        return (inner, state[1] + 1), timestep

    def restart(self, state, key, ended):
        inner, observation = super().restart(state[0], key, ended)
        return (inner, jnp.where(ended, 0, state[1])), observation


def test_every_episode_begins_with_the_reset_of_a_wrapper():
    plain, halved = (AutoReset(TimeLimit(inner, 3)) for inner in (Counter(), Halved(Counter())))
    states = [environment.reset(jax.random.key(0))[0] for environment in (plain, halved)]
    for _ in range(4):
        for index, environment in enumerate((plain, halved)):
            states[index], _ = environment.step(states[index], ACTION)
        whole, half = (state.observation for state in states)
        np.testing.assert_array_equal(half, whole / 2)
    elsewhere = Halved(Counter())
    elsewhere.elsewhere = True
    with pytest.raises(TaskError, match="Halved has a reset of its own: give it a restart"):
        elsewhere.restart(*elsewhere.reset(jax.random.key(0)), jnp.array(True))


@pytest.mark.parametrize(
    "wrap", [lambda inner: inner, lambda inner: TimeLimit(inner, 5), Halved, Counted, AutoReset]
)
def test_only_an_episode_that_ended_begins_anew(wrap):
    environment = wrap(Counter())
    state, _ = environment.reset(jax.random.key(0))
    state, _ = environment.step(state, ACTION)
    under_way, _ = environment.restart(state, jax.random.key(1), jnp.array(False))
    jax.tree.map(np.testing.assert_array_equal, _numbers(under_way), _numbers(state))
    fresh, observation = environment.restart(state, jax.random.key(1), jnp.array(True))
    expected, first = environment.reset(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, _numbers(fresh), _numbers(expected))
    np.testing.assert_array_equal(observation, first)


def _numbers(state):
    """Keys as numbers, which numpy can compare."""
    is_key = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)  # noqa: E731
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, state)

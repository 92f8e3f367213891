"""Environments in worker processes, compared with gymnasium stepped in a loop."""

import dataclasses
import gc
import signal
import sys

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import HostEnvironmentError, HostOptions, TaskError
from envs.workers.program import FLAGS
from purejax_simba.evaluation import evaluate
from tests.helpers import host_environments
from tests.helpers.host_environments import LIMIT
from tests.helpers.host_play import SHAPE, play
from tests.helpers.host_processes import (
    FAKES,
    check_nothing_is_left,
    fake,
    play_on_host,
    wait_until_gone,
    worker_pids,
)


def zeros(steps: int):
    return jnp.zeros((steps, *SHAPE, 1))


def test_pendulum_is_that_of_gymnasium_over_the_ends_of_episodes():
    steps = 401
    actions = jax.random.uniform(jax.random.key(1), (steps, *SHAPE, 1), minval=-1.0)
    played = play(envs.make("gymnasium/Pendulum-v1"), actions)
    timesteps = played.timesteps
    actions = 2 * np.asarray(actions)
    for index in np.ndindex(SHAPE):
        original = gymnasium.make("Pendulum-v1")
        observation, _ = original.reset(seed=int(played.seeds[0, *index]))
        np.testing.assert_array_equal(played.first[index], observation)
        for step in range(steps):
            at = (step, *index)
            observation, reward, terminated, truncated, _ = original.step(actions[at])
            np.testing.assert_array_equal(timesteps.observation[at], observation)
            assert timesteps.reward[at] == np.float32(reward)
            assert (timesteps.terminated[at], timesteps.truncated[at]) == (terminated, truncated)
            if truncated:
                observation, _ = original.reset(seed=int(played.seeds[step + 1, *index]))
            np.testing.assert_array_equal(played.following[at], observation)
        assert timesteps.truncated[:, *index].sum() == 2


def test_seeds_limits_and_successes_with_one_host_call_per_step(monkeypatch):
    environment = fake("Counting")
    pool = environment.unwrapped._pool
    calls = {"step": 0, "reset": 0}
    for name in calls:
        original = getattr(pool, name)

        def count(*arguments, name=name, original=original, **named):
            calls[name] += 1
            return original(*arguments, **named)

        monkeypatch.setattr(pool, name, count)
    first, timesteps, following, seeds = play(environment, zeros(3 * LIMIT))
    assert calls == {"step": 3 * LIMIT, "reset": 1 + 3}
    ends = list(range(LIMIT - 1, 3 * LIMIT, LIMIT))
    begun = np.stack([first, *following[ends]])[..., 0]
    expected = np.stack([seeds[0], *seeds[1:][ends]])
    np.testing.assert_array_equal(begun, expected.astype(np.float32))
    assert len(np.unique(begun)) == begun.size == 16
    assert environment.episode_length == LIMIT
    assert np.flatnonzero(timesteps.truncated.all((1, 2))).tolist() == ends
    assert timesteps.truncated.any((1, 2)).sum() == 3
    assert not timesteps.terminated.any()
    np.testing.assert_array_equal(timesteps.success, timesteps.observation[..., 1] == 2)


def test_only_episodes_that_ended_begin_anew():
    first, timesteps, following, seeds = play(fake("Staggered"), zeros(40))
    done = timesteps.terminated
    assert not timesteps.truncated.any()
    assert done.any((1, 2)).sum() > done.all((1, 2)).sum(), "they end at different times"
    # Counters of episodes go on by one where an episode ended: nothing else was reset.
    begun = np.concatenate([first[None], following])[..., 2]
    np.testing.assert_array_equal(np.diff(begun, axis=0), done)
    # A step that ends an episode reports its final observation; the next one acts on the first.
    np.testing.assert_array_equal(following[done][:, 1], 0)
    np.testing.assert_array_equal(following[~done], timesteps.observation[~done])
    for index in np.ndindex(SHAPE):
        ends = np.flatnonzero(done[:, *index])
        begins = np.array([0, *ends[:-1] + 1])
        expected = 2 + seeds[begins, *index].astype(np.int64) % 4
        np.testing.assert_array_equal(timesteps.observation[ends, *index, 1], expected)
        np.testing.assert_array_equal(ends + 1 - begins, expected)


def test_a_shorter_limit_ends_episodes_also_within_an_action_repeat():
    environment = fake("Counting", episode_length=4, action_repeat=3)
    assert environment.episode_length == 2
    _, timesteps, following, _ = play(environment, jnp.ones((4, *SHAPE, 1)))
    assert timesteps.reward[:, 0, 0].tolist() == [9.0, 3.0, 9.0, 3.0]  # 1 is rescaled to 3
    assert timesteps.observation[:, 0, 0, 1].tolist() == [3, 4, 3, 4]
    assert timesteps.truncated[:, 0, 0].tolist() == [False, True, False, True]
    assert following[:, 0, 0, 1].tolist() == [3, 0, 3, 0]
    assert fake("Endless").episode_length is None
    assert fake("Endless", episode_length=5).episode_length == 5


def test_evaluations_use_the_same_sub_environments_again():
    environment = fake("Staggered")
    policy = jax.vmap(lambda observation, _: observation[:1] * 0, in_axes=(0, None))
    run = jax.jit(jax.vmap(lambda key: evaluate(environment, policy, key, 3)))
    keys = jax.random.split(jax.random.key(0), 2)
    lengths = [run(keys).avg_length.tolist() for _ in range(3)]
    assert lengths[0] == lengths[1] == lengths[2]
    assert all(2 <= length <= 5 for length in lengths[0])
    slots = [len(worker.slots) for worker in environment.unwrapped._pool._workers]
    assert sum(slots) == 6


def test_ended_batches_leave_nothing_behind():
    environment = fake("Counting")
    pool = environment.unwrapped._pool
    none, both = np.zeros(2, bool), np.ones(2, bool)
    actions = np.zeros((2, 1), np.float32)
    for _ in range(3):
        episodes, _ = pool.reset(np.arange(2), np.full(2, -1), both)
        for step in range(LIMIT):
            pool.step(episodes, np.full(2, step, np.int32), none, actions)
        after = pool.step(episodes, np.full(2, LIMIT, np.int32), both, actions)
        assert not after.any()
    assert not pool._routes


class _Short(envs.Wrapper):
    """Ends episodes after two steps, of which those behind it know nothing."""

    def step(self, state, action):
        state, timestep = self.inner.step(state, action)
        steps = timestep.observation[1]
        return state, dataclasses.replace(timestep, terminated=steps >= 2)


def test_an_episode_that_a_wrapper_ended_leaves_its_place_to_the_next():
    environment = _Short(fake("Counting"))
    _, timesteps, following, seeds = play(environment, zeros(7))
    assert timesteps.observation[:, 0, 0, 1].tolist() == [1, 2, 1, 2, 1, 2, 1]
    ended = timesteps.terminated
    np.testing.assert_array_equal(following[ended][:, 0], np.float32(seeds[1:][ended]))
    pool = environment.unwrapped._pool
    assert sum(len(worker.slots) for worker in pool._workers) == np.prod(SHAPE)
    assert len(pool._routes) == 1
    # Whoever goes on with what was taken over is told so.
    first, _ = pool.reset(np.array([3]), np.array([-1]), np.ones(1, bool))
    pool.reset(np.array([5]), first, np.ones(1, bool))
    with pytest.raises(HostEnvironmentError, match="not the newest"):
        pool.step(first, np.zeros(1, np.int32), np.zeros(1, bool), np.zeros((1, 1), np.float32))


def test_a_dictionary_is_flattened_in_the_order_of_names():
    original = host_environments.Dictionary()
    original.reset(seed=0)
    observation, *_ = original.step(np.zeros(1, np.float32))
    one_hot = np.eye(3)[observation["b"]["x"][0]]
    expected = [observation["a"], *one_hot, *observation["b"]["y"].ravel()]
    assert expected == [1, 0, 1, 0, 1, 1]
    environment = fake("Dictionary")
    assert environment.unwrapped.layout == [("a", ()), ("b/x/0", (3,)), ("b/y", (2, 1))]
    results = play_on_host(environment, 1)
    np.testing.assert_array_equal(results[0, 0, FLAGS:], expected)


def test_what_is_kept_from_actors_comes_last():
    host = HostOptions(privileged=("a",))
    environment = fake("Dictionary", host=host)
    assert [name for name, _ in environment.unwrapped.layout] == ["b/x/0", "b/y", "a"]
    assert (environment.observation_size, environment.actor_observation_size) == (6, 5)
    (results,) = play_on_host(environment, 1)
    np.testing.assert_array_equal(results[0, FLAGS:], [0, 1, 0, 1, 1, 1])
    assert fake("Dictionary").actor_observation_size is None


@pytest.mark.parametrize(
    ("name", "privileged", "message"),
    [
        ("Dictionary", ("c",), "observations of a, b: there is no 'c' to keep from actors"),
        ("Dictionary", ("b", "a"), "no observation that is not kept from actors"),
        ("Counting", ("a",), "that are no dictionary: there is no 'a' to keep"),
    ],
)
def test_what_cannot_be_kept_from_actors_is_refused(name, privileged, message):
    with pytest.raises(TaskError, match=message):
        fake(name, host=HostOptions(privileged=privileged))


def test_an_end_before_the_limit_is_passed_on():
    environment = fake("Early")
    assert environment.episode_length == LIMIT
    _, timesteps, following, _ = play(environment, zeros(9))
    assert timesteps.observation[..., 1].reshape(9, -1).T.tolist() == [[1, 2, 3] * 3] * 4
    ended = np.arange(9) % 3 == 2
    # Odd episodes terminate in the step in which they are cut.
    odd = timesteps.observation[..., 2] % 2 == 1
    np.testing.assert_array_equal(timesteps.terminated, ended[:, None, None] & odd)
    np.testing.assert_array_equal(timesteps.truncated, ended[:, None, None] & ~odd)
    assert (following[ended][..., 1] == 0).all()


def test_a_longer_limit_takes_the_place_of_the_environments_own():
    environment = fake("Counting", episode_length=12)
    assert environment.episode_length == 12
    _, timesteps, _, _ = play(environment, zeros(13))
    assert np.flatnonzero(timesteps.truncated.all((1, 2))).tolist() == [11]
    assert timesteps.truncated.any((1, 2)).sum() == 1
    elsewhere = fake("Counting", episode_length=12, host=HostOptions(python=sys.executable))
    assert elsewhere.episode_length == 12


def test_a_limit_that_cannot_be_lifted_is_named():
    assert fake("Limited").episode_length == 5
    assert fake("Limited", episode_length=5).episode_length == 5
    assert fake("Limited", episode_length=3).episode_length == 3
    with pytest.raises(TaskError, match=r"Limited-v0 ends its episodes after 5 steps by itself"):
        fake("Limited", episode_length=6)


def test_a_limit_that_nobody_reaches_is_none():
    assert fake("Age").episode_length is None
    assert fake("Age", episode_length=9).episode_length == 9


def test_every_integer_of_an_action_has_an_equal_share_of_the_actions_here():
    actions = np.repeat((np.arange(LIMIT * 5) + 0.5) / (LIMIT * 5) * 2 - 1, 4).astype(np.float32)
    played = play(fake("Steered"), jnp.asarray(actions).reshape(-1, *SHAPE, 1))
    expected = np.repeat(np.arange(5), LIMIT)
    np.testing.assert_array_equal(played.timesteps.reward[:, 0, 0], expected)


def test_a_state_cannot_be_stepped_twice():
    environment = fake("Counting")
    state, _ = environment.reset(jax.random.key(0))
    environment.step(state, jnp.zeros(1))
    with pytest.raises(HostEnvironmentError, match="not the newest"), envs.clear_errors():
        environment.step(state, jnp.zeros(1))


FAILURES = {
    "Raises": "raised ValueError: out of paper (host_environments.py:",
    "Hangs": "did not answer within 1.5 s",
    "Dies": "ended its worker process (exit status 7)",
    "Crashes": "ended its worker process (SIGSEGV)",
    "ReturnsNaN": "returned nan in its observation",
    "ChangesShape": "returned an observation of shape (3,) where its space has (4,)",
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_names_the_environment_and_the_step(name):
    environment = fake(name, host=HostOptions(time_limit=1.5 if name == "Hangs" else 60.0))
    pids = worker_pids(environment)
    with pytest.raises(HostEnvironmentError) as error:
        play_on_host(environment, 9)
    message = str(error.value)
    assert message.startswith(f"{FAKES}{name}-v0: sub-environment ")
    assert FAILURES[name] in message
    assert " at step 5 of the episode with seed " in message
    assert "\n" not in message
    wait_until_gone(pids)
    # Whoever goes on is told the same.
    with pytest.raises(HostEnvironmentError, match=name):
        play_on_host(environment, 1)


def test_a_failure_ends_a_compiled_program_without_a_traceback(caplog, capfd):
    environment = fake("Raises")
    with pytest.raises(HostEnvironmentError, match="out of paper"), envs.clear_errors():
        play(environment, zeros(9))
    assert not caplog.text
    assert "Traceback" not in capfd.readouterr().err


def test_no_process_is_left_when_an_environment_is_garbage():
    environment = fake("Counting")
    pids = worker_pids(environment)
    assert pids
    del environment
    gc.collect()
    wait_until_gone(pids)


@pytest.mark.parametrize(("name", "number"), [("Slow", signal.SIGINT), ("Hangs", signal.SIGKILL)])
def test_nothing_is_left_by_a_parent_that_is_stopped(name, number):
    check_nothing_is_left(name, number)

"""Episodes are played to the end of the last one, with the numbers of playing on to the limit."""

import functools
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import TimeStep, episodes, rendering
from envs.host_call import host_call
from purejax_simba.datasets import recording
from purejax_simba.evaluation import evaluate
from purejax_simba.runs.devices import PER_RUN, make_mesh, map_runs
from tests.helpers import tiny

LIMIT = 50
RUNS, EPISODES = 4, 8


class Short(envs.Environment):
    """Ends after 1 to 19 steps, as its key has it; counts all steps that are taken."""

    observation_size = action_size = 1
    episode_length = LIMIT

    def __init__(self) -> None:
        self.calls = 0

    def reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        start = (jax.random.randint(key, (), 1, 20), jax.random.uniform(key), key)
        return start, start[1][None]

    def step(self, state: Any, action: jax.Array) -> tuple[Any, TimeStep]:
        left, x, key = state
        x = jnp.sin(x + action[0]) + host_call(self._count, x[None], 1, jnp.float32)[0]
        ended = left <= 1
        return (left - 1, x, key), TimeStep(x[None], 1.0 / x, ended & (x > 0), ended, x > 0.9)

    def _count(self, rows: np.ndarray) -> np.ndarray:
        self.calls += 1
        return np.zeros_like(rows)


def policy(observation: jax.Array, key: jax.Array) -> jax.Array:
    return 0.3 * observation + 0.1 * jax.random.normal(key, observation.shape)


def to_the_limit(step: Callable, begin: Any, length: int) -> Any:
    """In place of `episodes.play`."""

    def scanned(carry: Any, time: jax.Array) -> Any:
        carry, _, seen = step(carry, time)
        return carry, seen

    return jax.lax.scan(scanned, begin, jnp.arange(length))


def lengths_of(keys: jax.Array, num_episodes: int) -> np.ndarray:
    environment = Short()
    states, _ = jax.vmap(jax.vmap(environment.reset))(
        jax.vmap(lambda key: jax.random.split(key, num_episodes))(keys)
    )
    return np.asarray(states[0])


def test_evaluations_end_with_the_last_episode_of_all_runs(monkeypatch):
    keys = jax.random.split(jax.random.key(0), RUNS)
    lengths = lengths_of(keys, EPISODES)
    assert len(set(lengths.max(1))) > 1, "runs end at different times"
    environment, whole = Short(), Short()
    play = jax.jit(jax.vmap(lambda key: evaluate(environment, policy, key, EPISODES)))
    played = jax.device_get(play(keys))
    assert environment.calls == lengths.max() < LIMIT
    monkeypatch.setattr(episodes, "play", to_the_limit)
    expected = jax.jit(jax.vmap(lambda key: evaluate(whole, policy, key, EPISODES)))(keys)
    assert whole.calls == LIMIT
    jax.tree.map(np.testing.assert_array_equal, played, expected)
    np.testing.assert_allclose(played.avg_length, lengths.mean(1))


def test_what_never_ends_is_cut_at_the_limit():
    environment = Short()
    environment.episode_length = 3
    keys = jax.random.split(jax.random.key(1), RUNS)
    played = jax.jit(jax.vmap(lambda key: evaluate(environment, policy, key, EPISODES)))(keys)
    assert environment.calls == 3
    np.testing.assert_allclose(played.avg_length, np.minimum(lengths_of(keys, EPISODES), 3).mean(1))


def test_environments_in_worker_processes_are_not_stepped_after_the_end(monkeypatch):
    from tests.helpers.host_processes import fake  # which uses JAX as soon as it is imported

    environment = fake("Staggered", episode_length=5)
    pool, calls = environment.unwrapped._pool, []
    step = pool.step
    monkeypatch.setattr(pool, "step", lambda *a, **b: calls.append(b["ended"]) or step(*a, **b))
    # Its own limit is longer than what its wrappers, and with them evaluations, know of.
    limited = SimpleNamespace(
        reset=environment.reset,
        step=environment.step,
        observation_size=environment.observation_size,
        action_size=1,
        episode_length=10**6,
    )
    keys = jax.random.split(jax.random.key(2), RUNS)
    act = jax.vmap(lambda observation, _: observation[:1] * 0, in_axes=(0, None))
    played = jax.jit(jax.vmap(lambda key: evaluate(limited, act, key, EPISODES)))(keys)
    assert len(calls) == 5
    assert not calls[1].any() and sum(~ended for ended in calls).sum() == (
        played.avg_length.sum() * EPISODES
    )


def test_recordings_and_videos_have_what_there_is_to_the_end(monkeypatch):
    def record() -> Any:
        environment = Short()
        key = jax.random.key(3)
        record = jax.jit(lambda: recording.play(environment, policy, key, EPISODES))
        steps = jax.device_get(record())
        counts = steps["counts"]
        return environment.calls, jax.tree.map(lambda x: x[counts], steps), counts

    def film() -> Any:
        environment = Short()
        act = lambda key, observation: policy(observation, key)  # noqa: E731
        keys = jax.random.split(jax.random.key(4), RUNS)
        play = functools.partial(rendering.play, environment, act, steps=LIMIT)
        played = jax.device_get(jax.jit(jax.vmap(play))(keys))
        counts = np.arange(LIMIT) < played.length[:, None]
        seen = (played.observations[:, 1:], played.actions, played.rewards)
        return environment.calls, [x[counts] for x in seen], counts

    for play in (record, film):
        calls, seen, counts = play()
        assert calls == counts.sum(0 if play is record else 1).max() < LIMIT
        with monkeypatch.context() as patch:
            patch.setattr(episodes, "play", to_the_limit)
            whole_calls, whole, whole_counts = play()
        assert whole_calls == LIMIT
        np.testing.assert_array_equal(counts, whole_counts)
        jax.tree.map(np.testing.assert_array_equal, seen, whole)


def test_a_long_limit_costs_nothing():
    environment = envs.TimeLimit(Short(), 10**6)
    environment.episode_length = 10**6
    play = jax.jit(lambda key: evaluate(environment, policy, key, EPISODES))
    jax.block_until_ready(play(jax.random.key(0)))
    begin = time.monotonic()
    jax.block_until_ready(play(jax.random.key(1)))
    assert time.monotonic() - begin < 1.0


@pytest.mark.slow
def test_on_devices():
    """In a process of its own, which alone can have so many."""
    tiny.run_module("tests.envs.test_episodes", timeout=120)


def compare_devices() -> None:
    """Two runs on two devices each, which end at different times, against one device."""
    keys = jax.random.split(jax.random.key(5), 2)
    lengths = lengths_of(keys, EPISODES)
    assert lengths[0].max() != lengths[1].max()
    played = {}
    for parts in (1, 2):
        environment = Short()
        mesh = make_mesh(2, parts)
        assert mesh.size == 2 * parts
        play = map_runs(
            lambda key, e=environment: evaluate(e, policy, key, EPISODES), mesh, (PER_RUN,)
        )
        played[parts] = jax.device_get(play(keys))
        assert environment.calls == parts * lengths.max(1).sum()
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), played[1], played[2])


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 4)
    compare_devices()

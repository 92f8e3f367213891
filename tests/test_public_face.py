"""What `import purejax_simba` offers: light to import, and policies that play as evaluations do."""

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import monitoring

import envs
import purejax_simba
from purejax_simba import Config, ConfigError, ReplayConfig, TrainedPolicy
from tests.helpers import tiny

TASK, LENGTH = "gymnax/Pendulum-v1", 50
ENGINES = {"envs", "mujoco", "gymnax", "brax", "orbax", "scipy.stats"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """A run of two seeds that have hardly learned anything, each something else."""
    config = Config(
        task=TASK,
        num_seeds=2,
        seed=5,
        total_env_steps=200,
        evaluation_interval=100,
        num_evaluation_episodes=2,
        episode_length=LENGTH,
        learning_starts=60,
        diagnostics="none",
        agent=tiny.AGENT,
        replay=ReplayConfig(batch_size=16),
        output=str(tmp_path_factory.mktemp("runs")),
    )
    return purejax_simba.train(config)


@pytest.fixture(scope="module")
def policy(directory) -> TrainedPolicy:
    return purejax_simba.load_policy(directory, seed=6)


def test_everything_that_is_offered_is_there():
    assert set(purejax_simba.__all__) < set(dir(purejax_simba))
    for name in purejax_simba.__all__:
        assert getattr(purejax_simba, name).__doc__, name
    assert purejax_simba.__version__ == importlib.metadata.version("purejax_simba")
    assert (Path(purejax_simba.__file__).parent / "py.typed").exists()
    with pytest.raises(AttributeError, match="no attribute 'trane'"):
        _ = purejax_simba.trane


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import purejax_simba", {*ENGINES, "jax", "numpy", "tyro"}),
        ("from purejax_simba import Config; Config(num_seeds=2)", ENGINES),
    ],
)
def test_nothing_is_imported_before_it_is_needed(code, heavy):
    command = [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tiny.ROOT)
    assert result.returncode == 0, result.stderr
    assert not heavy & set(result.stdout.split())


def test_its_actions_are_those_that_evaluations_take(directory, policy):
    """The episodes of `evaluate`, played again step by step with numpy arrays."""
    episodes = 3
    evaluated = purejax_simba.evaluate(directory, episodes)
    assert list(evaluated) == [5, 6]
    environment = envs.make(TASK, episode_length=LENGTH)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(6), 1), episodes)
    state, observation = jax.vmap(environment.reset)(keys)
    step = jax.jit(jax.vmap(environment.step))
    returns = np.zeros(episodes)
    for _ in range(LENGTH):
        state, timestep = step(state, policy(np.asarray(observation)))
        observation, returns = timestep.observation, returns + np.asarray(timestep.reward)
    assert returns.mean() == pytest.approx(evaluated[6]["avg_return"], rel=1e-4)
    assert abs(returns.mean() / evaluated[5]["avg_return"] - 1.0) > 1e-3, "the seeds differ"


def test_it_earns_in_a_plain_loop_what_evaluations_say(directory, policy):
    episodes = 200
    environment, parameters = gymnax.make("Pendulum-v1")

    def play(key: jax.Array) -> jax.Array:
        observation, state = environment.reset_env(key, parameters)

        def step(carry, _):
            state, observation = carry
            torque = 2.0 * policy(observation)  # which gymnax bounds by 2
            observation, state, reward, *_ = environment.step_env(key, state, torque, parameters)
            return (state, observation), reward

        return jax.lax.scan(step, (state, observation), length=LENGTH)[1].sum()

    returns = np.asarray(jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(0), episodes)))
    expected = purejax_simba.evaluate(directory, episodes)[6]["avg_return"]
    # Of the difference of two means.
    error = np.sqrt(2.0 / episodes) * returns.std()
    assert abs(returns.mean() - expected) < 4.0 * error


def test_numpy_and_jax_agree_inside_transformations_too(policy):
    observations = np.random.default_rng(0).normal(size=(4, 3, 3))  # of float64, as Gymnasium's
    actions = policy(observations)
    assert type(actions) is np.ndarray and actions.shape == (4, 3, 1)
    assert len(np.unique(actions)) == 12 and np.abs(actions).max() <= 1.0
    assert type(policy(observations[0, 0])) is np.ndarray
    many = jnp.asarray(observations)
    inside = jax.jit(jax.vmap(jax.vmap(policy)))(many)
    for other in (policy(many), inside):
        assert isinstance(other, jax.Array)
        np.testing.assert_allclose(other, actions, 1e-5, 1e-6)
    for index in np.ndindex(4, 3):
        np.testing.assert_allclose(policy(observations[index]), actions[index], 1e-5, 1e-6)


def test_it_is_compiled_once(policy):
    policy(np.zeros(3))
    compiled: list[str] = []

    def listen(event: str, _: float, **__: object) -> None:
        compiled.append(event)

    monitoring.register_event_duration_secs_listener(listen)
    for value in range(5):
        policy(np.full(3, float(value)))
    monitoring.unregister_event_duration_listener(listen)
    assert not compiled


@pytest.mark.parametrize("given", [np.zeros(4), np.zeros((2, 3, 1)), np.float32(0.0)])
def test_other_observations_are_refused_in_one_line(policy, given):
    with pytest.raises(ConfigError, match="an observation of gymnax/Pendulum-v1 is 3 numbers") as e:
        policy(given)
    assert "\n" not in str(e.value)


def test_runs_without_such_a_policy_are_refused_in_one_line(directory, tmp_path):
    (tmp_path / "config.json").write_text((directory / "config.json").read_text())
    for place, seed, message in (
        (tmp_path / "nothing", None, "holds no run"),
        (tmp_path, None, "holds no trained policy: its run did not finish"),
        (directory, 7, f"no seed 7: {directory} has seeds 5 to 6"),
    ):
        with pytest.raises(ConfigError, match=message) as refused:
            purejax_simba.load_policy(place, seed)
        assert "\n" not in str(refused.value)


def test_policies_of_another_configuration_are_refused(directory, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(directory / "checkpoints", copy / "checkpoints")
    text = (directory / "config.json").read_text()
    (copy / "config.json").write_text(
        text.replace('"actor_hidden_dim": 8', '"actor_hidden_dim": 16')
    )
    with pytest.raises(ConfigError, match=r"does not fit .*config\.json: actor\."):
        purejax_simba.load_policy(copy)

"""Which engine `auto` takes, by device and number of worlds."""

import dataclasses

import pytest

import envs
from envs.physics import cost
from purejax_simba.config import Config
from purejax_simba.defaults import make_environment


@pytest.mark.parametrize(
    ("platform", "worlds", "expected"),
    [
        ("cpu", 1, "mujoco"),
        ("cpu", 100_000, "mujoco"),
        ("gpu", 1, "mujoco"),
        ("gpu", 64, "mujoco"),
        ("gpu", 4096, "mjx"),
        ("tpu", 1, "mjx"),
    ],
)
def test_few_worlds_take_the_exact_engine_where_it_can_be_called(platform, worlds, expected):
    assert envs.choose_physics("dmc/cheetah-run", "auto", worlds, platform) == expected
    # Whose shapes are simpler with MJX.
    assert envs.choose_physics("humanoid_bench/h1-walk", "auto", worlds, platform) == "mujoco"
    assert envs.choose_physics("dmc/cheetah-run", "mjx", worlds, platform) == "mjx"
    assert envs.choose_physics("gymnax/Pendulum-v1", "auto", worlds, platform) is None


def test_the_engines_cost_the_same_where_the_choice_changes():
    """Launches of MJX = a host call + all worlds in the C engine."""
    mjx = cost.LAUNCHES["mjx"] * cost.LAUNCH
    crossover = (mjx - cost.HOST_CALL) / cost.HOST_WORLD
    below, above = int(crossover), int(crossover) + 1
    assert envs.choose_physics("dmc/dog-run", "auto", below, "gpu") == "mujoco"
    assert envs.choose_physics("dmc/dog-run", "auto", above, "gpu") == "mjx"


def test_the_worlds_of_all_seeds_count(monkeypatch):
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    few = Config(task="dmc/pendulum-swingup", num_seeds=2, num_environments=8)
    many = dataclasses.replace(few, num_environments=1024)
    engines = [type(make_environment(each).unwrapped.physics).__name__ for each in (few, many)]
    assert engines == ["MujocoPhysics", "MjxPhysics"]

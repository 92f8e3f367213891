"""The originals that tasks are measured and compared with, stepped by another process."""

import gymnasium
import pytest

import envs
from benchmarks.originals import GymnasiumLoop, in_a_loop
from tests.helpers.host_processes import wait_until_gone


def test_a_loop_plays_episodes_as_gymnasium_does():
    steps, count = 7, 2
    loop = GymnasiumLoop("Pendulum-v1", count)
    actions = [[[0.1 * step], [-0.2]] for step in range(steps)]
    seeds = [[10 * step, 10 * step + 1] for step in range(steps + 1)]
    played = loop("play", actions=actions, seeds=seeds, limit=3)
    for index in range(count):
        original = gymnasium.make("Pendulum-v1")
        observation, _ = original.reset(seed=seeds[0][index])
        assert played["first"][index] == observation.tolist()
        for step in range(steps):
            torque = original.action_space.high * actions[step][index][0]
            observation, reward, *_ = original.step(torque.astype("float32"))
            assert played["observation"][step][index] == observation.tolist()
            assert played["reward"][step][index] == float(reward)
            assert played["truncated"][step][index] == (step % 3 == 2)
            if step % 3 == 2:
                observation, _ = original.reset(seed=seeds[step + 1][index])
            assert played["following"][step][index] == observation.tolist()


def test_a_loop_goes_on_over_the_ends_of_episodes_and_ends_with_its_owner():
    loop = GymnasiumLoop("Pendulum-v1", 2)
    loop("take", steps=450)
    process = loop._process
    with pytest.raises(envs.TaskError, match=r"^Pendulum-v1 in .*python.*: TypeError: ") as error:
        loop("take", steps="many")
    assert "\n" not in str(error.value)
    del loop, error
    wait_until_gone([process.pid])


def test_an_original_that_is_not_here_is_left_out(capsys):
    assert in_a_loop("humanoid_bench/h1-walk", 1, "") is None
    said = capsys.readouterr().err
    assert said.startswith("left out: the original of humanoid_bench/h1-walk: ")
    assert "No module named 'humanoid_bench'" in said and said.count("\n") == 1
    assert in_a_loop("gymnax/Pendulum-v1", 1, "") is None

"""Policies as ONNX files: the runtime of others acts as ours does, for every agent."""

import json
import sys

import jax
import numpy as np
import pytest

from purejax_simba import export
from purejax_simba.agents import registry
from purejax_simba.config import Config, ConfigError
from purejax_simba.runs.policies import Policy, TrainedPolicy, load_policy
from purejax_simba.training import make_program
from tests.helpers import tiny

TASK = "gymnax/Pendulum-v1"


def _policy(name: str, **given: int) -> TrainedPolicy:
    """With the statistics of observations that are far from normal."""
    if name != "random":
        given |= {"actor_hidden_dim": 16, "critic_hidden_dim": 8}
    agent = registry.agent_settings(name, **given)
    program = make_program(Config(task=TASK, agent=agent, normalize_observations=True))
    numbers = program.hyperparameters()
    state = jax.jit(program.init)(jax.random.key(0), numbers)
    seen = 3.0 * jax.random.normal(jax.random.key(1), (50, 3)) + 1.0
    moments = state.observation_moments.update(seen)
    return TrainedPolicy(program, Policy(state.agent.actor, moments, numbers), seed=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in registry.AGENTS if name != "random"])
def test_the_model_acts_like_the_policy(name):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    policy = _policy(name)
    data = export.export(policy)
    session = runtime.InferenceSession(data)
    assert [(x.name, x.shape) for x in session.get_inputs()] == [("observation", ["N", 3])]
    assert [(x.name, x.shape) for x in session.get_outputs()] == [("action", ["N", 1])]
    for count in (1, 64):
        observation = np.random.default_rng(count).normal(1, 3, (count, 3)).astype(np.float32)
        (action,) = session.run(["action"], {"observation": observation})
        np.testing.assert_allclose(action, policy(observation), atol=1e-5)
    metadata = {x.key: x.value for x in onnx.load_from_string(data).metadata_props}
    assert (metadata["task"], metadata["agent"], metadata["seed"]) == (TASK, name, "4")


@pytest.mark.slow
def test_the_model_takes_what_the_actor_sees():
    """What simulators tell critics, no robot knows."""
    runtime = pytest.importorskip("onnxruntime")
    policy = _policy("flash_sac", actor_observation_size=2)
    session = runtime.InferenceSession(export.export(policy))
    assert [x.shape for x in session.get_inputs()] == [["N", 2]]
    observation = np.random.default_rng(0).normal(1, 3, (9, 3)).astype(np.float32)
    (action,) = session.run(["action"], {"observation": observation[:, :2]})
    np.testing.assert_allclose(action, policy(observation), atol=1e-5)


def test_a_policy_that_draws_is_no_model(monkeypatch):
    monkeypatch.setattr(export, "require", lambda *_: None)
    with pytest.raises(ConfigError, match="random draws its actions in evaluations too"):
        export.export(_policy("random"))


@pytest.mark.slow
def test_the_command_writes_the_policy_of_a_run(tmp_path, monkeypatch, capsys):
    runtime = pytest.importorskip("onnxruntime")
    tiny.train("dmc/cartpole-balance", tmp_path / "runs")
    directory = tmp_path / "runs/simba_v2/dmc/cartpole-balance"
    output = tmp_path / "new/policy.onnx"
    words = [str(directory), "--output", str(output), "--seed", "1"]
    monkeypatch.setattr(sys, "argv", ["export", *words])
    assert export.main() == 0
    assert "seed 1" in capsys.readouterr().out
    policy = load_policy(directory, 1)
    observation = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    (action,) = runtime.InferenceSession(output).run(["action"], {"observation": observation})
    np.testing.assert_allclose(action, policy(observation), atol=1e-5)
    # Where products are rounded, as on GPUs, too.
    tiny.run_module(
        "benchmarks.rounding",
        "tensorfloat32",
        "purejax_simba.export",
        str(directory),
        "--output",
        str(tmp_path / "rounded.onnx"),
    )
    assert (tmp_path / "rounded.onnx").exists()


def test_the_range_of_actions_is_told():
    policy = _policy("sac")
    policy.environment.action_range = (np.array([-2.0]), np.array([2.0]))
    found = export.metadata(policy)
    assert (json.loads(found["action_low"]), json.loads(found["action_high"])) == ([-2.0], [2.0])

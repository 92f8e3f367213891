"""The example of `docs/agents.md` is complete, short, and learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba.agents import registry
from purejax_simba.commands import train
from purejax_simba.config import Config, ConfigError, ReplayConfig
from purejax_simba.run_state import Counters
from purejax_simba.training import make_program, make_train
from tests.helpers import updates
from tests.helpers.in_process import forgetting
from tests.helpers.pages import file_block


@pytest.fixture
def ddpg(tmp_path, monkeypatch):
    """Its module can be found, and is forgotten afterwards."""
    (tmp_path / "ddpg.py").write_text(file_block("ddpg.py"))
    monkeypatch.syspath_prepend(tmp_path)
    with forgetting("ddpg"):
        yield


def test_the_example_has_fewer_than_120_lines():
    assert len(file_block("ddpg.py").splitlines()) < 120


def test_naming_it_finds_its_module_and_settings(ddpg):
    config = train.parse(["--agent.name", "ddpg", "--agent.exploration-noise", "0.3"]).config
    assert (config.agent.name, config.agent.exploration_noise) == ("ddpg", 0.3)
    with pytest.raises(
        ConfigError, match=r"--agent\.shift 1\.0 is of no use to --agent\.name ddpg"
    ):
        train.parse(["--agent.name", "ddpg", "--agent.shift", "1.0"])


def test_what_its_module_lacks_is_said(tmp_path, monkeypatch):
    (tmp_path / "unfinished_agent.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        registry.agent_settings("unfinished_agent")


def test_a_module_that_ends_the_program_does_not(tmp_path, monkeypatch):
    (tmp_path / "leaving.py").write_text("raise SystemExit(7)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="importing leaving raised SystemExit: 7"):
        registry.load("leaving")


def test_a_few_updates_fit_the_values_and_climb_them(ddpg):
    agent, numbers = updates.make("ddpg", learning_rate=1e-2)
    state, batch = updates.start(agent, numbers)
    update = jax.jit(agent.update)
    trace = []
    for number in range(30):
        state, metrics, errors = update(state, batch, updates.noise(0), numbers, jnp.int32(number))
        trace.append(metrics)
    assert errors.shape == (updates.BATCH,)
    assert trace[-1].critic_loss < 0.5 * trace[0].critic_loss
    assert trace[-1].actor_loss < trace[0].actor_loss
    assert int(state.updates) == 30


def _config(**options) -> Config:
    settings = {"actor_hidden_dim": 32, "critic_hidden_dim": 32, "learning_rate": 1e-3}
    return Config(
        task="gymnax/Pendulum-v1",
        learning_starts=500,
        agent=registry.agent_settings("ddpg", **settings),
        replay=ReplayConfig(batch_size=64),
        **options,
    )


def test_diagnostics_know_it(ddpg):
    """Traced only."""
    program = make_program(_config(total_env_steps=1000, evaluation_interval=1000))
    numbers = program.hyperparameters()
    state = jax.eval_shape(program.init, jax.random.key(0), numbers)
    metrics = jax.eval_shape(program.diagnose, Counters.create(), state, numbers)
    assert {"actor/gradient_norm", "critic/srank"} <= metrics.keys()


@pytest.mark.slow
@pytest.mark.optimised
def test_it_learns_to_swing_up_a_pendulum(ddpg):
    config = _config(total_env_steps=6000, evaluation_interval=6000)
    numbers = make_program(config).hyperparameters()
    keys = jax.vmap(jax.random.key)(jnp.arange(4))
    _, reports = jax.jit(jax.vmap(make_train(config), in_axes=(0, None)))(keys, numbers)
    before, after = np.asarray(reports.evaluation.avg_return).T
    assert before.mean() < -700
    assert after.mean() > -400

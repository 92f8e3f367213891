"""A setting is declared once: everything that can be done with it follows from one line."""

import dataclasses
import json
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

import envs
from purejax_simba.agents import registry, sac
from purejax_simba.agents.droq import DroQ
from purejax_simba.agents.sac import SAC
from purejax_simba.agents.settings import AgentSettings, Learner
from purejax_simba.agents.simba_v2 import SimbaV2
from purejax_simba.commands import train
from purejax_simba.config import (
    CheckpointConfig,
    Config,
    ConfigError,
    OfflineConfig,
    ReplayConfig,
    StartConfig,
)
from purejax_simba.defaults import hyperparameters, resolve
from purejax_simba.names import find_name, flatten, is_traced, replace_values, settings_of
from purejax_simba.runs.result_files import read_config, write_config
from purejax_simba.settings import Setting, declarations, setting
from purejax_simba.sweep.axes import parse_axis
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.grouping import group, static_part
from tests.helpers.in_process import forgetting

TASK = "gymnax/Pendulum-v1"


class Calm(SAC):
    """Soft actor-critic that can be calmed."""

    name = "calm"
    tau = 0.25
    calmness: float = setting(0.5, traced=True, above=0, at_most=1)
    """How calm it is."""


@pytest.fixture(autouse=True)
def calm_is_known():
    registry.register(Calm, sac.make)
    yield
    del registry.AGENTS["calm"]


def _resolve(config: Config, action_size: int = 1) -> Config:
    environment: Any = SimpleNamespace(episode_length=200, action_size=action_size)
    return resolve(config, environment)


def _calm(**given: Any) -> Config:
    return _resolve(Config(TASK, agent=Calm(**given)))


def test_it_is_a_traced_number():
    compiled = []

    @jax.jit
    def double(numbers):
        compiled.append(1)
        return 2.0 * numbers.calmness

    runs = [_calm(), _calm(calmness=0.25)]
    assert [float(double(hyperparameters(run, 1))) for run in runs] == [1.0, 0.5]
    assert len(compiled) == 1
    assert static_part(runs[0]) == static_part(runs[1])


def test_it_is_an_axis_of_sweeps_within_one_program():
    axis = parse_axis("uniform", "agent.calmness=0.1,0.9")
    sweep = Sweep(Config(TASK, agent=Calm()), (TASK,), (axis,), samples=3)
    configs = [_resolve(trial.config) for trial in sweep.trials()]
    assert len({config.agent.calmness for config in configs}) == 3
    assert group(configs) == [[0, 1, 2]]


@pytest.mark.parametrize("value", ["0", "1.5", "inf", "nan"])
def test_it_is_checked(value):
    config = train.parse(["--agent.name", "calm", "--agent.calmness", value]).config
    with pytest.raises(ConfigError, match=r"^--agent\.calmness is .*: give a number in \(0, 1\]$"):
        _resolve(config)


@pytest.mark.parametrize(
    ("bounds", "value", "advice"),
    [
        ({"above": 0}, 0, "a finite number above 0"),
        ({"at_least": 2}, 1, "2 or more"),
        ({"at_least": 0, "below": 1}, 1.0, r"a number in \[0, 1\)"),
        ({"above": -1, "at_most": 1.5}, -1, r"a number in \(-1, 1.5\]"),
        ({"at_least": 1}, (3, 0), "1 or more"),
    ],
)
def test_bounds_are_said(bounds, value, advice):
    with pytest.raises(ConfigError, match=f"^--some-thing is .*: give {advice}$"):
        Setting(**bounds).check("some_thing", value)


def test_the_last_values_that_work_are_accepted():
    environment: Any = SimpleNamespace(episode_length=5, action_size=2)
    config = Config(
        TASK,
        num_seeds=3,
        seed=2**32 - 3,
        num_environments=2,
        total_env_steps=400,
        evaluation_interval=200,
        learning_starts=392,  # with n-step, the last interaction has an update
        discount=0.0,
        agent=SAC(tau=1.0),
        replay=ReplayConfig(
            capacity=400,
            batch_size=400,
            n_step=5,
            prioritized=True,
            priority_exponent=0.0,
            importance_exponent=1.0,
        ),
    )
    resolved = resolve(config, environment)
    assert (resolved.interactions, resolved.stored_transitions) == (200, 400)
    for changes in (
        {"seed": 2**32 - 2},
        {"learning_starts": 394},
        {"replay": dataclasses.replace(config.replay, batch_size=401)},
        {"replay": dataclasses.replace(config.replay, n_step=6)},
    ):
        with pytest.raises(ConfigError):
            resolve(dataclasses.replace(config, **changes), environment)


def test_env_steps_are_those_of_all_environments():
    environment: Any = SimpleNamespace(episode_length=100, action_size=1)
    config = Config(
        TASK,
        num_environments=3,
        action_repeat=2,
        total_env_steps=1200,
        evaluation_interval=240,
        learning_starts=30,
        update_to_data_ratio=0.5,
        checkpoint=CheckpointConfig(interval=60),
        replay=ReplayConfig(capacity=3000),
    )
    config = resolve(config, environment)
    assert (config.steps_per_interaction, config.interactions, config.steps) == (6, 200, 1200)
    assert (config.interactions_per_evaluation, config.interactions_per_checkpoint) == (40, 10)
    assert (config.stored_transitions, config.updates_per_interaction) == (600, 1.5)
    # Rounded is what follows an interaction, not what goes with a transition.
    for number, ratio in ((16_384, 1 / 16_384), (3, 1 / 3), (30_000, 3.33333e-5)):
        wide = dataclasses.replace(config, num_environments=number, update_to_data_ratio=ratio)
        assert wide.updates_per_interaction == 1
    # The first update follows the interaction with which there are enough transitions.
    late = dataclasses.replace(config, learning_starts=40, replay=ReplayConfig(n_step=3))
    assert late.interactions_before_updates == 16  # of three environments
    # The learning rate reaches its end with the last of these updates.
    numbers = hyperparameters(config, 1)
    assert float(numbers.learning_rate_decay_updates) == 300.0
    none = dataclasses.replace(config, checkpoint=CheckpointConfig(interval=0))
    assert none.interactions_per_checkpoint == 0


def test_returns_are_bounded_if_they_are_to_be():
    for bound, expected in ((True, 7.0), (False, float("inf"))):
        config = _resolve(Config(TASK, bound_returns=bound, agent=SimbaV2(value_range=7.0)))
        numbers = hyperparameters(config, 1)
        assert (numbers.return_bound, numbers.value_range) == (expected, 7.0)


def test_it_is_documented(capsys):
    with pytest.raises(SystemExit):
        train.parse(["--agent.name", "calm", "--help-all"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--agent.calmness FLOAT How calm it is. (default: 0.5)" in shown
    assert "target network's moving average. (default: 0.25)" in shown
    assert "random,calm}" in shown.replace(" ", "")  # lines end anywhere


@pytest.mark.parametrize("words", ["--agent.calmness 0.5", "--agent.name td3 --agent.calmness=0.5"])
def test_it_is_refused_where_it_is_of_no_use(words):
    with pytest.raises(ConfigError, match=r"^--agent\.calmness 0\.5 is of no use to --agent\.name"):
        train.parse(words.split())


def test_it_is_stored_and_read(tmp_path):
    config = _calm(calmness=0.75)
    write_config(tmp_path, config)
    assert read_config(tmp_path) == config
    assert json.loads((tmp_path / "config.json").read_text())["agent"]["calmness"] == 0.75


def test_another_default_keeps_all_else_that_was_declared():
    own, inherited = declarations(Calm)["tau"], declarations(SAC)["tau"]
    assert own == dataclasses.replace(inherited, default=0.25)
    assert _calm().agent.tau == 0.25
    with pytest.raises(ConfigError, match=r"--agent\.tau is 2: give a number in \(0, 1\]"):
        _calm(tau=2)


def test_every_number_of_an_agent_can_vary_within_a_program():
    """All that is no size or choice: nobody forgets one."""
    static = {"num_critics", "policy_delay", "num_bins", "actor_observation_size"}
    for name, agent in registry.AGENTS.items():
        for setting_name, declared in declarations(agent.settings).items():
            if declared.kind in (int, float) and not setting_name.endswith(("_dim", "_blocks")):
                assert declared.traced != (setting_name in static), (name, setting_name)
    assert is_traced("agent.dropout_rate")
    assert parse_axis("log_uniform", "agent.dropout-rate=1e-4,0.1").values == (1e-4, 0.1)


def test_what_is_given_is_overwritten_by_no_recipe_and_no_default():
    given = DroQ(dropout_rate=0.01, tau=0.005)  # as everywhere but on some tasks
    config = _resolve(Config("mujoco/Humanoid-v4", recipe="paper", agent=given))
    assert config.agent.dropout_rate == 0.01
    offline = OfflineConfig("x.hdf5", transitions=500)
    given = SimbaV2(behaviour_cloning_weight=0.0, learning_rate_end=5e-5)
    config = _resolve(Config(TASK, offline=offline, agent=given))
    assert (config.agent.behaviour_cloning_weight, config.agent.learning_rate_end) == (0.0, 5e-5)
    # Those of a run in an environment, which would come shortly before the end.
    bro = _resolve(Config(TASK, offline=offline, agent=registry.agent_settings("bro")))
    assert bro.agent.reset_env_steps == ()
    # The learning rate of other agents does not fall, offline neither.
    assert _resolve(Config(TASK, offline=offline, agent=SAC())).agent.learning_rate_end == 3e-4


def test_another_agent_keeps_what_was_given_and_refuses_what_it_does_not_have():
    config = Config(TASK, agent=SimbaV2(tau=0.1))
    assert replace_values(config, {"agent.name": "td3"}).agent == registry.agent_settings(
        "td3", tau=0.1
    )
    values = {"agent.name": "td3", "agent.tau": None, "agent.policy_delay": 3}
    assert replace_values(config, values).agent == registry.agent_settings("td3", policy_delay=3)
    with pytest.raises(ConfigError, match=r"^--agent\.tau 0\.1 is of no use to --agent\.name rand"):
        replace_values(config, {"agent.name": "random"})


def test_another_learning_rate_than_that_of_a_file_stays_as_constant_as_it_was(tmp_path):
    """The file has both ends, filled in, and of SimbaV2 two that differ."""
    path = tmp_path / "config.json"

    def ends(agent: AgentSettings, *words: str) -> tuple[float, float]:
        config = _resolve(Config(TASK, agent=agent))
        path.write_text(json.dumps(dataclasses.asdict(config)))
        read = _resolve(train.parse(["--config", str(path), *words]).config)
        return read.agent.learning_rate, read.agent.learning_rate_end

    other = ("--agent.learning-rate", "1e-3")
    assert ends(SAC()) == (3e-4, 3e-4)
    assert ends(SAC(), *other) == (1e-3, 1e-3)
    assert ends(SAC(learning_rate_end=1e-4), *other) == (1e-3, 1e-4)
    assert ends(SAC(), *other, "--agent.learning_rate_end=3e-4") == (1e-3, 3e-4)
    assert ends(SimbaV2(), *other) == (1e-3, 5e-5)
    # Also where the file leaves something open.
    values = json.loads(path.read_text()) | {"agent": {"name": "sac", "learning_rate": 3e-4}}
    values["agent"]["learning_rate_end"] = 3e-4
    path.write_text(json.dumps(values | {"experiment": ""}))
    read = train.parse(["--config", str(path), *other]).config
    assert read.agent.learning_rate_end == 1e-3


def test_a_file_may_have_nulls_for_what_the_agent_does_not_have(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"agent": {"name": "sac", "num_bins": None, "tau": 0.1}}))
    assert train.parse(["--config", str(path)]).config == Config(agent=SAC(tau=0.1))
    path.write_text(json.dumps({"agent": {"num_bins": 11, "name": "sac"}}))
    with pytest.raises(ConfigError, match=r"--agent\.num-bins 11 is of no use to --agent\.name s"):
        train.parse(["--config", str(path)])
    path.write_text(json.dumps({"agent": {"num_bin": None}}))
    with pytest.raises(ConfigError, match="num_bins"):
        train.parse(["--config", str(path)])


def test_settings_that_are_open_are_those_that_are_not_given():
    assert SAC(tau=0.1).given() == {"name": "sac", "tau": 0.1}
    filled = SAC(tau=0.1).with_defaults()
    assert (filled.tau, filled.learning_rate, filled.learning_rate_end) == (0.1, 3e-4, None)
    assert isinstance(filled, Learner)
    with pytest.raises(ConfigError, match="settings of sac, not of td3"):
        SAC(name="td3")
    with pytest.raises(TypeError, match="tua"):
        SAC(tua=0.1)  # type: ignore[call-arg]


def test_names_are_those_of_all_agents_and_values_those_of_one():
    assert find_name("agent.calmness") == "agent.calmness"
    config = Config(agent=Calm())
    assert settings_of(config).keys() == flatten(config).keys()
    assert "agent.calmness" not in flatten(Config())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"total_env_steps": 1e4}, "--total-env-steps is 10000.0: give a whole number"),
        ({"num_seeds": True}, "--num-seeds is True: give a whole number"),
        ({"num_seeds": np.int64(2)}, r"--num-seeds is np.int64\(2\): give a whole number"),
        ({"normalize_observations": "false"}, "'false': give true or false"),
        ({"agent": SimbaV2(learning_rate="3e-4")}, "'3e-4': give a number"),
        ({"agent": SimbaV2(reset_env_steps=[1000])}, r"\[1000\]: give a tuple"),
        ({"start": StartConfig(parts="actor")}, "'actor': give a tuple"),
    ],
)
def test_values_of_other_types_are_refused_in_python_too(changes, said):
    with pytest.raises(ConfigError, match=said):
        _resolve(Config(TASK, **changes))
    assert _resolve(Config(TASK, discount=np.float64(0.9), agent=SAC(tau=1)))


def test_a_task_that_is_said_with_its_module_is_no_other_task(tmp_path, monkeypatch):
    monkeypatch.setattr("envs.registry._specs", dict(envs.registry._specs))
    monkeypatch.syspath_prepend(tmp_path)
    lines = ("import envs", f"envs.register('mine/own', lambda _: envs.make('{TASK}'))")
    (tmp_path / "said_with_it.py").write_text("\n".join(lines))
    path = tmp_path / "config.json"
    path.write_text(json.dumps(dataclasses.asdict(_resolve(Config(TASK))) | {"task": "mine/own"}))
    with forgetting("said_with_it"):
        read = train.parse(["--config", str(path), "--task", "said_with_it:mine/own"]).config
    assert read.task == "said_with_it:mine/own"


def test_what_followed_from_the_task_of_a_file_is_asked_for(tmp_path):
    """Everything in it counts as given; of another task it would be that of the first."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(dataclasses.asdict(_resolve(Config("dmc/cheetah-run")))))
    words = ["--config", str(path), "--task", "gymnax/Pendulum-v1"]
    missing = "--action-repeat --episode-length --agent.num-critics --discount --update-to-data-rat"
    with pytest.raises(ConfigError, match=f"for dmc/cheetah-run: give {missing}io too"):
        train.parse(words)
    given = ["--action-repeat", "1", "--discount", "0.95", "--agent.num_critics=1"]
    given += ["--update-to-data-ratio=1", "--episode-length", "200"]
    read = train.parse([*words, *given]).config
    assert (read.task, read.action_repeat, read.episode_length) == ("gymnax/Pendulum-v1", 1, 200)
    with pytest.raises(ConfigError, match="give --discount --update-to-data-ratio too"):
        train.parse(["--config", str(path), "--action-repeat", "4"])
    # Others always have two critics.
    path.write_text(
        json.dumps(dataclasses.asdict(_resolve(Config("dmc/cheetah-run", agent=SAC()))))
    )
    with pytest.raises(ConfigError, match="--episode-length --discount"):
        train.parse(words)

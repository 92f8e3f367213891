"""The presets of the paper: each changes what its name says, and nothing else."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba.agents import registry
from purejax_simba.config import AgentConfig, Config
from purejax_simba.hyperparameters import HyperParameters
from purejax_simba.names import flatten, replace_values
from purejax_simba.networks import simba_v2 as networks
from purejax_simba.normalisation import RewardScale
from purejax_simba.resolving import hyperparameters, resolve
from purejax_simba.sweep.axes import parse_axis
from purejax_simba.sweep.grouping import group
from purejax_simba.sweep.options import BaseConfig, SweepOptions, make_sweep
from purejax_simba.sweep.presets import PRESETS
from purejax_simba.values import CategoricalValue, ScalarValue

CONFIG = Config(task="gymnax/Pendulum-v1", agent=AgentConfig(critic_hidden_dim=64))
NUMBERS_OF = {
    "b-no-shift": {"actor.shift": 0.0, "critic.shift": 0.0},
    "c-shift-1": {"actor.shift": 1.0, "critic.shift": 1.0},
    "g-no-reward-bound": {"return_bound": np.inf},
    "h-hard-target-copy": {"tau": 1.0, "target_update_interval": 200},
    "i-no-learning-rate-decay": {"learning_rate_end": 1e-4},
    "j-scaler-init-1": {"actor.scaler_init": 1.0, "critic.scaler_init": 1.0},
    "k-scaler-scale-1": {"actor.scaler_scale": 1.0, "critic.scaler_scale": 1.0},
    "l-alpha-init-0.5": {"critic.alpha_init": 0.5},  # of the actor with its one block it is so
    "m-alpha-scale-1": {"actor.alpha_scale": 1.0, "critic.alpha_scale": 1.0},
}
STATIC_PARTS_OF = {
    "a-no-input-norm": {"normalize_observations": False},
    "d-resize-projection": {"agent.input_projection": "resize"},
    "e-squared-error": {"agent.critic_loss": "squared_error"},
    "f-no-reward-norm": {"normalize_rewards": False},
}


@functools.cache
def _variants(preset: str) -> dict[str, Config]:
    variants = PRESETS[preset](CONFIG)
    return {name: resolve(replace_values(CONFIG, values)) for name, values in variants.items()}


def _numbers(config: Config) -> dict[str, float]:
    numbers = hyperparameters(config, 3)
    flat = {f.name: getattr(numbers, f.name) for f in dataclasses.fields(HyperParameters)}
    for network in ("actor", "critic"):
        scales = flat.pop(network)
        flat |= {f"{network}.{f.name}": getattr(scales, f.name) for f in dataclasses.fields(scales)}
    return {name: float(value) for name, value in flat.items()}


def _changes(before: dict, after: dict) -> dict:
    return {name: value for name, value in after.items() if value != before[name]}


def test_all_thirteen_are_there():
    letters = [name[0] for name in _variants("design-study") if name != "unchanged"]
    assert letters == list("abcdefghijklm")
    assert (
        NUMBERS_OF.keys() | STATIC_PARTS_OF.keys() | {"unchanged"}
        == _variants("design-study").keys()
    )


@pytest.mark.parametrize("name", NUMBERS_OF)
def test_numbers_change_as_named_and_no_others(name):
    study = _variants("design-study")
    changes = _changes(_numbers(study["unchanged"]), _numbers(study[name]))
    assert changes == pytest.approx(NUMBERS_OF[name])


@pytest.mark.parametrize("name", STATIC_PARTS_OF)
def test_static_parts_change_as_named_and_nothing_else(name):
    study = _variants("design-study")
    changes = _changes(flatten(study["unchanged"]), flatten(study[name]))
    assert changes == STATIC_PARTS_OF[name]
    assert _numbers(study["unchanged"]) == _numbers(study[name])


def test_those_that_are_numbers_share_a_program():
    study = _variants("design-study")
    names, configs = list(study), list(study.values())
    groups = [{names[i] for i in members} for members in group(configs)]
    assert groups[0] == {"unchanged", *NUMBERS_OF}
    assert sorted(map(sorted, groups[1:])) == [[name] for name in sorted(STATIC_PARTS_OF)]


def test_a_resized_input_has_unit_length_and_its_length_beside_it():
    scales = hyperparameters(_variants("design-study")["unchanged"], 3).critic
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    params = networks.Embedder(8, resizes=True).init(jax.random.key(0), x, scales)
    embedded = networks.Embedder(8, resizes=True).apply(params, x, scales)
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    lifted = np.concatenate([x / length, length], axis=-1) / np.sqrt(1 + length**2)
    projected = lifted @ np.asarray(params["params"]["kernel"])  # the scaler is the same for all
    expected = projected / np.linalg.norm(projected, axis=-1, keepdims=True)
    np.testing.assert_allclose(embedded, expected, rtol=1e-4, atol=1e-6)


def test_critics_represent_a_distribution_or_a_number():
    study = _variants("design-study")
    value = {n: registry.make(3, 1, study[n].agent).value for n in ("unchanged", "e-squared-error")}
    assert value == {"unchanged": CategoricalValue(101), "e-squared-error": ScalarValue()}


def test_without_bound_rewards_are_divided_by_the_deviation_alone():
    scale = RewardScale.create(1)
    for reward in (0.0, 100.0, 0.0, 0.0):
        scale = scale.update(jnp.array([reward]), jnp.array([False]), jnp.float32(0.0))
    deviation = np.std([0, 100, 0, 0])
    assert float(scale.denominator(jnp.float32(1.0))) == 100.0
    np.testing.assert_allclose(scale.denominator(jnp.float32(np.inf)), deviation, rtol=1e-3)


def test_other_presets():
    widths = [config.agent.critic_hidden_dim for config in _variants("parameter-scaling").values()]
    assert widths == [128, 256, 512, 1024]
    ratios = [config.update_to_data_ratio for config in _variants("utd-scaling").values()]
    assert ratios == [1, 2, 4, 8]
    resets = {name: config.agent.reset_env_steps for name, config in _variants("resets").items()}
    assert resets == {
        "never": (),
        "every-half": (500_000,),
        "every-fifth": (200_000, 400_000, 600_000, 800_000),
    }


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_sweeps_whose_results_can_be_read_again(preset):
    config = BaseConfig(task=(CONFIG.task,), agent=CONFIG.agent)
    sweep = make_sweep(SweepOptions(config=config, preset=preset))
    variants = PRESETS[preset](CONFIG)
    assert sweep.config.experiment == preset
    names = [f"{i:03d}-{name}" for i, name in enumerate(variants)]
    assert [point.name for point in sweep.points()] == names
    for trial, values in zip(sweep.trials(), variants.values(), strict=True):
        expected = replace_values(CONFIG, values | {"experiment": trial.config.experiment})
        assert resolve(trial.config) == resolve(expected)
    for axis in sweep.all_axes:
        assert parse_axis("grid", str(axis).partition(" ")[2]) == axis


def test_resets_in_a_short_run_are_not_trained_twice():
    config = dataclasses.replace(CONFIG, total_env_steps=200_000, evaluation_interval=100_000)
    assert PRESETS["resets"](config).keys() == {"never", "every-half"}

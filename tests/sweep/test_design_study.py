"""The presets of the paper: each changes what its name says, and nothing else."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_simba.agents import registry, sac, simba_v2
from purejax_simba.agents.observed import look
from purejax_simba.agents.simba_v2 import SimbaV2
from purejax_simba.agents.values import CategoricalValue, ScalarValue
from purejax_simba.config import Config, ConfigError
from purejax_simba.data.normalisation import RewardScale
from purejax_simba.defaults import hyperparameters, resolve
from purejax_simba.names import flatten, replace_values
from purejax_simba.runs.checkpoint import named_leaves
from purejax_simba.sweep.axes import parse_axis
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.grouping import group
from purejax_simba.sweep.options import BaseConfig, SweepOptions, make_sweep
from purejax_simba.sweep.presets import PRESETS

CONFIG = Config(task="gymnax/Pendulum-v1", agent=SimbaV2(critic_hidden_dim=64))
NUMBERS_OF = {
    "c-shift-1": {"actor.shift": 1.0, "critic.shift": 1.0},
    "g-no-reward-bound": {"return_bound": np.inf},
    "h-hard-target-copy": {"tau": 1.0, "target_update_interval": 250},
    "i-no-learning-rate-decay": {"learning_rate_end": 1e-4},
    "j-scaler-init-1": {"actor.block_scaler_init": 1.0, "critic.block_scaler_init": 1.0},
    "k-scaler-scale-1": {"actor.block_scaler_scale": 1.0, "critic.block_scaler_scale": 1.0},
    "l-alpha-init-0.5": {"critic.alpha_init": 0.5},  # of the actor with its one block it is so
    "m-alpha-scale-1": {"actor.alpha_scale": 1.0, "critic.alpha_scale": 1.0},
}
STATIC_PARTS_OF = {
    "a-no-input-norm": {"agent.input_projection": "raw"},
    "b-no-shift": {"agent.input_projection": "normalize"},
    "d-resize-projection": {"agent.input_projection": "hypercube"},
    "e-squared-error": {"agent.critic_loss": "squared_error"},
    "f-no-reward-norm": {"normalize_rewards": False},
}


@functools.cache
def _variants(preset: str) -> dict[str, Config]:
    variants = PRESETS[preset](CONFIG)
    return {name: resolve(replace_values(CONFIG, values)) for name, values in variants.items()}


def _numbers(config: Config) -> dict[str, float]:
    numbers = hyperparameters(config, 3)
    return {name: float(value) for name, value in named_leaves(numbers).items()}


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


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _clipped_cube(x: np.ndarray) -> np.ndarray:
    cube = np.clip(x, -3.0, 3.0) / (3.0 * np.sqrt(x.shape[-1]))
    return np.concatenate([cube, np.sqrt(1.0 - (cube**2).sum(-1, keepdims=True))], axis=-1)


# What the first layer gets of an input: as the unchanged agent, and as the three ablations.
PROJECTED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "unchanged": lambda x: _unit(np.concatenate([x, np.full((len(x), 1), 3.0)], axis=-1)),
    "a-no-input-norm": lambda x: x,
    "b-no-shift": _unit,
    "d-resize-projection": _clipped_cube,
}


@pytest.mark.parametrize("name", PROJECTED)
def test_what_the_first_layer_gets_of_an_input(name):
    config = _variants("design-study")[name]
    assert config.normalize_observations  # by running statistics, before all this
    scales = hyperparameters(config, 3).critic
    # Some beyond 3, some below, and all of the last at the corner of the cube.
    x = 3.0 * np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    x[5] = [9.0, -9.0, 9.0, 9.0]
    embedder = simba_v2.Embedder(8, config.agent.input_projection)
    params = embedder.init(jax.random.key(0), x, scales)["params"]
    projected = PROJECTED[name](x.astype(np.float64))
    kernel = np.asarray(params["kernel"], np.float64)
    assert kernel.shape == (projected.shape[-1], 8)
    assert (np.abs(np.linalg.norm(projected, axis=-1) - 1.0) < 1e-12).all() == (name[0] != "a")
    ours = simba_v2.project_input(jnp.asarray(x), config.agent.input_projection, scales.shift)
    np.testing.assert_allclose(ours, projected, rtol=1e-5, atol=1e-6)
    # Scalers are the same in all components: the length that they give is taken away again.
    embedded = embedder.apply({"params": params}, x, scales)
    np.testing.assert_allclose(embedded, _unit(projected @ kernel), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", PROJECTED)
def test_gradients_to_the_input_are_finite_everywhere(name):
    config = _variants("design-study")[name]
    corners = jnp.array([[9.0, -9.0, 3.0, 3.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, -9.0]])

    def first(x: jax.Array) -> jax.Array:
        return simba_v2.project_input(x, config.agent.input_projection, jnp.float32(3.0)).sum()

    assert jnp.isfinite(jax.vmap(jax.grad(first))(corners)).all()


@functools.cache
def _encoder() -> tuple[simba_v2.Encoder, Callable]:
    """One 64 wide with two blocks, and its `init`, compiled."""
    encoder = simba_v2.Encoder(64, 2)
    return encoder, jax.jit(encoder.init)


@pytest.mark.parametrize(
    ("name", "init", "scale"),
    [
        ("unchanged", 64**-0.5 / 2**0.5, 64**-0.5 / 2**0.5),
        ("j-scaler-init-1", 1.0, 64**-0.5 / 2**0.5),
        ("k-scaler-scale-1", 64**-0.5 / 2**0.5, 1.0),
    ],
)
def test_where_scalers_of_blocks_begin_and_at_which_pace_they_move(name, init, scale):
    config = _variants("design-study")[name]
    scales = hyperparameters(config, 3).critic
    encoder, initialise = _encoder()
    x = jnp.ones((1, 5))
    params = initialise(jax.random.key(0), x, scales)
    _, observed = look(encoder.apply, params, x, scales)
    used = {each.module: each.value for each in observed if each.kind == "scaler"}
    for block in ("block_0", "block_1"):
        np.testing.assert_allclose(used[block], init, rtol=1e-6)
        np.testing.assert_allclose(params["params"][block]["scaler"], scale, rtol=1e-6)
    # Those of the embedder stay what they were.
    np.testing.assert_allclose(used["embedder"], (2 / 64) ** 0.5, rtol=1e-6)
    np.testing.assert_allclose(params["params"]["embedder"]["scaler"], (2 / 64) ** 0.5, rtol=1e-6)


def test_targets_are_copied_every_250_updates():
    config = _variants("design-study")["h-hard-target-copy"]
    names = ("actor_hidden_dim", "critic_hidden_dim", "actor_num_blocks", "critic_num_blocks")
    settings = dataclasses.replace(config.agent, **dict.fromkeys(names, 1))
    agent, numbers = registry.make(3, 1, settings), hyperparameters(config, 1)
    shapes = jax.eval_shape(agent.init, jax.random.key(0), numbers)
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    moved = jax.tree.map(lambda leaf: leaf + 1.0, state.critic)
    for updates, is_copied in ((199, False), (248, False), (249, True), (399, False), (499, True)):
        before = state.replace(critic=moved, updates=jnp.int32(updates))
        target = sac.finish(before, numbers).target_critic
        expected = moved if is_copied else state.target_critic
        jax.tree.map(np.testing.assert_array_equal, target, expected)


def test_critics_represent_a_distribution_or_a_number():
    study = _variants("design-study")
    expected = {"unchanged": CategoricalValue(101), "e-squared-error": ScalarValue()}
    for name, value in expected.items():
        assert registry.make(3, 1, study[name].agent).actor_critic.value == value


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
    assert [trial.name for trial in sweep.trials()] == names
    for trial, values in zip(sweep.trials(), variants.values(), strict=True):
        expected = replace_values(CONFIG, values | {"experiment": trial.config.experiment})
        assert resolve(trial.config) == resolve(expected)
    for axis in sweep.all_axes:
        assert parse_axis("grid", str(axis).partition(" ")[2]) == axis


@pytest.mark.parametrize("evaluations", [1, 2, 4, 6])
def test_resets_are_after_equal_parts_however_few_the_evaluations(evaluations):
    config = dataclasses.replace(
        CONFIG, total_env_steps=6_000, evaluation_interval=6_000 // evaluations
    )
    resets = [values["agent.reset_env_steps"] for values in PRESETS["resets"](config).values()]
    assert resets == [(), (3_000,), (1_200, 2_400, 3_600, 4_800)]


def test_resets_are_after_whole_interactions():
    config = dataclasses.replace(CONFIG, num_environments=300, total_env_steps=300 * 13)
    variants = PRESETS["resets"](config)
    resets = variants["every-fifth"]["agent.reset_env_steps"]
    assert resets == (600, 1_500, 2_100, 3_000)  # of 13 interactions: parts of 2 or 3
    assert resolve(replace_values(config, variants["every-fifth"])).agent.reset_env_steps == resets


def test_a_run_of_fewer_interactions_than_parts_has_no_such_resets():
    config = dataclasses.replace(CONFIG, num_environments=1_000, total_env_steps=4_000)
    assert PRESETS["resets"](config) == {
        "never": {"agent.reset_env_steps": ()},
        "every-half": {"agent.reset_env_steps": (2_000,)},
    }


def test_resets_fit_a_run_whose_length_is_of_a_recipe():
    """Half of 48,829 interactions of 1,024 environments, not of a million env steps."""
    agent = registry.agent_settings("flash_sac")
    config = Config(CONFIG.task, agent=agent, recipe="parallel")
    (half,) = PRESETS["resets"](config)["every-half"]["agent.reset_env_steps"]
    assert half == 48_829 // 2 * 1_024


def test_an_agent_without_a_learning_rate_has_no_decay_to_leave_out():
    config = dataclasses.replace(CONFIG, agent=registry.agent_settings("random"))
    assert "i-no-learning-rate-decay" not in PRESETS["design-study"](config)


def _sweep(preset: str, **options) -> Sweep:
    config = BaseConfig(task=(CONFIG.task,), agent=CONFIG.agent)
    return make_sweep(SweepOptions(config=config, preset=preset, **options))


def test_variants_follow_the_learning_rate_beside_which_they_train():
    """What a variant does not name is as without the preset; without decay a rate ends as it began.

    At 1e-5 the unchanged agent has no decay either.
    """
    sweep = _sweep("design-study", grid=("agent.learning_rate=1e-5,1e-3",))
    rates: dict[str, list[tuple[float, float]]] = {}
    for trial in sweep.trials():
        agent = resolve(trial.config).agent
        label = trial.name.partition("-")[2]
        rates.setdefault(label, []).append((agent.learning_rate, agent.learning_rate_end))
    assert rates.pop("i-no-learning-rate-decay") == [(1e-3, 1e-3)]
    assert rates.keys() == _variants("design-study").keys() - {"i-no-learning-rate-decay"}
    assert all(pairs == [(1e-5, 1e-5), (1e-3, 5e-5)] for pairs in rates.values())
    for axis in sweep.all_axes:
        assert parse_axis("grid", str(axis).partition(" ")[2]) == axis


def test_resets_follow_the_length_of_the_run_in_which_they_are():
    sweep = _sweep("resets", grid=("total_env_steps=200000,1000000", "agent.tau=0.1,0.2"))
    resets = {
        (trial.name.partition("-")[2], trial.config.total_env_steps): (
            trial.config.agent.reset_env_steps
        )
        for trial in sweep.trials()
    }
    assert len(sweep.trials()) == 2 * len(resets) == 12
    assert resets["every-half", 200_000] == (100_000,)
    assert resets["every-half", 1_000_000] == (500_000,)
    assert resets["every-fifth", 200_000] == (40_000, 80_000, 120_000, 160_000)


@pytest.mark.parametrize(
    "options",
    [
        {"log_uniform": ("agent.learning_rate=1e-4,1e-3",)},
        {"grid": ("agent.learning_rate=1e-4,1e-3",), "sampler": "tpe"},
    ],
)
def test_values_that_variants_need_are_not_sampled(options):
    with pytest.raises(
        ConfigError, match=r"each value: list them, --grid agent\.learning-rate=\.\.\.,"
    ):
        _sweep("design-study", samples=4, **options)
    assert _sweep("design-study", samples=4, uniform=("agent.value_range=1,9",)).count == 14 * 4

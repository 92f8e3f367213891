"""The hyperspherical networks: norms, start values, shapes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from purejax_simba.agents import simba_v2
from purejax_simba.agents.agent import Agent, AgentState, Batch, HyperParameters, Noise
from purejax_simba.agents.layers import orthogonal
from purejax_simba.agents.simba_v2 import SimbaV2
from purejax_simba.config import Config
from purejax_simba.defaults import hyperparameters, make_agent, resolve
from tests.helpers import updates

OBSERVATION, ACTION, BATCH = 7, 3, 12
ACTOR, CRITIC, BINS, CRITICS = 8, 16, 11, 2
CONFIG = resolve(
    Config(
        task="gymnax/Pendulum-v1",
        total_env_steps=1000,
        evaluation_interval=1000,
        learning_starts=500,
        discount=0.99,
        agent=SimbaV2(
            actor_hidden_dim=ACTOR,
            critic_hidden_dim=CRITIC,
            critic_num_blocks=1,
            num_bins=BINS,
            num_critics=CRITICS,
            learning_rate=1e-2,
        ),
    )
)


@dataclasses.dataclass
class Task:
    """What the agent needs to know of an environment."""

    observation_size: int = OBSERVATION
    action_size: int = ACTION
    actor_observation_size: int | None = None


@pytest.fixture(scope="module")
def numbers() -> HyperParameters:
    return hyperparameters(CONFIG, ACTION)


@pytest.fixture(scope="module")
def agent() -> Agent:
    return make_agent(CONFIG, Task())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def start(agent: Agent, numbers: HyperParameters) -> AgentState:
    return jax.jit(agent.init)(jax.random.key(0), numbers)


@pytest.fixture(scope="module")
def later(agent: Agent, numbers: HyperParameters, start: AgentState) -> AgentState:
    """The state after some updates at a high learning rate."""
    update = jax.jit(agent.update)
    generator = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape).astype(np.float32)

    state = start
    for _ in range(5):
        batch = Batch(
            observation=draw(BATCH, OBSERVATION),
            action=np.tanh(draw(BATCH, ACTION)),
            reward=draw(BATCH),
            discount=np.full(BATCH, 0.99, np.float32),
            next_observation=draw(BATCH, OBSERVATION),
        )
        noise = Noise(draw(BATCH, ACTION), draw(BATCH, ACTION))
        state, *_ = update(state, batch, noise, numbers, jnp.int32(0))
    return state


def _leaves(params: dict) -> dict[str, np.ndarray]:
    flat = traverse_util.flatten_dict(params, sep="/")
    return {name: np.asarray(leaf, np.float64) for name, leaf in flat.items()}


def _kernels(params: dict) -> dict[str, np.ndarray]:
    return {n: leaf for n, leaf in _leaves(params).items() if n.split("/")[-1][:6] == "kernel"}


def test_kernels_have_unit_columns_from_the_start(start):
    for params in (start.actor, start.critic, start.target_critic):
        for name, kernel in _kernels(params).items():
            norms = np.linalg.norm(kernel, axis=-2)
            np.testing.assert_allclose(norms, 1.0, rtol=1e-6, err_msg=name)


def test_updates_move_kernels_and_keep_their_norms(start, later):
    for before, after in ((start.actor, later.actor), (start.critic, later.critic)):
        for name, kernel in _kernels(after).items():
            np.testing.assert_allclose(np.linalg.norm(kernel, axis=-2), 1.0, rtol=1e-6)
            assert np.abs(kernel - _kernels(before)[name]).max() > 1e-3, name


def test_target_kernels_are_averages_and_not_normalised(later):
    norms = [np.linalg.norm(k, axis=-2) for k in _kernels(later.target_critic).values()]
    shrinkage = max(np.abs(norm - 1.0).max() for norm in norms)
    assert 1e-6 < shrinkage < 1e-2


def test_other_parameters_are_not_normalised(later):
    for params in (later.actor, later.critic):
        free = {n: x for n, x in _leaves(params).items() if n not in _kernels(params)}
        projected = _leaves(simba_v2.project_kernels(params))
        for name, leaf in free.items():
            np.testing.assert_array_equal(projected[name], leaf, err_msg=name)


def test_start_values(start):
    def expect(params: dict, width: int) -> None:
        for name, leaf in _leaves(params).items():
            kind, place = name.split("/")[-1], name.split("/")[-2]
            if kind == "alpha":
                expected = 1 / width**0.5
            elif kind == "scaler" and place == "embedder":
                expected = (2 / width) ** 0.5
            elif kind == "scaler" and place.startswith("block"):
                expected = (2 / width) ** 0.5 / 2
            elif kind == "scaler":
                expected = 1.0
            elif kind == "bias":
                expected = 0.0
            else:
                assert kind.startswith("kernel")
                continue
            np.testing.assert_allclose(leaf, expected, rtol=1e-6, err_msg=name)

    expect(start.actor, ACTOR)
    expect(start.critic, CRITIC)
    np.testing.assert_allclose(np.exp(start.log_temperature), 0.01, rtol=1e-6)
    assert int(start.updates) == 0


def _encoder_shapes(inputs: int, width: int, blocks: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "encoder/embedder/kernel": (inputs + 1, width),
        "encoder/embedder/scaler": (width,),
    }
    for block in range(blocks):
        shapes |= {
            f"encoder/block_{block}/kernel_in": (width, 4 * width),
            f"encoder/block_{block}/scaler": (4 * width,),
            f"encoder/block_{block}/kernel_out": (4 * width, width),
            f"encoder/block_{block}/alpha": (width,),
        }
    return shapes


def _head_shapes(name: str, width: int, features: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}/kernel_in": (width, width),
        f"{name}/scaler": (width,),
        f"{name}/kernel_out": (width, features),
        f"{name}/bias": (features,),
    }


@pytest.mark.parametrize("blocks", [1, 3])
def test_shapes_of_parameters(numbers, blocks):
    sizes = dataclasses.replace(CONFIG.agent, critic_num_blocks=blocks)
    agent = make_agent(dataclasses.replace(CONFIG, agent=sizes), Task())  # type: ignore[arg-type]
    start = jax.eval_shape(agent.init, jax.random.key(0), numbers)
    actor = _encoder_shapes(OBSERVATION, ACTOR, 1)
    actor |= _head_shapes("mean", ACTOR, ACTION) | _head_shapes("log_std", ACTOR, ACTION)
    critic = _encoder_shapes(OBSERVATION + ACTION, CRITIC, blocks)
    critic |= _head_shapes("value", CRITIC, BINS)
    shapes = [
        {name: x.shape for name, x in traverse_util.flatten_dict(params, sep="/").items()}
        for params in (start.actor, start.critic)
    ]
    assert shapes == [actor, {name: (CRITICS, *shape) for name, shape in critic.items()}]


def test_critics_start_different_and_targets_equal(start):
    for name, kernel in _kernels(start.critic).items():
        assert np.abs(kernel[0] - kernel[1]).max() > 0.1, name
    jax.tree.map(np.testing.assert_array_equal, start.critic, start.target_critic)


def test_encoder_outputs_lie_on_the_unit_sphere(later, numbers):
    encoder = jax.jit(simba_v2.Encoder(ACTOR, 1).apply)
    generator = np.random.default_rng(1)
    for size in (0.0, 1e-3, 1.0, 1e4):
        x = (size * generator.standard_normal((BATCH, OBSERVATION))).astype(np.float32)
        output = encoder({"params": later.actor["encoder"]}, x, numbers.actor)
        assert output.shape == (BATCH, ACTOR)
        norms = np.linalg.norm(np.asarray(output, np.float64), axis=-1)
        np.testing.assert_allclose(norms, 1.0, rtol=1e-6)


def test_heads_at_the_start_give_bounded_policies_and_distributions(agent, start, numbers):
    x = np.random.default_rng(2).standard_normal((BATCH, OBSERVATION)).astype(np.float32)
    mean, log_std = jax.jit(agent.actor_critic.actor)(start.actor, x, numbers)
    assert mean.shape == log_std.shape == (BATCH, ACTION)
    assert (log_std >= -10).all()
    assert (log_std <= 2).all()
    outputs = updates.outputs(agent, start.critic, x, np.tanh(mean), numbers)
    assert outputs.shape == (CRITICS, BATCH, BINS)


def test_l2_normalise_leaves_zero_alone():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(simba_v2.l2_normalise(x), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


@pytest.mark.parametrize("shape", [(12, 5), (5, 12)], ids=["tall", "wide"])
def test_orthogonal_under_nested_vmap_is_the_one_alone(shape):
    initialise = orthogonal(column_axis=0)
    keys = jax.random.split(jax.random.key(3), (2, 3))
    batched = jax.jit(jax.vmap(jax.vmap(lambda key: initialise(key, shape))))(keys)
    alone = jax.jit(lambda key: initialise(key, shape))
    for i in range(2):
        for j in range(3):
            matrix = np.asarray(alone(keys[i, j]))
            np.testing.assert_allclose(batched[i, j], matrix, rtol=1e-6, atol=1e-6)
            short = matrix if shape[0] < shape[1] else matrix.T
            gram = short.astype(np.float64) @ short.T.astype(np.float64)
            np.testing.assert_allclose(gram, np.eye(5), atol=1e-5)

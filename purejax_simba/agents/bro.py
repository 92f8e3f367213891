"""BRO (arXiv 2405.16158): big regularised critics, quantiles, optimistic exploration, resets.

Exploration is by a second, optimistic actor (arXiv 2310.19527), which shifts the mean of the policy
towards actions with a high upper bound of the value, the mean of the critics plus their
disagreement. A penalty keeps the divergence between the two policies near a target; its weight and
the optimism are tuned for that, as a temperature is.

Numbers are those of its appendix and of the authors' code: BroNet critics 512 wide with two blocks,
an actor 256 wide with one, 100 quantiles, the mean of the two critics in the place of the smaller
one, AdamW with learning rate 3e-4 and weight decay 1e-4 (Adam with beta1 0.5 for the temperature),
batch 128, a target entropy of minus half the action dimensions, ten updates per step and resets of
everything that is learned. BRO fast has two updates per step and only the first of the resets:
`--update-to-data-ratio 2 --agent.reset-env-steps 15000`.

The paper's recipe: discount 0.99, no action repeat, and 2,500 random steps first.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from purejax_simba.agents import sac
from purejax_simba.agents.agent import ActorCritic, Agent, AgentState, HyperParameters, Params
from purejax_simba.agents.layers import Actor, Critic, Dense, as_functions, orthogonal
from purejax_simba.agents.observed import observe
from purejax_simba.agents.settings import Learner, Recipe, TargetNetworks, WeightDecay
from purejax_simba.agents.values import QuantileValue
from purejax_simba.settings import setting

TEMPERATURE_OPTIMIZER = optax.scale_by_adam(b1=0.5)
RESETS = (15_000, 50_000, 250_000, 500_000, 750_000, 1_000_000, 1_500_000, 2_000_000)
# Of optimistic exploration, those of the authors' code.
STD_MULTIPLIER = 0.75
DIVERGENCE_TARGET = 0.05  # per action dimension
INITIAL_OPTIMISM = 1.0
INITIAL_PENALTY = 0.25
LOG_MIN, LOG_MAX = -10.0, 7.5
TUNING_RATE = 0.1  # times the learning rate
TUNING_OPTIMIZER = optax.scale_by_adam(b1=0.5)
_KEY = 4  # which of an update's keys


class BRO(WeightDecay, TargetNetworks, Learner):
    """BRO (arXiv 2405.16158), appendix and the authors' code."""

    name = "bro"
    actor_hidden_dim = 256
    actor_num_blocks = 1
    critic_hidden_dim = 512
    critic_num_blocks = 2
    num_critics = 2
    learning_rate = 3e-4
    weight_decay = 1e-4
    reset_env_steps = RESETS
    num_bins: int = setting(100, at_least=2)
    """Quantiles of the value distribution."""

    shared = Recipe(
        {
            "update_to_data_ratio": 10.0,
            "replay.batch_size": 128,
            "temperature.initial": 1.0,
            "temperature.target_entropy_coefficient": -0.5,
        }
    )
    paper = Recipe({"action_repeat": 1, "discount": 0.99, "learning_starts": 2_500})


def _dense(name: str, features: int) -> Dense:
    return Dense(features, kernel_init=orthogonal(math.sqrt(2.0)), name=name)


class Block(nn.Module):
    """x + LayerNorm(linear(relu(LayerNorm(linear(x)))))."""

    hidden_dim: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = nn.LayerNorm(name="norm_in")(_dense("dense_in", self.hidden_dim)(x))
        h = observe(self, nn.relu(h), "activation")
        h = nn.LayerNorm(name="norm_out")(_dense("dense_out", self.hidden_dim)(h))
        return observe(self, x + h, "feature")


class Encoder(nn.Module):
    """`(..., n)` to `(..., hidden_dim)`: linear, layer norm, relu and the blocks."""

    hidden_dim: int
    num_blocks: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.LayerNorm(name="norm")(_dense("embedder", self.hidden_dim)(x)))
        observe(self, x, "feature", "activation", of="embedder")
        for index in range(self.num_blocks):
            x = Block(self.hidden_dim, name=f"block_{index}")(x)
        return x


class OptimisticActor(nn.Module):
    """What the optimistic policy adds to the mean `(..., A)` of the conservative one.

    It sees that mean beside the observation `(..., O)`; the sum starts close to the mean
    (arXiv 2310.19527).
    """

    action_size: int
    hidden_dim: int
    num_blocks: int

    @nn.compact
    def __call__(self, observation: jax.Array, mean: jax.Array) -> jax.Array:
        x = jnp.concatenate([observation, mean], axis=-1)
        x = Encoder(self.hidden_dim, self.num_blocks, name="encoder")(x)
        shift = Dense(self.action_size, orthogonal(0.01), use_bias=False, name="shift")
        return shift(x)


@struct.dataclass
class Optimism:
    """What optimistic exploration learns.

    Attributes:
      actor: parameters of the network that shifts the mean.
      actor_optimizer: its optimiser's state.
      weights: `()` each: raw optimism and raw penalty, see `positive`.
      weights_optimizer: their optimiser's state.
    """

    actor: Params
    actor_optimizer: optax.OptState
    weights: tuple[jax.Array, jax.Array]
    weights_optimizer: optax.OptState


def positive(raw: jax.Array) -> jax.Array:
    """The weight that a raw number stands for: its logarithm is squashed into [-10, 7.5]."""
    return jnp.exp(LOG_MIN + 0.5 * (LOG_MAX - LOG_MIN) * (1.0 + jnp.tanh(raw)))


def _raw(weight: float) -> jax.Array:
    return jnp.arctanh((jnp.log(jnp.float32(weight)) - LOG_MIN) / (0.5 * (LOG_MAX - LOG_MIN)) - 1.0)


@struct.dataclass
class State(sac.State):
    """That of SAC, and what optimistic exploration learns."""

    exploration: Optimism


def optimistic_exploration(
    init_shift: Callable[[jax.Array], Params],
    shift: Callable[..., jax.Array],
    actor: Callable[..., tuple[jax.Array, jax.Array]],
    critic: Callable[..., jax.Array],
    value: QuantileValue,
) -> tuple[Callable[..., Optimism], Callable[..., jax.Array], Callable[..., Optimism]]:
    """How BRO acts while it is trained, by the network `shift`, and learns to.

    Args:
      init_shift: `(key) -> params`.
      shift: `(params, observation (..., O), mean (..., A), hyperparameters) -> (..., A)`, what is
        added to the mean of the policy.
      actor, critic, value: those of the agent, see `ActorCritic`.

    Returns:
      `init(key, hyperparameters) -> Optimism`; `explore` of `Agent`, for a state whose
      `exploration` is an `Optimism`; and, for after an update of the actor,
      `update(state, batch, noise, hyperparameters) -> Optimism`.
    """

    def init(key: jax.Array, hyperparameters: HyperParameters) -> Optimism:
        params = init_shift(key)
        weights = _raw(INITIAL_OPTIMISM), _raw(INITIAL_PENALTY)
        return Optimism(
            actor=params,
            actor_optimizer=sac.adamw(hyperparameters).init(params),
            weights=weights,
            weights_optimizer=TUNING_OPTIMIZER.init(weights),
        )

    def explore(state, observation, noise, hyperparameters):
        mean, log_std = actor(state.actor, observation, hyperparameters)
        mean = mean + shift(state.exploration.actor, observation, mean, hyperparameters)
        return jnp.tanh(mean + STD_MULTIPLIER * jnp.exp(log_std) * noise)

    def update(state, batch, noise, hyperparameters):
        own: Optimism = state.exploration
        mean, log_std = actor(state.actor, batch.observation, hyperparameters)
        std = jnp.exp(log_std)
        normal = jax.random.normal(jax.random.fold_in(noise.key, _KEY), mean.shape)
        optimism, penalty = (positive(raw) for raw in own.weights)

        def loss(params: Params) -> tuple[jax.Array, jax.Array]:
            moved = shift(params, batch.observation, mean, hyperparameters)
            action = jnp.tanh(mean + moved + STD_MULTIPLIER * std * normal)
            inputs = (batch.observation, action, hyperparameters)
            outputs = sac.all_critics(critic, state.critic, *inputs)
            centre = outputs.mean(0)
            spread = jnp.abs(outputs - centre).mean(0)
            upper = value.mean(centre + optimism * spread, hyperparameters.value_range)
            # Between Gaussians of the same width: the multiplier does not count.
            divergence = (0.5 * (moved / std) ** 2).sum(-1).mean()
            return penalty * divergence - upper.mean(), divergence

        gradient, divergence = jax.grad(loss, has_aux=True)(own.actor)
        rate = hyperparameters.learning_rate_at(state.updates)
        optimizer = sac.adamw(hyperparameters)
        params, actor_optimizer = sac.step(
            optimizer, gradient, own.actor, own.actor_optimizer, rate
        )
        excess = divergence / mean.shape[-1] - DIVERGENCE_TARGET

        def tuning_loss(weights: tuple[jax.Array, jax.Array]) -> jax.Array:
            optimism, penalty = (positive(raw) for raw in weights)
            return (optimism - penalty) * excess

        weights, weights_optimizer = sac.step(
            TUNING_OPTIMIZER,
            jax.grad(tuning_loss)(own.weights),
            own.weights,
            own.weights_optimizer,
            TUNING_RATE * rate,
        )
        return Optimism(params, actor_optimizer, weights, weights_optimizer)

    return init, explore, update


def make(observation_size: int, action_size: int, settings: BRO) -> Agent:
    """The agent for flat observations and actions of the given sizes."""
    value = QuantileValue(settings.num_bins)
    actor_sizes = settings.actor_hidden_dim, settings.actor_num_blocks
    critic_encoder = Encoder(settings.critic_hidden_dim, settings.critic_num_blocks)
    actor_network = Actor(action_size, Encoder(*actor_sizes), _dense)
    critic_network = Critic(value.outputs, critic_encoder, _dense)
    init_actor, actor = as_functions(actor_network, observation_size)
    init_critic, critic = as_functions(critic_network, observation_size, action_size)
    optimist = as_functions(
        OptimisticActor(action_size, *actor_sizes), observation_size, action_size
    )
    init_exploration, explore, update_exploration = optimistic_exploration(
        *optimist, actor, critic, value
    )

    def init(key: jax.Array, hyperparameters: HyperParameters) -> State:
        actor, critic = sac.init_networks(key, init_actor, init_critic, settings.num_critics)
        return State.create(
            actor,
            critic,
            hyperparameters,
            sac.adamw(hyperparameters),
            TEMPERATURE_OPTIMIZER,
            target_critic=sac.copy(critic),
            exploration=init_exploration(jax.random.fold_in(key, 2), hyperparameters),
        )

    def average(value, outputs, hyperparameters):
        """In the place of the output with the smallest value."""
        return outputs.mean(0)

    actor_loss = sac.actor_loss(actor, critic, value, jnp.mean)
    critic_loss = sac.critic_loss(actor, critic, value, average)

    def update(state, batch, noise, hyperparameters, number):
        optimizer = sac.adamw(hyperparameters)
        data = (batch, noise, hyperparameters)
        state, loss, errors = sac.update_network("critic", critic_loss, optimizer, state, *data)

        def update_policy(state: AgentState) -> tuple[AgentState, sac.PolicyMetrics]:
            state, metrics = sac.update_policy(
                actor_loss, optimizer, state, *data, TEMPERATURE_OPTIMIZER
            )
            return state.replace(exploration=update_exploration(state, *data)), metrics

        state, policy = sac.when_due(update_policy, state, number, settings.policy_delay)
        return sac.finish(state, hyperparameters), sac.report(policy, loss, batch), errors

    act, _ = sac.acting(actor)
    networks = ActorCritic(actor, critic, value, actor_loss, critic_loss)
    return Agent(init, act, explore, update, networks)

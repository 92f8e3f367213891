"""Exploration by a second, optimistic actor (arXiv 2310.19527, used by BRO, arXiv 2405.16158).

It shifts the mean of the policy towards actions with a high upper bound of the value, the mean of
the critics plus their disagreement. A penalty keeps the divergence between the two policies near a
target; its weight and the optimism are tuned for that, as a temperature is. The numbers are those
of BRO's code.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purejax_simba.agents.hyperparameters import HyperParameters
from purejax_simba.agents.modules import as_functions
from purejax_simba.agents.networks.bro import OptimisticActor
from purejax_simba.agents.soft_actor_critic import Exploration, Step, pass_key
from purejax_simba.agents.state import AgentState, Batch, Noise, Params
from purejax_simba.agents.values import QuantileValue

STD_MULTIPLIER = 0.75
DIVERGENCE_TARGET = 0.05  # per action dimension
INITIAL_OPTIMISM = 1.0
INITIAL_PENALTY = 0.25
LOG_MIN, LOG_MAX = -10.0, 7.5
TUNING_RATE = 0.1  # times the learning rate
TUNING_BETA1 = 0.5

_KEY = 4  # after those of the passes of the core


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


def optimistic_exploration(
    network: OptimisticActor,
    actor: Callable[..., tuple[jax.Array, jax.Array]],
    critic: Callable[..., jax.Array],
    value: QuantileValue,
    optimizer: Callable[[HyperParameters], optax.GradientTransformation],
    observation_size: int,
) -> Exploration:
    """Exploration with `network`.

    Args:
      network: shifts the mean.
      actor, critic: those of the agent, see `SoftActorCritic`.
      value: how critic outputs represent a value.
      optimizer: of the network.
      observation_size: length of an observation.
    """
    tune = optax.scale_by_adam(b1=TUNING_BETA1)
    init_params, shift = as_functions(
        network, jnp.zeros((1, observation_size)), jnp.zeros((1, network.action_size))
    )

    def init(key: jax.Array, hyperparameters: HyperParameters) -> Optimism:
        params = init_params(key, hyperparameters)
        weights = _raw(INITIAL_OPTIMISM), _raw(INITIAL_PENALTY)
        return Optimism(
            actor=params,
            actor_optimizer=optimizer(hyperparameters).init(params),
            weights=weights,
            weights_optimizer=tune.init(weights),
        )

    def act(
        state: AgentState,
        observation: jax.Array,
        noise: jax.Array,
        hyperparameters: HyperParameters,
    ) -> jax.Array:
        mean, log_std = actor(state.actor, observation, hyperparameters)
        mean = mean + shift(state.exploration.actor, observation, mean, hyperparameters)
        return jnp.tanh(mean + STD_MULTIPLIER * jnp.exp(log_std) * noise)

    def update(
        state: AgentState,
        batch: Batch,
        noise: Noise,
        hyperparameters: HyperParameters,
        learning_rate: jax.Array,
    ) -> Optimism:
        own: Optimism = state.exploration
        mean, log_std = actor(state.actor, batch.observation, hyperparameters)
        std = jnp.exp(log_std)
        normal = jax.random.normal(pass_key(noise, _KEY), mean.shape)
        optimism, penalty = (positive(raw) for raw in own.weights)

        def loss(params: Params) -> tuple[jax.Array, jax.Array]:
            moved = shift(params, batch.observation, mean, hyperparameters)
            action = jnp.tanh(mean + moved + STD_MULTIPLIER * std * normal)
            outputs = jax.vmap(critic, in_axes=(0, None, None, None))(
                state.critic, batch.observation, action, hyperparameters
            )
            centre = outputs.mean(0)
            spread = jnp.abs(outputs - centre).mean(0)
            upper = value.mean(centre + optimism * spread, hyperparameters.value_range)
            # Between Gaussians of the same width: the multiplier does not count.
            divergence = (0.5 * (moved / std) ** 2).sum(-1).mean()
            return penalty * divergence - upper.mean(), divergence

        gradient, divergence = jax.grad(loss, has_aux=True)(own.actor)
        step = Step(optimizer(hyperparameters), learning_rate)
        params, actor_optimizer = step(gradient, own.actor, own.actor_optimizer)

        excess = divergence / network.action_size - DIVERGENCE_TARGET

        def tuning_loss(weights: tuple[jax.Array, jax.Array]) -> jax.Array:
            optimism, penalty = (positive(raw) for raw in weights)
            return (optimism - penalty) * excess

        tuning = Step(tune, TUNING_RATE * learning_rate)
        weights, weights_optimizer = tuning(
            jax.grad(tuning_loss)(own.weights), own.weights, own.weights_optimizer
        )
        return Optimism(params, actor_optimizer, weights, weights_optimizer)

    return Exploration(act=act, init=init, update=update)

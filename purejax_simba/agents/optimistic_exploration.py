"""Exploration by a second, optimistic actor (arXiv 2310.19527, used by BRO, arXiv 2405.16158).

It shifts the mean of the policy towards actions with a high upper bound of the value, the mean of
the critics plus their disagreement. A penalty keeps the divergence between the two policies near a
target; its weight and the optimism are tuned for that, as a temperature is. The numbers are those
of BRO's code.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purejax_simba.agents import sac
from purejax_simba.agents.agent import HyperParameters, Params
from purejax_simba.agents.values import QuantileValue

STD_MULTIPLIER = 0.75
DIVERGENCE_TARGET = 0.05  # per action dimension
INITIAL_OPTIMISM = 1.0
INITIAL_PENALTY = 0.25
LOG_MIN, LOG_MAX = -10.0, 7.5
TUNING_RATE = 0.1  # times the learning rate
TUNING_BETA1 = 0.5

_KEY = 4  # which of an update's keys


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


class Exploration(NamedTuple):
    """How an agent acts while it is trained, and learns to.

    Attributes:
      init: `(key, hyperparameters) -> Optimism`.
      act: `explore` of `Agent`, for a state whose `exploration` is an `Optimism`.
      update: `(state, batch, noise, hyperparameters) -> Optimism`, after an update of the actor.
    """

    init: Callable[[jax.Array, HyperParameters], Optimism]
    act: Callable[..., jax.Array]
    update: Callable[..., Optimism]


def optimistic_exploration(
    init_shift: Callable[[jax.Array], Params],
    shift: Callable[..., jax.Array],
    actor: Callable[..., tuple[jax.Array, jax.Array]],
    critic: Callable[..., jax.Array],
    value: QuantileValue,
) -> Exploration:
    """Exploration by the network `shift`.

    Args:
      init_shift: `(key) -> params`.
      shift: `(params, observation (..., O), mean (..., A), hyperparameters) -> (..., A)`, what is
        added to the mean of the policy.
      actor, critic, value: those of the agent, see `ActorCritic`.
    """
    tune = optax.scale_by_adam(b1=TUNING_BETA1)

    def init(key: jax.Array, hyperparameters: HyperParameters) -> Optimism:
        params = init_shift(key)
        weights = _raw(INITIAL_OPTIMISM), _raw(INITIAL_PENALTY)
        return Optimism(
            actor=params,
            actor_optimizer=sac.adamw(hyperparameters).init(params),
            weights=weights,
            weights_optimizer=tune.init(weights),
        )

    def act(state, observation, noise, hyperparameters):
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
            tune,
            jax.grad(tuning_loss)(own.weights),
            own.weights,
            own.weights_optimizer,
            TUNING_RATE * rate,
        )
        return Optimism(params, actor_optimizer, weights, weights_optimizer)

    return Exploration(init, act, update)

"""The soft actor-critic core (arXiv 1812.05905) that agents fill in.

One update is, in this order: actor, temperature, critics (their target uses the updated actor
and the updated temperature), target critics.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purejax_simba.hyperparameters import HyperParameters
from purejax_simba.networks import policy
from purejax_simba.values import Bootstrap, CategoricalValue, ScalarValue

Params = Any


class Batch(NamedTuple):
    """A minibatch of transitions, observations normalised and rewards scaled.

    `observation` and `next_observation` are `(B, O)`, `action` is `(B, A)`. `reward` `(B,)` is the
    discounted sum over the steps of the transition; `discount` `(B,)` is what the value of
    `next_observation` is multiplied with: zero after a termination.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    discount: jax.Array
    next_observation: jax.Array


class Noise(NamedTuple):
    """Standard normal `(B, A)` for the actions at `observation` and at `next_observation`."""

    action: jax.Array
    next_action: jax.Array


class UpdateMetrics(NamedTuple):
    """What an update reports, `()` each."""

    actor_loss: jax.Array
    critic_loss: jax.Array
    temperature_loss: jax.Array
    temperature: jax.Array
    entropy: jax.Array
    mean_action: jax.Array
    batch_reward_mean: jax.Array
    batch_reward_min: jax.Array
    batch_reward_max: jax.Array


@struct.dataclass
class AgentState:
    """Everything that an update changes. Critic leaves carry a leading axis of critics."""

    actor: Params
    critic: Params
    target_critic: Params
    log_temperature: jax.Array
    actor_optimizer: optax.OptState
    critic_optimizer: optax.OptState
    temperature_optimizer: optax.OptState
    updates: jax.Array


def _unchanged(params: Params) -> Params:
    return params


def _adam(hyperparameters: HyperParameters) -> optax.GradientTransformation:
    del hyperparameters
    return optax.scale_by_adam()


@dataclass(frozen=True)
class SoftActorCritic:
    """A soft actor-critic agent, described by what is particular to it.

    Attributes:
      init_actor: `(key, hyperparameters) -> params`.
      init_critic: the same for one critic.
      actor: `(params, observation (B, O), hyperparameters) -> mean, log_std`, `(B, A)` each.
      critic: `(params, observation, action (B, A), hyperparameters) -> (B, outputs)`, one critic.
      value: how critic outputs represent a value.
      num_critics: 1, or more to take the one with the smallest mean (clipped double Q,
        arXiv 1802.09477).
      optimizer: direction of an optimiser step; the core multiplies it with the learning rate.
      project: applied to actor and critic parameters after initialisation and every step.
    """

    init_actor: Callable[[jax.Array, HyperParameters], Params]
    init_critic: Callable[[jax.Array, HyperParameters], Params]
    actor: Callable[..., tuple[jax.Array, jax.Array]]
    critic: Callable[..., jax.Array]
    value: CategoricalValue | ScalarValue
    num_critics: int
    optimizer: Callable[[HyperParameters], optax.GradientTransformation] = _adam
    project: Callable[[Params], Params] = _unchanged

    def init(self, key: jax.Array, hyperparameters: HyperParameters) -> AgentState:
        """State before the first update."""
        actor_key, critic_key = jax.random.split(key)
        actor = self.project(self.init_actor(actor_key, hyperparameters))
        critic_keys = jax.random.split(critic_key, self.num_critics)
        critic = jax.vmap(self.init_critic, in_axes=(0, None))(critic_keys, hyperparameters)
        critic = self.project(critic)
        log_temperature = jnp.log(hyperparameters.initial_temperature)
        optimizer = self.optimizer(hyperparameters)
        return AgentState(
            actor=actor,
            critic=critic,
            target_critic=jax.tree.map(jnp.copy, critic),
            log_temperature=log_temperature,
            actor_optimizer=optimizer.init(actor),
            critic_optimizer=optimizer.init(critic),
            temperature_optimizer=optimizer.init(log_temperature),
            updates=jnp.zeros((), jnp.int32),
        )

    def act(
        self,
        params: Params,
        observation: jax.Array,
        noise: jax.Array | float,
        hyperparameters: HyperParameters,
    ) -> jax.Array:
        """Actions `(..., A)` for observations `(..., O)`; noise 0 gives the evaluation policy."""
        mean, log_std = self.actor(params, observation, hyperparameters)
        return jnp.tanh(mean + jnp.exp(log_std) * noise)

    def evaluate(
        self,
        params: Params,
        observation: jax.Array,
        action: jax.Array,
        hyperparameters: HyperParameters,
    ) -> jax.Array:
        """Outputs of all critics, `(num_critics, B, outputs)`."""
        return jax.vmap(self.critic, in_axes=(0, None, None, None))(
            params, observation, action, hyperparameters
        )

    def update(
        self, state: AgentState, batch: Batch, noise: Noise, hyperparameters: HyperParameters
    ) -> tuple[AgentState, UpdateMetrics]:
        """One gradient step of everything."""
        learning_rate = hyperparameters.learning_rate_at(state.updates)
        step = _Step(self.optimizer(hyperparameters), learning_rate)

        actor_gradient, actor_metrics = jax.grad(self._actor_loss, has_aux=True)(
            state.actor, state, batch, noise.action, hyperparameters
        )
        actor_loss, entropy, mean_action = actor_metrics
        actor, actor_optimizer = step(actor_gradient, state.actor, state.actor_optimizer)
        actor = self.project(actor)

        temperature = jnp.exp(state.log_temperature)
        temperature_loss = temperature * (entropy - hyperparameters.target_entropy)
        # The derivative of exp(x) c with respect to x is exp(x) c itself.
        log_temperature, temperature_optimizer = step(
            temperature_loss, state.log_temperature, state.temperature_optimizer
        )

        target = self._target(
            actor, jnp.exp(log_temperature), state, batch, noise.next_action, hyperparameters
        )
        critic_loss, critic_gradient = jax.value_and_grad(self._critic_loss)(
            state.critic, target, batch, hyperparameters
        )
        critic, critic_optimizer = step(critic_gradient, state.critic, state.critic_optimizer)
        critic = self.project(critic)
        tau = hyperparameters.tau
        target_critic = jax.tree.map(
            lambda new, old: new * tau + old * (1.0 - tau), critic, state.target_critic
        )

        new_state = AgentState(
            actor=actor,
            critic=critic,
            target_critic=target_critic,
            log_temperature=log_temperature,
            actor_optimizer=actor_optimizer,
            critic_optimizer=critic_optimizer,
            temperature_optimizer=temperature_optimizer,
            updates=state.updates + 1,
        )
        metrics = UpdateMetrics(
            actor_loss=actor_loss,
            critic_loss=critic_loss,
            temperature_loss=temperature_loss,
            temperature=temperature,
            entropy=entropy,
            mean_action=mean_action,
            batch_reward_mean=batch.reward.mean(),
            batch_reward_min=batch.reward.min(),
            batch_reward_max=batch.reward.max(),
        )
        return new_state, metrics

    def _actor_loss(
        self,
        params: Params,
        state: AgentState,
        batch: Batch,
        noise: jax.Array,
        hyperparameters: HyperParameters,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
        mean, log_std = self.actor(params, batch.observation, hyperparameters)
        action, log_density = policy.sample(mean, log_std, noise)
        outputs = self.evaluate(state.critic, batch.observation, action, hyperparameters)
        value = self.value.mean(outputs, hyperparameters.value_range).min(0)
        loss = (log_density * jnp.exp(state.log_temperature) - value).mean()
        cloning = jnp.mean((action - batch.action) ** 2)
        value_scale = jax.lax.stop_gradient(jnp.abs(value).mean())
        loss = loss + hyperparameters.behaviour_cloning_weight * value_scale * cloning
        return loss, (loss, -log_density.mean(), action.mean())

    def _target(
        self,
        actor: Params,
        temperature: jax.Array,
        state: AgentState,
        batch: Batch,
        noise: jax.Array,
        hyperparameters: HyperParameters,
    ) -> jax.Array:
        mean, log_std = self.actor(actor, batch.next_observation, hyperparameters)
        action, log_density = policy.sample(mean, log_std, noise)
        outputs = self.evaluate(
            state.target_critic, batch.next_observation, action, hyperparameters
        )
        output = outputs[0]
        if self.num_critics > 1:
            # The whole output of the critic with the smallest mean, sample by sample.
            values = self.value.mean(outputs, hyperparameters.value_range)
            output = jnp.take_along_axis(outputs, values.argmin(0)[None, :, None], axis=0)[0]
        bootstrap = Bootstrap(batch.reward, batch.discount, temperature * log_density)
        return self.value.target(output, bootstrap, hyperparameters.value_range)

    def _critic_loss(
        self, params: Params, target: jax.Array, batch: Batch, hyperparameters: HyperParameters
    ) -> jax.Array:
        outputs = self.evaluate(params, batch.observation, batch.action, hyperparameters)
        return self.value.loss(outputs, target).mean(-1).sum()


class _Step(NamedTuple):
    optimizer: optax.GradientTransformation
    learning_rate: jax.Array

    def __call__(
        self, gradient: Params, params: Params, state: optax.OptState
    ) -> tuple[Params, optax.OptState]:
        direction, state = self.optimizer.update(gradient, state, params)
        return jax.tree.map(lambda p, d: p - self.learning_rate * d, params, direction), state

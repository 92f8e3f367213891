"""The soft actor-critic core (arXiv 1812.05905) that agents fill in.

One update is, in this order: policy (actor, temperature, exploration), critics, target networks;
or critics first, where an agent says so. What comes later uses what was updated before it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from purejax_simba.agents.hyperparameters import HyperParameters
from purejax_simba.agents.networks import policy
from purejax_simba.agents.state import (
    AgentState,
    Batch,
    Noise,
    Params,
    PolicyMetrics,
    UpdateMetrics,
)
from purejax_simba.agents.values import Bootstrap, CategoricalValue, QuantileValue, ScalarValue

__all__ = ["AgentState", "Batch", "Noise", "Params", "SoftActorCritic", "UpdateMetrics"]


def _unchanged(params: Params) -> Params:
    return params


def _adam(hyperparameters: HyperParameters) -> optax.GradientTransformation:
    del hyperparameters
    return optax.scale_by_adam()


def adam_with_decay(hyperparameters: HyperParameters) -> optax.GradientTransformation:
    """AdamW (arXiv 1711.05101)."""
    decay = optax.add_decayed_weights(hyperparameters.weight_decay)
    return optax.chain(optax.scale_by_adam(), decay)


def _tanh_gaussian(
    mean: jax.Array, log_std: jax.Array, noise: jax.Array, hyperparameters: HyperParameters
) -> tuple[jax.Array, jax.Array]:
    del hyperparameters
    return policy.sample(mean, log_std, noise)


def smallest(outputs: jax.Array, values: jax.Array) -> jax.Array:
    """The whole output of the critic with the smallest mean, sample by sample (clipped double Q).

    Args:
      outputs: `(critics, B, outputs)`.
      values: `(critics, B)`, their means.
    """
    if len(outputs) == 1:
        return outputs[0]
    return jnp.take_along_axis(outputs, values.argmin(0)[None, :, None], axis=0)[0]


def average(outputs: jax.Array, values: jax.Array) -> jax.Array:
    """The mean output of the critics; arguments as those of `smallest`."""
    del values
    return outputs.mean(0)


def smallest_value(values: jax.Array) -> jax.Array:
    """The smallest value `(B,)` of `(critics, B)`, sample by sample."""
    return values.min(0)


def average_value(values: jax.Array) -> jax.Array:
    """The mean value `(B,)` of `(critics, B)`."""
    return values.mean(0)


class Step(NamedTuple):
    """One step of an optimiser."""

    optimizer: optax.GradientTransformation
    learning_rate: jax.Array

    def __call__(
        self, gradient: Params, params: Params, state: optax.OptState
    ) -> tuple[Params, optax.OptState]:
        """New parameters and the optimiser's new state."""
        direction, state = self.optimizer.update(gradient, state, params)
        return jax.tree.map(lambda p, d: p - self.learning_rate * d, params, direction), state


@dataclass(frozen=True)
class Exploration:
    """How an agent acts while it is trained, where that is not by a sample of its policy.

    Attributes:
      act: `(state: AgentState, observation (..., O), noise (..., A), hyperparameters) -> (..., A)`.
      init: `(key, hyperparameters) -> params`, all that it learns, optimiser states too.
      update: `(state, batch, noise, hyperparameters, learning_rate) -> params`, called after every
        update of the actor; `state.exploration` are the parameters so far. Take steps by `Step`.
    """

    act: Callable[..., jax.Array]
    init: Callable[[jax.Array, HyperParameters], Params] | None = None
    update: Callable[..., Params] | None = None


@dataclass(frozen=True)
class SoftActorCritic:
    """A soft actor-critic agent, described by what is particular to it.

    Only the first six have no default. The networks are functions of one run and, but for
    `num_critics`, of one critic; `key` is a PRNG key.

    Attributes:
      init_actor: `(key, hyperparameters) -> params`.
      init_critic: the same for one critic.
      actor: `(params, observation (B, O), hyperparameters) -> mean, log_std`, `(B, A)` each.
      critic: `(params, observation, action (B, A), hyperparameters) -> (B, outputs)`, one critic.
      value: how critic outputs represent a value.
      num_critics: critics that learn side by side.
      optimizer: direction of an optimiser step; the core multiplies it with the learning rate.
      actor_optimizer, critic_optimizer, temperature_optimizer: where one is not `optimizer`. For
        another learning rate than the common one, chain `optax.scale`.
      project: applied to actor and critic parameters after initialisation and every step.
      dropout_critic: `critic` with a `key` as a further argument, for randomness inside. Takes its
        place in every update, with another key for every critic and every pass.
      fit_actor, fit_critic: for networks with statistics of their own (batch normalisation). The
        parameters are then a dictionary with entries that gradients do not reach, and these
        functions return `(output, entries)` of `actor` and `critic`, with new values for such
        entries. They are used where a network is fitted: in its own loss, and there alone.
        Everywhere else `actor` and `critic` are, with the statistics as they are.
      target_critics: so many of the critics, drawn anew for every update, make the target;
        default: all.
      reduce_target: `(outputs (critics, B, outputs), means (critics, B)) -> (B, outputs)`.
      reduce_value: `(means (critics, B)) -> (B,)`, what the actor maximises.
      has_target_critic: without, the critics pass both pairs of state and action of a transition
        as one batch, the latter half of the outputs makes the target (CrossQ, arXiv 1902.05605),
        and `AgentState.target_critic` is empty.
      has_target_actor: the target is made with actions of a moving average of the actor.
      sample: `(mean, log_std, noise, hyperparameters) -> action (B, A), log density (B,)`.
      sample_next: the same for the actions of the target; default: `sample`.
      exploration: see there; default: `sample`.
      samples_in_evaluation: evaluation episodes are played with noise too.
      critic_first: the critics are updated before the policy.
      policy_delay: the policy is updated only every so many updates.
      learns: without, there are no updates at all.
    """

    init_actor: Callable[[jax.Array, HyperParameters], Params]
    init_critic: Callable[[jax.Array, HyperParameters], Params]
    actor: Callable[..., tuple[jax.Array, jax.Array]]
    critic: Callable[..., jax.Array]
    value: CategoricalValue | QuantileValue | ScalarValue
    num_critics: int
    optimizer: Callable[[HyperParameters], optax.GradientTransformation] = _adam
    actor_optimizer: Callable[[HyperParameters], optax.GradientTransformation] | None = None
    critic_optimizer: Callable[[HyperParameters], optax.GradientTransformation] | None = None
    temperature_optimizer: Callable[[HyperParameters], optax.GradientTransformation] | None = None
    project: Callable[[Params], Params] = _unchanged
    dropout_critic: Callable[..., jax.Array] | None = None
    fit_actor: Callable[..., tuple[tuple[jax.Array, jax.Array], dict]] | None = None
    fit_critic: Callable[..., tuple[jax.Array, dict]] | None = None
    target_critics: int | None = None
    reduce_target: Callable[[jax.Array, jax.Array], jax.Array] = smallest
    reduce_value: Callable[[jax.Array], jax.Array] = smallest_value
    has_target_critic: bool = True
    has_target_actor: bool = False
    sample: Callable[..., tuple[jax.Array, jax.Array]] = _tanh_gaussian
    sample_next: Callable[..., tuple[jax.Array, jax.Array]] | None = None
    exploration: Exploration | None = None
    samples_in_evaluation: bool = False
    critic_first: bool = False
    policy_delay: int = 1
    learns: bool = True

    def init(self, key: jax.Array, hyperparameters: HyperParameters) -> AgentState:
        """State before the first update."""
        actor_key, critic_key = jax.random.split(key)
        actor = self.project(self.init_actor(actor_key, hyperparameters))
        critic_keys = jax.random.split(critic_key, self.num_critics)
        critic = jax.vmap(self.init_critic, in_axes=(0, None))(critic_keys, hyperparameters)
        critic = self.project(critic)
        log_temperature = jnp.log(getattr(hyperparameters, "initial_temperature", jnp.float32(1.0)))
        exploration: Params = ()
        if self.exploration is not None and self.exploration.init is not None:
            exploration = self.exploration.init(jax.random.fold_in(key, 2), hyperparameters)

        def optimizer_state(choice: Callable | None, params: Params) -> optax.OptState:
            return (choice or self.optimizer)(hyperparameters).init(params)

        return AgentState(
            actor=actor,
            critic=critic,
            target_critic=jax.tree.map(jnp.copy, critic) if self.has_target_critic else (),
            log_temperature=log_temperature,
            actor_optimizer=optimizer_state(self.actor_optimizer, actor),
            critic_optimizer=optimizer_state(self.critic_optimizer, critic),
            temperature_optimizer=optimizer_state(self.temperature_optimizer, log_temperature),
            updates=jnp.zeros((), jnp.int32),
            target_actor=jax.tree.map(jnp.copy, actor) if self.has_target_actor else (),
            exploration=exploration,
        )

    def reset(
        self, key: jax.Array, state: AgentState, hyperparameters: HyperParameters
    ) -> AgentState:
        """Everything as before the first update, but for the number of updates."""
        return self.init(key, hyperparameters).replace(updates=state.updates)  # type: ignore[attr-defined]

    def act(
        self,
        params: Params,
        observation: jax.Array,
        noise: jax.Array | float,
        hyperparameters: HyperParameters,
    ) -> jax.Array:
        """Actions `(..., A)` of the policy for observations `(..., O)`.

        Args:
          params: of the actor.
          observation: `(..., O)`.
          noise: `(..., A)`; 0 gives the evaluation policy.
          hyperparameters: of the run.
        """
        mean, log_std = self.actor(params, observation, hyperparameters)
        return self.sample(mean, log_std, noise, hyperparameters)[0]

    def explore(
        self,
        state: AgentState,
        observation: jax.Array,
        noise: jax.Array,
        hyperparameters: HyperParameters,
    ) -> jax.Array:
        """Actions `(..., A)` for observations `(..., O)` while the agent is trained."""
        if self.exploration is not None:
            return self.exploration.act(state, observation, noise, hyperparameters)
        return self.act(state.actor, observation, noise, hyperparameters)

    def evaluate(
        self,
        params: Params,
        observation: jax.Array,
        action: jax.Array,
        hyperparameters: HyperParameters,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Outputs of all critics in `params`, `(critics, B, outputs)`; with a key, with dropout."""
        inputs = (observation, action, hyperparameters)
        if key is None or self.dropout_critic is None:
            return jax.vmap(self.critic, in_axes=(0, None, None, None))(params, *inputs)
        keys = jax.random.split(key, len(jax.tree.leaves(params)[0]))
        return jax.vmap(self.dropout_critic, in_axes=(0, None, None, None, 0))(
            params, *inputs, keys
        )

    def update(
        self,
        state: AgentState,
        batch: Batch,
        noise: Noise,
        hyperparameters: HyperParameters,
        number: jax.Array | None = None,
    ) -> tuple[AgentState, UpdateMetrics]:
        """One gradient step of everything.

        Args:
          state: of the agent.
          batch: to learn from.
          noise: see `Noise`.
          hyperparameters: of the run.
          number: `()` int32, how many updates came before. It should not be batched: then an
            update of the critics alone costs nothing for the policy. Default: `state.updates`.
        """
        return self.update_with_errors(state, batch, noise, hyperparameters, number)[:2]

    def update_with_errors(
        self,
        state: AgentState,
        batch: Batch,
        noise: Noise,
        hyperparameters: HyperParameters,
        number: jax.Array | None = None,
    ) -> tuple[AgentState, UpdateMetrics, jax.Array]:
        """`update`, and the errors of the critics before it, `(B,)`: the mean of all critics."""
        number = state.updates if number is None else number
        arguments = (batch, noise, hyperparameters)
        if self.critic_first:
            state, critic_loss, errors = self._update_critics(state, *arguments)
            state, policy_metrics = self._update_policy_when_due(state, *arguments, number)
        else:
            state, policy_metrics = self._update_policy_when_due(state, *arguments, number)
            state, critic_loss, errors = self._update_critics(state, *arguments)
        state = self._update_targets(state, hyperparameters)
        metrics = UpdateMetrics(
            **policy_metrics._asdict(),
            critic_loss=critic_loss,
            batch_reward_mean=batch.reward.mean(),
            batch_reward_min=batch.reward.min(),
            batch_reward_max=batch.reward.max(),
        )
        return state, metrics, errors

    def _step(
        self,
        choice: Callable[[HyperParameters], optax.GradientTransformation] | None,
        state: AgentState,
        hyperparameters: HyperParameters,
    ) -> Step:
        optimizer = (choice or self.optimizer)(hyperparameters)
        return Step(optimizer, hyperparameters.learning_rate_at(state.updates))

    def _update_policy_when_due(
        self,
        state: AgentState,
        batch: Batch,
        noise: Noise,
        hyperparameters: HyperParameters,
        number: jax.Array,
    ) -> tuple[AgentState, PolicyMetrics]:
        def update(state: AgentState) -> tuple[AgentState, PolicyMetrics]:
            return self._update_policy(state, batch, noise, hyperparameters)

        if self.policy_delay == 1:
            return update(state)

        def update_and_weigh(state: AgentState) -> tuple[AgentState, PolicyMetrics]:
            state, metrics = update(state)
            # So that the mean over all updates is the mean over those that there are.
            return state, jax.tree.map(lambda metric: metric * self.policy_delay, metrics)

        def skip(state: AgentState) -> tuple[AgentState, PolicyMetrics]:
            return state, PolicyMetrics(*(jnp.zeros(()) for _ in PolicyMetrics._fields))

        is_due = (number + 1) % self.policy_delay == 0
        return jax.lax.cond(is_due, update_and_weigh, skip, state)

    def _update_policy(
        self, state: AgentState, batch: Batch, noise: Noise, hyperparameters: HyperParameters
    ) -> tuple[AgentState, PolicyMetrics]:
        gradient, (actor_loss, entropy, mean_action, entries) = jax.grad(
            self._actor_loss, has_aux=True
        )(state.actor, state, batch, noise, hyperparameters)
        step = self._step(self.actor_optimizer, state, hyperparameters)
        actor, actor_optimizer = step(gradient, state.actor, state.actor_optimizer)
        actor = _with_entries(self.project(actor), entries)

        temperature = jnp.exp(state.log_temperature)
        temperature_loss = temperature * (entropy - getattr(hyperparameters, "target_entropy", 0.0))
        step = self._step(self.temperature_optimizer, state, hyperparameters)
        # The derivative of exp(x) c with respect to x is exp(x) c itself.
        log_temperature, temperature_optimizer = step(
            temperature_loss, state.log_temperature, state.temperature_optimizer
        )
        state = state.replace(  # type: ignore[attr-defined]
            actor=actor,
            actor_optimizer=actor_optimizer,
            log_temperature=log_temperature,
            temperature_optimizer=temperature_optimizer,
        )
        if self.exploration is not None and self.exploration.update is not None:
            learning_rate = hyperparameters.learning_rate_at(state.updates)
            exploration = self.exploration.update(
                state, batch, noise, hyperparameters, learning_rate
            )
            state = state.replace(exploration=exploration)  # type: ignore[attr-defined]
        return state, PolicyMetrics(
            actor_loss=actor_loss,
            temperature_loss=temperature_loss,
            temperature=temperature,
            entropy=entropy,
            mean_action=mean_action,
        )

    def _actor_loss(
        self,
        params: Params,
        state: AgentState,
        batch: Batch,
        noise: Noise,
        hyperparameters: HyperParameters,
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array, dict]]:
        entries: dict = {}
        if self.fit_actor is None:
            mean, log_std = self.actor(params, batch.observation, hyperparameters)
        else:
            (mean, log_std), entries = self.fit_actor(params, batch.observation, hyperparameters)
        action, log_density = self.sample(mean, log_std, noise.action, hyperparameters)
        outputs = self.evaluate(
            state.critic, batch.observation, action, hyperparameters, pass_key(noise, 0)
        )
        value = self.reduce_value(self.value.mean(outputs, hyperparameters.value_range))
        loss = (log_density * jnp.exp(state.log_temperature) - value).mean()
        cloning = jnp.mean((action - batch.action) ** 2)
        value_scale = jax.lax.stop_gradient(jnp.abs(value).mean())
        loss = loss + hyperparameters.behaviour_cloning_weight * value_scale * cloning
        return loss, (loss, -log_density.mean(), action.mean(), entries)

    def _update_critics(
        self, state: AgentState, batch: Batch, noise: Noise, hyperparameters: HyperParameters
    ) -> tuple[AgentState, jax.Array, jax.Array]:
        """New critics, and of those before their loss, `()`, and errors, `(B,)`."""
        actor = state.target_actor if self.has_target_actor else state.actor
        mean, log_std = self.actor(actor, batch.next_observation, hyperparameters)
        sample = self.sample_next or self.sample
        next_action, log_density = sample(mean, log_std, noise.next_action, hyperparameters)
        temperature = jnp.exp(state.log_temperature)
        bootstrap = Bootstrap(batch.reward, batch.discount, temperature * log_density)

        def make_target(outputs: jax.Array) -> jax.Array:
            values = self.value.mean(outputs, hyperparameters.value_range)
            output = self.reduce_target(outputs, values)
            return self.value.target(output, bootstrap, hyperparameters.value_range)

        def fit(params: Params, observation: jax.Array, action: jax.Array) -> tuple:
            if self.fit_critic is None:
                key = pass_key(noise, 1)
                return self.evaluate(params, observation, action, hyperparameters, key), {}
            return jax.vmap(self.fit_critic, in_axes=(0, None, None, None))(
                params, observation, action, hyperparameters
            )

        if self.has_target_critic:
            target = make_target(
                self.evaluate(
                    self._draw_critics(state.target_critic, noise),
                    batch.next_observation,
                    next_action,
                    hyperparameters,
                    pass_key(noise, 2),
                )
            )

        def weighted_loss(
            outputs: jax.Array, target: jax.Array, entries: dict
        ) -> tuple[jax.Array, tuple[jax.Array, dict]]:
            loss = self.value.loss(outputs, target)
            if batch.weight is not None:
                loss = loss * batch.weight
            return loss.mean(-1).sum(), (self.value.error(outputs, target).mean(0), entries)

        def critic_loss(params: Params) -> tuple[jax.Array, tuple[jax.Array, dict]]:
            if self.has_target_critic:
                outputs, entries = fit(params, batch.observation, batch.action)
                return weighted_loss(outputs, target, entries)
            joint = fit(
                params,
                jnp.concatenate([batch.observation, batch.next_observation]),
                jnp.concatenate([batch.action, next_action]),
            )
            outputs, next_outputs = jnp.split(joint[0], 2, axis=1)
            own_target = make_target(jax.lax.stop_gradient(next_outputs))
            return weighted_loss(outputs, own_target, joint[1])

        (loss, (errors, entries)), gradient = jax.value_and_grad(critic_loss, has_aux=True)(
            state.critic
        )
        step = self._step(self.critic_optimizer, state, hyperparameters)
        critic, critic_optimizer = step(gradient, state.critic, state.critic_optimizer)
        state = state.replace(  # type: ignore[attr-defined]
            critic=_with_entries(self.project(critic), entries),
            critic_optimizer=critic_optimizer,
        )
        return state, loss, errors

    def _draw_critics(self, critics: Params, noise: Noise) -> Params:
        if self.target_critics is None:
            return critics
        order = jax.random.permutation(pass_key(noise, 3), self.num_critics)
        return jax.tree.map(lambda leaf: leaf[order[: self.target_critics]], critics)

    def _update_targets(self, state: AgentState, hyperparameters: HyperParameters) -> AgentState:
        """Counts the update, and moves the target networks where one is due."""
        updates = state.updates + 1
        is_due = updates % getattr(hyperparameters, "target_update_interval", 1) == 0
        tau = jnp.where(is_due, getattr(hyperparameters, "tau", 0.0), 0.0)

        def move(new: Params, old: Params) -> Params:
            return jax.tree.map(lambda new, old: new * tau + old * (1.0 - tau), new, old)

        targets: dict[str, Params] = {}
        if self.has_target_critic:
            targets["target_critic"] = move(state.critic, state.target_critic)
        if self.has_target_actor:
            targets["target_actor"] = move(state.actor, state.target_actor)
        return state.replace(updates=updates, **targets)  # type: ignore[attr-defined]


def pass_key(noise: Noise, index: int) -> Any:
    """A key for one of the passes of an update; None where there is none."""
    return None if noise.key is None else jax.random.fold_in(noise.key, index)


def _with_entries(params: Params, entries: dict) -> Params:
    return params | entries if entries else params

"""Soft actor-critic (arXiv 1812.05905), and the mathematics that other agents share with it.

First the functions, each of which an agent calls where it needs it; at the end the agent itself:
plain networks, two critics, a tuned temperature. In the functions `params`, `state`, `batch`,
`noise` and `hyperparameters` are those of `agent.py`.

Numbers are those of the paper's table 1: two hidden layers of 256, learning rate 3e-4, batch 256,
tau 0.005, a target entropy of minus the action dimensions, one update per step. Log standard
deviations are clipped to [-20, 2] and the temperature starts at 1, as in the authors' code.

The paper's recipe: discount 0.99 (table 1), no action repeat, and 10,000 random steps first, ten
episodes of 1,000 as in the authors' code (softlearning), for the paper does not say.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purejax_simba.agents import mlp
from purejax_simba.agents.agent import (
    ActorCritic,
    Agent,
    AgentState,
    Batch,
    HyperParameters,
    Noise,
    Params,
    UpdateMetrics,
)
from purejax_simba.agents.layers import as_functions
from purejax_simba.agents.settings import Learner, Recipe, TargetNetworks
from purejax_simba.agents.values import Bootstrap, ScalarValue, Value

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0


class SAC(TargetNetworks, Learner):
    """Soft actor-critic (arXiv 1812.05905), table 1."""

    name = "sac"
    actor_hidden_dim = 256
    actor_num_blocks = 2
    critic_hidden_dim = 256
    critic_num_blocks = 2
    num_critics = 2
    learning_rate = 3e-4

    shared = Recipe(
        {
            "update_to_data_ratio": 1.0,
            "temperature.initial": 1.0,
            "temperature.target_entropy_coefficient": -1.0,
        }
    )
    paper = Recipe({"action_repeat": 1, "discount": 0.99, "learning_starts": 10_000})


ADAM = optax.scale_by_adam()

Loss = Callable[..., tuple[jax.Array, Any]]


# What an agent begins with.


@struct.dataclass
class OnlineState:
    """What is learned but for target networks: actor, critics, temperature, their optimisers."""

    actor: Params
    critic: Params
    log_temperature: jax.Array
    actor_optimizer: optax.OptState
    critic_optimizer: optax.OptState
    temperature_optimizer: optax.OptState
    updates: jax.Array

    @classmethod
    def create(
        cls,
        actor: Params,
        critic: Params,
        hyperparameters: HyperParameters,
        optimizer: optax.GradientTransformation = ADAM,
        temperature_optimizer: optax.GradientTransformation | None = None,
        **own: Any,
    ) -> AgentState:
        """Before the first update; `own` are the fields that a state has beside these."""
        log_temperature = jnp.log(hyperparameters.initial_temperature)
        return cls(
            actor=actor,
            critic=critic,
            log_temperature=log_temperature,
            actor_optimizer=optimizer.init(actor),
            critic_optimizer=optimizer.init(critic),
            temperature_optimizer=(temperature_optimizer or optimizer).init(log_temperature),
            updates=jnp.zeros((), jnp.int32),
            **own,
        )


@struct.dataclass
class State(OnlineState):
    """With a moving average of the critics, which makes their targets."""

    target_critic: Params


def init_networks(
    key: jax.Array,
    init_actor: Callable[[jax.Array], Params],
    init_critic: Callable[[jax.Array], Params],
    num_critics: int,
) -> tuple[Params, Params]:
    """Parameters of an actor and of all critics, whose leaves have a leading axis."""
    actor_key, critic_key = jax.random.split(key)
    critic = jax.vmap(init_critic)(jax.random.split(critic_key, num_critics))
    return init_actor(actor_key), critic


def copy(params: Params) -> Params:
    """A target network before the first update."""
    return jax.tree.map(jnp.copy, params)


# The policy: a Gaussian whose samples are squashed into (-1, 1) by the tanh.


def sample(mean: jax.Array, log_std: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Reparameterised action and its log density.

    Args:
      mean, log_std: `(..., A)` of the Gaussian before the tanh.
      noise: `(..., A)` standard normal.

    Returns:
      The action `(..., A)` in (-1, 1) and its log density `(...)`, the Gaussian's minus the log
      determinant of the tanh (appendix C of the paper).
    """
    pre_tanh = mean + jnp.exp(log_std) * noise
    # log(1 - tanh(x)^2) written so that it stays exact where tanh saturates.
    log_determinant = 2.0 * (jnp.log(2.0) - pre_tanh - jax.nn.softplus(-2.0 * pre_tanh))
    log_density = -0.5 * (noise**2 + jnp.log(2.0 * jnp.pi)) - log_std - log_determinant
    return jnp.tanh(pre_tanh), log_density.sum(-1)


def acting(actor: Callable[..., tuple[jax.Array, jax.Array]]) -> tuple[Callable, Callable]:
    """`act` and `explore` of an agent: the tanh of the mean, and a sample."""

    def act(params, observation, key, hyperparameters):
        mean, _ = actor(params, observation, hyperparameters)
        return jnp.tanh(mean)

    def explore(state, observation, noise, hyperparameters):
        mean, log_std = actor(state.actor, observation, hyperparameters)
        return sample(mean, log_std, noise)[0]

    return act, explore


# Losses.


def all_critics(critic: Callable[..., jax.Array], params: Params, *inputs: Any) -> jax.Array:
    """Outputs `(critics, B, outputs)` of all critics: `critic(params, *inputs)` for each."""
    return jax.vmap(lambda params: critic(params, *inputs))(params)


def values(
    value: Value,
    critic: Callable[..., jax.Array],
    params: Params,
    observation: jax.Array,
    action: jax.Array,
    hyperparameters: HyperParameters,
) -> jax.Array:
    """What all critics make of actions, `(critics, B)`."""
    outputs = all_critics(critic, params, observation, action, hyperparameters)
    return value.mean(outputs, hyperparameters.value_range)


def smallest(value: Value, outputs: jax.Array, hyperparameters: HyperParameters) -> jax.Array:
    """The whole output of the critic with the smallest value, sample by sample (clipped double Q).

    Args:
      value: how outputs represent a value.
      outputs: `(critics, B, outputs)`.
      hyperparameters: of the run.
    """
    if len(outputs) == 1:
        return outputs[0]
    values = value.mean(outputs, hyperparameters.value_range)
    return jnp.take_along_axis(outputs, values.argmin(0)[None, :, None], axis=0)[0]


class PolicyFigures(NamedTuple):
    """What the actor's loss tells beside it, `()` each."""

    entropy: jax.Array
    mean_action: jax.Array


def policy_loss(
    action: jax.Array,
    log_density: jax.Array,
    value: jax.Array,
    state: AgentState,
    batch: Batch,
    hyperparameters: HyperParameters,
) -> tuple[jax.Array, PolicyFigures]:
    """Temperature times log density minus value, and a pull towards the batch's actions.

    Args:
      action, log_density: `(B, A)` and `(B,)`, a sample of the policy at `batch.observation`.
      value: `(B,)`, of this action.
      state, batch, hyperparameters: of the update.
    """
    loss = (log_density * jnp.exp(state.log_temperature) - value).mean()
    loss = loss + behaviour_cloning(action, value, batch, hyperparameters)
    return loss, PolicyFigures(-log_density.mean(), action.mean())


def behaviour_cloning(
    action: jax.Array, value: jax.Array, batch: Batch, hyperparameters: HyperParameters
) -> jax.Array:
    """The squared distance to the batch's actions in units of the value (arXiv 2306.02451)."""
    cloning = jnp.mean((action - batch.action) ** 2)
    value_scale = jax.lax.stop_gradient(jnp.abs(value).mean())
    return hyperparameters.behaviour_cloning_weight * value_scale * cloning


def soft_target(
    value: Value,
    output: jax.Array,
    log_density: jax.Array,
    state: AgentState,
    batch: Batch,
    hyperparameters: HyperParameters,
) -> Any:
    """What critics are trained towards: the reward and the discounted soft value that follows.

    Args:
      value: how outputs represent a value.
      output: `(B, outputs)` of a critic for the next action.
      log_density: `(B,)` of the next action.
      state, batch, hyperparameters: of the update.
    """
    entropy_cost = jnp.exp(state.log_temperature) * log_density
    bootstrap = Bootstrap(batch.reward, batch.discount, entropy_cost)
    return value.target(output, bootstrap, hyperparameters.value_range)


def value_loss(
    value: Value, outputs: jax.Array, target: Any, batch: Batch
) -> tuple[jax.Array, jax.Array]:
    """The weighted mean over the batch, summed over critics, and the critics' mean errors `(B,)`.

    Args:
      value: how outputs represent a value.
      outputs: `(critics, B, outputs)` for the batch's actions.
      target: of all critics.
      batch: of the update.
    """
    loss = value.loss(outputs, target)
    if batch.weight is not None:
        loss = loss * batch.weight
    return loss.mean(-1).sum(), value.error(outputs, target).mean(0)


def actor_loss(
    actor: Callable[..., Any],
    critic: Callable[..., Any],
    value: Value,
    combine: Callable[[jax.Array, int], jax.Array],
) -> Loss:
    """The loss of the policy by what `combine` makes of the critics' values, `(critics, B)`.

    Args:
      actor, critic, value: see `ActorCritic`.
      combine: `jnp.min` or `jnp.mean`, along the first axis.
    """

    def loss(params, state, batch, noise, hyperparameters):
        mean, log_std = actor(params, batch.observation, hyperparameters)
        action, log_density = sample(mean, log_std, noise.action)
        found = values(value, critic, state.critic, batch.observation, action, hyperparameters)
        return policy_loss(action, log_density, combine(found, 0), state, batch, hyperparameters)

    return loss


def critic_loss(
    actor: Callable[..., Any],
    critic: Callable[..., Any],
    value: Value,
    combine: Callable[[Value, jax.Array, HyperParameters], jax.Array],
) -> Loss:
    """The loss of all critics, whose target is what `combine` makes of the target critics' outputs.

    Args:
      actor, critic, value: see `ActorCritic`.
      combine: `smallest`, or another function of the same arguments.
    """

    def loss(params, state, batch, noise, hyperparameters):
        mean, log_std = actor(state.actor, batch.next_observation, hyperparameters)
        action, log_density = sample(mean, log_std, noise.next_action)
        following = (batch.next_observation, action, hyperparameters)
        outputs = all_critics(critic, state.target_critic, *following)
        output = combine(value, outputs, hyperparameters)
        target = soft_target(value, output, log_density, state, batch, hyperparameters)
        outputs = all_critics(critic, params, batch.observation, batch.action, hyperparameters)
        return value_loss(value, outputs, target, batch)

    return loss


# Steps of an update.


def adamw(hyperparameters: HyperParameters) -> optax.GradientTransformation:
    """AdamW (arXiv 1711.05101), its learning rate left to `step`."""
    decay = optax.add_decayed_weights(hyperparameters.weight_decay)
    return optax.chain(optax.scale_by_adam(), decay)


def step(
    optimizer: optax.GradientTransformation,
    gradient: Params,
    params: Params,
    state: optax.OptState,
    learning_rate: jax.Array,
) -> tuple[Params, optax.OptState]:
    """One step of an optimiser whose direction is multiplied with a learning rate."""
    direction, state = optimizer.update(gradient, state, params)
    return jax.tree.map(lambda p, d: p - learning_rate * d, params, direction), state


def update_network(
    name: str,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: AgentState,
    batch: Batch,
    noise: Noise,
    hyperparameters: HyperParameters,
    rate: jax.Array | None = None,
) -> tuple[AgentState, jax.Array, Any]:
    """One step of a network down its loss.

    Args:
      name: `actor` or `critic`; the state has its parameters and `<name>_optimizer`.
      loss: `(params, state, batch, noise, hyperparameters) -> (loss, rest)`.
      optimizer: gives the direction.
      state, batch, noise, hyperparameters: of the update.
      rate: learning rate, if it is not the run's after so many updates.

    Returns:
      The new state, and loss and rest before it.
    """
    params, optimizer_state = getattr(state, name), getattr(state, f"{name}_optimizer")
    (value, rest), gradient = jax.value_and_grad(loss, has_aux=True)(
        params, state, batch, noise, hyperparameters
    )
    if rate is None:
        rate = hyperparameters.learning_rate_at(state.updates)
    params, optimizer_state = step(optimizer, gradient, params, optimizer_state, rate)
    return state.replace(**{name: params, f"{name}_optimizer": optimizer_state}), value, rest


class PolicyMetrics(NamedTuple):
    """What an update of the policy reports, `()` each."""

    actor_loss: jax.Array
    temperature_loss: jax.Array
    temperature: jax.Array
    entropy: jax.Array
    mean_action: jax.Array


def update_temperature(
    optimizer: optax.GradientTransformation,
    state: AgentState,
    actor_loss: jax.Array,
    figures: PolicyFigures,
    hyperparameters: HyperParameters,
    rate: jax.Array | None = None,
) -> tuple[AgentState, PolicyMetrics]:
    """One step of the temperature towards the target entropy, after that of the actor.

    Args:
      optimizer: gives the direction.
      state: with the actor updated.
      actor_loss, figures: what the actor's loss was and told before.
      hyperparameters: of the update.
      rate: learning rate, if it is not the run's after so many updates.

    Returns:
      The new state, and what the update of the policy reports.
    """
    temperature = jnp.exp(state.log_temperature)
    loss = temperature * (figures.entropy - hyperparameters.target_entropy)
    if rate is None:
        rate = hyperparameters.learning_rate_at(state.updates)
    # The derivative of exp(x) c with respect to x is exp(x) c itself.
    log_temperature, optimizer_state = step(
        optimizer, loss, state.log_temperature, state.temperature_optimizer, rate
    )
    state = state.replace(log_temperature=log_temperature, temperature_optimizer=optimizer_state)
    return state, PolicyMetrics(actor_loss, loss, temperature, *figures)


def update_policy(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: AgentState,
    batch: Batch,
    noise: Noise,
    hyperparameters: HyperParameters,
    temperature_optimizer: optax.GradientTransformation | None = None,
) -> tuple[AgentState, PolicyMetrics]:
    """One step of the actor and one of the temperature, the latter by the entropy before."""
    data = (batch, noise, hyperparameters)
    state, value, figures = update_network("actor", loss, optimizer, state, *data)
    optimizer = temperature_optimizer or optimizer
    return update_temperature(optimizer, state, value, figures, hyperparameters)


def when_due(
    update: Callable[[AgentState], tuple[AgentState, PolicyMetrics]],
    state: AgentState,
    number: jax.Array,
    delay: int,
) -> tuple[AgentState, PolicyMetrics]:
    """Updates the policy at every `delay`-th update.

    As long as `number` is not batched the other updates do nothing for it.
    """
    if delay == 1:
        return update(state)

    def update_and_weigh(state: AgentState) -> tuple[AgentState, PolicyMetrics]:
        state, metrics = update(state)
        # So that the mean over all updates is the mean over those that there are.
        return state, jax.tree.map(lambda metric: metric * delay, metrics)

    def skip(state: AgentState) -> tuple[AgentState, PolicyMetrics]:
        return state, PolicyMetrics(*(jnp.zeros(()) for _ in PolicyMetrics._fields))

    return jax.lax.cond((number + 1) % delay == 0, update_and_weigh, skip, state)


def moving_average(
    new: Params, old: Params, updates: jax.Array, hyperparameters: HyperParameters
) -> Params:
    """A target network after so many updates; it stays where it is between those that are due."""
    is_due = updates % hyperparameters.target_update_interval == 0
    tau = jnp.where(is_due, hyperparameters.tau, 0.0)
    return jax.tree.map(lambda new, old: new * tau + old * (1.0 - tau), new, old)


def finish(state: AgentState, hyperparameters: HyperParameters) -> AgentState:
    """Counts the update and moves the target critics."""
    updates = state.updates + 1
    target = moving_average(state.critic, state.target_critic, updates, hyperparameters)
    return state.replace(updates=updates, target_critic=target)


def report(policy: PolicyMetrics, critic_loss: jax.Array, batch: Batch) -> UpdateMetrics:
    """The metrics of an update."""
    return UpdateMetrics(
        **policy._asdict(),
        critic_loss=critic_loss,
        batch_reward_mean=batch.reward.mean(),
        batch_reward_min=batch.reward.min(),
        batch_reward_max=batch.reward.max(),
    )


# The agent.


def update(
    actor_loss: Loss,
    critic_loss: Loss,
    policy_delay: int,
    state: State,
    batch: Batch,
    noise: Noise,
    hyperparameters: HyperParameters,
    number: jax.Array,
) -> tuple[State, UpdateMetrics, jax.Array]:
    """One update with these losses by Adam: critics, policy, target critics."""
    data = (batch, noise, hyperparameters)
    state, loss, errors = update_network("critic", critic_loss, ADAM, state, *data)
    state, policy = when_due(
        lambda state: update_policy(actor_loss, ADAM, state, *data), state, number, policy_delay
    )
    return finish(state, hyperparameters), report(policy, loss, batch), errors


def plain_actor(
    observation_size: int, action_size: int, settings: Learner
) -> tuple[Callable[..., Params], Callable[..., tuple[jax.Array, jax.Array]]]:
    """A multilayer perceptron as `(key) -> params`, and as `actor` of `ActorCritic`."""
    network = mlp.MLP(settings.actor_hidden_dim, settings.actor_num_blocks, 2 * action_size)
    init, apply = as_functions(network, observation_size)
    return init, lambda *arguments: split_output(apply(*arguments))


def split_output(output: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and log std `(..., A)` from the output `(..., 2 A)` of an actor."""
    mean, log_std = jnp.split(output, 2, axis=-1)
    return mean, log_std.clip(LOG_STD_MIN, LOG_STD_MAX)


def make(observation_size: int, action_size: int, settings: SAC) -> Agent:
    """The agent for flat observations and actions of the given sizes."""
    init_actor, actor = plain_actor(observation_size, action_size, settings)
    network = mlp.Critic(settings.critic_hidden_dim, settings.critic_num_blocks)
    init_critic, critic = as_functions(network, observation_size, action_size)
    value = ScalarValue()
    losses = (
        actor_loss(actor, critic, value, jnp.min),
        critic_loss(actor, critic, value, smallest),
    )

    def init(key: jax.Array, hyperparameters: HyperParameters) -> State:
        actor, critic = init_networks(key, init_actor, init_critic, settings.num_critics)
        return State.create(actor, critic, hyperparameters, target_critic=copy(critic))

    return Agent(
        init,
        *acting(actor),
        partial(update, *losses, settings.policy_delay),
        ActorCritic(actor, critic, value, *losses),
    )

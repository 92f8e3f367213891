"""CrossQ (arXiv 1902.05605v4): batch renormalisation and no target network.

Numbers are those of its table 2 and of the authors' code: two critics 2048 wide, an actor 256 wide,
Adam with learning rate 1e-3 and beta1 0.5 (0.9 for the temperature), an update of the policy for
every three of the critics, one update per step. Batch renormalisation, in the actor too, has
momentum 0.99 and warms up for 100,000 batches.

The paper's recipe: discount 0.99 (the authors' code has 0.9999 on Swimmer), no action repeat, and
5,000 random steps first.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from purejax_simba.agents import sac
from purejax_simba.agents.agent import ActorCritic, Agent, AgentState, HyperParameters, Params
from purejax_simba.agents.layers import Dense
from purejax_simba.agents.observed import observe
from purejax_simba.agents.settings import Learner, Recipe
from purejax_simba.agents.values import ScalarValue

OPTIMIZER = optax.scale_by_adam(b1=0.5)


class CrossQ(Learner):
    """CrossQ (arXiv 1902.05605v4), table 2 and the authors' code."""

    name = "crossq"
    actor_hidden_dim = 256
    actor_num_blocks = 2
    critic_hidden_dim = 2048
    critic_num_blocks = 2
    num_critics = 2
    learning_rate = 1e-3
    policy_delay = 3

    sees_terminals = True
    shared = sac.SAC.shared
    paper = Recipe(
        {"action_repeat": 1, "discount": 0.99, "learning_starts": 5_000},
        {"Swimmer": {"discount": 0.9999}},
    )


class BatchRenorm(nn.Module):
    """Batch renormalisation (arXiv 1702.03275): statistics of the batch, corrected by running ones.

    In training, with mu_B and sigma_B of the batch and mu and sigma the running ones,

        r = clip(sigma_B / sigma, 1 / max_ratio, max_ratio)
        d = clip((mu_B - mu) / sigma, -max_shift, max_shift)
        y = scale * ((x - mu_B) / sigma_B * r + d) + bias

    and no gradient passes through r and d. During the warm-up r = 1 and d = 0, which is batch
    normalisation. Otherwise the running statistics take the place of the batch's, which gives the
    same output as long as nothing is clipped.

    The running mean and variance (not the standard deviation, as in the paper on batch
    renormalisation) are exponential averages. They live in the collection `batch_stats`, which has
    to be mutable in training.

    Attributes:
      momentum: weight of the old running statistics.
      epsilon: added to variances.
      warm_up: batches before r and d take effect.
      max_ratio, max_shift: bounds of r and d.
    """

    momentum: float = 0.99
    epsilon: float = 1e-3
    warm_up: int = 100_000
    max_ratio: float = 3.0
    max_shift: float = 5.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """x `(..., features)`; all axes but the last are the batch."""
        shape = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_variance = self.variable("batch_stats", "variance", jnp.ones, shape)
        # A float, so that gradients with respect to a tree that it is part of exist.
        batches = self.variable("batch_stats", "batches", jnp.zeros, ())
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)

        running_std = jnp.sqrt(running_variance.value + self.epsilon)
        if not train:
            return (x - running_mean.value) * (scale / running_std) + bias

        axes = tuple(range(x.ndim - 1))
        mean, variance = x.mean(axes), x.var(axes)
        std = jnp.sqrt(variance + self.epsilon)
        ratio = (std / running_std).clip(1.0 / self.max_ratio, self.max_ratio)
        shift = ((mean - running_mean.value) / running_std).clip(-self.max_shift, self.max_shift)
        warm = batches.value >= self.warm_up
        ratio = jax.lax.stop_gradient(jnp.where(warm, ratio, 1.0))
        shift = jax.lax.stop_gradient(jnp.where(warm, shift, 0.0))
        if not self.is_initializing():
            old, new = self.momentum, 1.0 - self.momentum
            batches.value = batches.value + 1
            running_mean.value = old * running_mean.value + new * mean
            running_variance.value = old * running_variance.value + new * variance
        return (x - mean) * (scale * ratio / std) + (scale * shift + bias)


class Network(nn.Module):
    """`(..., n)` to `(..., outputs)`; `train` as in `BatchRenorm`."""

    hidden_dim: int
    num_layers: int
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = BatchRenorm(name="norm_input")(x, train)
        for index in range(self.num_layers):
            x = nn.relu(Dense(self.hidden_dim, name=f"hidden_{index}")(x))
            observe(self, x, "feature", "activation", of=f"hidden_{index}")
            x = BatchRenorm(name=f"norm_{index}")(x, train)
        return Dense(self.outputs, name="output")(x)


class Critic(nn.Module):
    """Observation and action to `(..., 1)`: the value."""

    hidden_dim: int
    num_layers: int

    @nn.compact
    def __call__(self, observation: jax.Array, action: jax.Array, train: bool) -> jax.Array:
        x = jnp.concatenate([observation, action], axis=-1)
        return Network(self.hidden_dim, self.num_layers, 1, name="network")(x, train)


def make(observation_size: int, action_size: int, settings: CrossQ) -> Agent:
    """The agent for flat observations and actions of the given sizes.

    Parameters are dictionaries of `params` and `batch_stats`. The latter are what the loss of a
    network, the only place in which it is in training, returns as they are after it.
    """
    actor_sizes = settings.actor_hidden_dim, settings.actor_num_blocks
    critic_sizes = settings.critic_hidden_dim, settings.critic_num_blocks
    actor_network, critic_network = Network(*actor_sizes, 2 * action_size), Critic(*critic_sizes)
    value = ScalarValue()

    def init(key: jax.Array, hyperparameters: HyperParameters) -> sac.OnlineState:
        inputs = jnp.zeros((1, observation_size)), jnp.zeros((1, action_size))
        actor, critic = sac.init_networks(
            key,
            lambda key: dict(actor_network.init(key, inputs[0], train=False)),
            lambda key: dict(critic_network.init(key, *inputs, train=False)),
            settings.num_critics,
        )
        return sac.OnlineState.create(actor, critic, hyperparameters, OPTIMIZER, sac.ADAM)

    def actor(params, observation, hyperparameters):
        output: Any = actor_network.apply(params, observation, train=False)
        return sac.split_output(output)

    def critic(params, observation, action, hyperparameters):
        return critic_network.apply(params, observation, action, train=False)

    def actor_loss(params, state, batch, noise, hyperparameters):
        output, statistics = actor_network.apply(
            params, batch.observation, train=True, mutable="batch_stats"
        )
        action, log_density = sac.sample(*sac.split_output(output), noise.action)
        values = sac.values(value, critic, state.critic, batch.observation, action, hyperparameters)
        loss, figures = sac.policy_loss(
            action, log_density, values.min(0), state, batch, hyperparameters
        )
        return loss, (figures, dict(statistics))

    def critic_loss(params, state, batch, noise, hyperparameters):
        """Both pairs of state and action are one batch, whose latter half makes the target."""
        mean, log_std = actor(state.actor, batch.next_observation, hyperparameters)
        next_action, log_density = sac.sample(mean, log_std, noise.next_action)
        observations = jnp.concatenate([batch.observation, batch.next_observation])
        actions = jnp.concatenate([batch.action, next_action])

        def train(params: Params) -> Any:
            inputs = (observations, actions)
            return critic_network.apply(params, *inputs, train=True, mutable="batch_stats")

        joint, statistics = jax.vmap(train)(params)
        outputs, next_outputs = jnp.split(joint, 2, axis=1)
        output = sac.smallest(value, jax.lax.stop_gradient(next_outputs), hyperparameters)
        target = sac.soft_target(value, output, log_density, state, batch, hyperparameters)
        loss, errors = sac.value_loss(value, outputs, target, batch)
        return loss, (errors, dict(statistics))

    def update(state, batch, noise, hyperparameters, number):
        data = (batch, noise, hyperparameters)
        state, loss, (errors, statistics) = sac.update_network(
            "critic", critic_loss, OPTIMIZER, state, *data
        )
        state = state.replace(critic=state.critic | statistics)

        def update_policy(state: AgentState) -> tuple[AgentState, sac.PolicyMetrics]:
            state, loss, (figures, statistics) = sac.update_network(
                "actor", actor_loss, OPTIMIZER, state, *data
            )
            state, metrics = sac.update_temperature(sac.ADAM, state, loss, figures, hyperparameters)
            return state.replace(actor=state.actor | statistics), metrics

        state, policy = sac.when_due(update_policy, state, number, settings.policy_delay)
        state = state.replace(updates=state.updates + 1)
        return state, sac.report(policy, loss, batch), errors

    networks = ActorCritic(actor, critic, value, actor_loss, critic_loss)
    return Agent(init, *sac.acting(actor), update, networks)

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
from purejax_simba.agents.agent import ActorCritic, Agent, AgentState, Params
from purejax_simba.agents.hyperparameters import HyperParameters
from purejax_simba.agents.networks.batch_renorm import BatchRenorm
from purejax_simba.agents.networks.dense import Dense
from purejax_simba.agents.networks.observed import observe
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

    shared = sac.SAC.shared
    paper = Recipe(
        {"action_repeat": 1, "discount": 0.99, "learning_starts": 5_000},
        {"Swimmer": {"discount": 0.9999}},
    )


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
            temperature = jnp.exp(state.log_temperature)
            state, temperature_loss = sac.update_temperature(
                sac.ADAM, state, figures.entropy, hyperparameters
            )
            metrics = sac.PolicyMetrics(loss, temperature_loss, temperature, *figures)
            return state.replace(actor=state.actor | statistics), metrics

        state, policy = sac.when_due(update_policy, state, number, settings.policy_delay)
        state = state.replace(updates=state.updates + 1)
        return state, sac.report(policy, loss, batch), errors

    networks = ActorCritic(actor, critic, value, actor_loss, critic_loss)
    return Agent(init, *sac.acting(actor), update, networks)

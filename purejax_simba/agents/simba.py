"""SimBa, the first version: pre-layer-norm residual networks and AdamW (arXiv 2410.09754).

Numbers are those of its appendix: weight decay 0.01, learning rate 1e-4, a target entropy of minus
half the action dimensions, and as many updates per transition as an action is repeated. The loop
around it is that of SimbaV2, as published with it.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from purejax_simba.agents import sac
from purejax_simba.agents.agent import ActorCritic, Agent, HyperParameters
from purejax_simba.agents.layers import Actor, Critic, Dense, as_functions, orthogonal
from purejax_simba.agents.observed import observe
from purejax_simba.agents.settings import Learner, Recipe, TargetNetworks, WeightDecay
from purejax_simba.agents.values import ScalarValue

EXPANSION = 4


class Simba(WeightDecay, TargetNetworks, Learner):
    """SimBa (arXiv 2410.09754), appendix."""

    name = "simba"
    actor_hidden_dim = 128
    actor_num_blocks = 1
    critic_hidden_dim = 512
    critic_num_blocks = 2
    learning_rate = 1e-4
    weight_decay = 1e-2

    shared = Recipe(
        {
            "normalize_observations": True,
            "temperature.initial": 0.01,
            "temperature.target_entropy_coefficient": -0.5,
        }
    )
    paper = Recipe()


class Block(nn.Module):
    """x + MLP(LayerNorm(x)) with an inverted bottleneck."""

    hidden_dim: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def dense(name: str, features: int) -> Dense:
            return Dense(features, kernel_init=nn.initializers.he_normal(), name=name)

        h = nn.LayerNorm(name="norm")(x)
        h = nn.relu(dense("dense_in", self.hidden_dim * EXPANSION)(h))
        observe(self, h, "activation")
        return observe(self, x + dense("dense_out", self.hidden_dim)(h), "feature")


def _orthogonal_dense(name: str, features: int) -> Dense:
    return Dense(features, kernel_init=orthogonal(), name=name)


class Encoder(nn.Module):
    """`(..., n)` to `(..., hidden_dim)`."""

    hidden_dim: int
    num_blocks: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = _orthogonal_dense("embedder", self.hidden_dim)(x)
        observe(self, x, "feature", of="embedder")
        for index in range(self.num_blocks):
            x = Block(self.hidden_dim, name=f"block_{index}")(x)
        return observe(self, nn.LayerNorm(name="norm")(x), "feature", of="norm")


def make(observation_size: int, action_size: int, settings: Simba) -> Agent:
    """The agent for flat observations and actions of the given sizes."""
    actor_encoder = Encoder(settings.actor_hidden_dim, settings.actor_num_blocks)
    critic_encoder = Encoder(settings.critic_hidden_dim, settings.critic_num_blocks)
    actor_network = Actor(action_size, actor_encoder, _orthogonal_dense)
    critic_network = Critic(1, critic_encoder, _orthogonal_dense)
    init_actor, actor = as_functions(actor_network, observation_size)
    init_critic, critic = as_functions(critic_network, observation_size, action_size)
    value = ScalarValue()
    actor_loss = sac.actor_loss(actor, critic, value, jnp.min)
    critic_loss = sac.critic_loss(actor, critic, value, sac.smallest)

    def init(key: jax.Array, hyperparameters: HyperParameters) -> sac.State:
        actor, critic = sac.init_networks(key, init_actor, init_critic, settings.num_critics)
        optimizer, target = sac.adamw(hyperparameters), sac.copy(critic)
        return sac.State.create(actor, critic, hyperparameters, optimizer, target_critic=target)

    def update(state, batch, noise, hyperparameters, number):
        # Decay acts on every parameter, the log temperature included, as published.
        optimizer = sac.adamw(hyperparameters)
        data = (batch, noise, hyperparameters)
        state, policy = sac.when_due(
            lambda state: sac.update_policy(actor_loss, optimizer, state, *data),
            state,
            number,
            settings.policy_delay,
        )
        state, loss, errors = sac.update_network("critic", critic_loss, optimizer, state, *data)
        return sac.finish(state, hyperparameters), sac.report(policy, loss, batch), errors

    networks = ActorCritic(actor, critic, value, actor_loss, critic_loss)
    return Agent(init, *sac.acting(actor), update, networks)

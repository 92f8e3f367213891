"""SimBa, the first version: pre-layer-norm residual networks and AdamW (arXiv 2410.09754).

Numbers are those of its appendix: weight decay 0.01, learning rate 1e-4, a target entropy of minus
half the action dimensions, and as many updates per transition as an action is repeated. The loop
around it is that of SimbaV2, as published with it.
"""

import jax.numpy as jnp

from purejax_simba.agents.modules import as_functions
from purejax_simba.agents.networks import simba as networks
from purejax_simba.agents.settings import Learner, Recipe, TargetNetworks, WeightDecay
from purejax_simba.agents.soft_actor_critic import SoftActorCritic, adam_with_decay
from purejax_simba.agents.values import ScalarValue


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


def make(observation_size: int, action_size: int, settings: Simba) -> SoftActorCritic:
    """The agent for flat observations and actions of the given sizes."""
    actor = networks.Actor(action_size, settings.actor_hidden_dim, settings.actor_num_blocks)
    critic = networks.Critic(settings.critic_hidden_dim, settings.critic_num_blocks)
    observation, action = jnp.zeros((1, observation_size)), jnp.zeros((1, action_size))

    init_actor, apply_actor = as_functions(actor, observation)
    init_critic, apply_critic = as_functions(critic, observation, action)
    return SoftActorCritic(
        init_actor=init_actor,
        init_critic=init_critic,
        actor=apply_actor,
        critic=apply_critic,
        value=ScalarValue(),
        num_critics=settings.num_critics,
        policy_delay=settings.policy_delay,
        # Decay acts on every parameter, the log temperature included, as published.
        optimizer=adam_with_decay,
    )

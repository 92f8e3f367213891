"""SimBa, the first version: pre-layer-norm residual networks and AdamW (arXiv 2410.09754).

Numbers are those of its appendix: weight decay 0.01, learning rate 1e-4, a target entropy of minus
half the action dimensions, and as many updates per transition as an action is repeated. The loop
around it is that of SimbaV2, as published with it.
"""

import jax.numpy as jnp

from purejax_simba.agents.modules import as_functions
from purejax_simba.agents.networks import simba as networks
from purejax_simba.agents.settings import LEARNING, Defaults, Recipe, TemperatureConfig, fill
from purejax_simba.agents.settings import AgentConfig as Settings
from purejax_simba.agents.soft_actor_critic import SoftActorCritic, adam_with_decay
from purejax_simba.agents.values import ScalarValue

DEFAULTS = Defaults(
    agent=fill(
        Settings(
            actor_hidden_dim=128,
            actor_num_blocks=1,
            critic_hidden_dim=512,
            critic_num_blocks=2,
            learning_rate=1e-4,
            weight_decay=1e-2,
        ),
        LEARNING,
    ),
    temperature=TemperatureConfig(initial=0.01, target_entropy_coefficient=-0.5),
    open=("num_critics", "learning_rate_end"),
    update_to_data_ratio=None,
    normalize_observations=True,
    paper=Recipe(),
)


def make(
    observation_size: int,
    action_size: int,
    *,
    actor_hidden_dim: int,
    actor_num_blocks: int,
    critic_hidden_dim: int,
    critic_num_blocks: int,
    num_critics: int,
) -> SoftActorCritic:
    """The agent for flat observations and actions of the given sizes."""
    actor = networks.Actor(action_size, actor_hidden_dim, actor_num_blocks)
    critic = networks.Critic(critic_hidden_dim, critic_num_blocks)
    observation, action = jnp.zeros((1, observation_size)), jnp.zeros((1, action_size))

    init_actor, apply_actor = as_functions(actor, observation)
    init_critic, apply_critic = as_functions(critic, observation, action)
    return SoftActorCritic(
        init_actor=init_actor,
        init_critic=init_critic,
        actor=apply_actor,
        critic=apply_critic,
        value=ScalarValue(),
        num_critics=num_critics,
        # Decay acts on every parameter, the log temperature included, as published.
        optimizer=adam_with_decay,
    )

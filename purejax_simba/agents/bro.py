"""BRO (arXiv 2405.16158): big regularised critics, quantiles, optimistic exploration, resets.

Numbers are those of its appendix and of the authors' code: BroNet critics 512 wide with two blocks,
an actor 256 wide with one, 100 quantiles, the mean of the two critics in the place of the smaller
one, AdamW with learning rate 3e-4 and weight decay 1e-4 (Adam with beta1 0.5 for the temperature),
batch 128, a target entropy of minus half the action dimensions, ten updates per step and resets of
everything that is learned. BRO fast has two updates per step and only the first of the resets:
`--update-to-data-ratio 2 --agent.reset-env-steps 15000`.

The paper's recipe: discount 0.99, no action repeat, and 2,500 random steps first.
"""

import jax.numpy as jnp
import optax

from purejax_simba.agents.modules import as_functions
from purejax_simba.agents.networks import bro as networks
from purejax_simba.agents.optimistic_exploration import optimistic_exploration
from purejax_simba.agents.settings import LEARNING, Defaults, Recipe, TemperatureConfig, fill
from purejax_simba.agents.settings import AgentConfig as Settings
from purejax_simba.agents.soft_actor_critic import (
    SoftActorCritic,
    adam_with_decay,
    average,
    average_value,
)
from purejax_simba.agents.values import QuantileValue

TEMPERATURE_BETA1 = 0.5
RESETS = (15_000, 50_000, 250_000, 500_000, 750_000, 1_000_000, 1_500_000, 2_000_000)

DEFAULTS = Defaults(
    agent=fill(
        Settings(
            actor_hidden_dim=256,
            actor_num_blocks=1,
            critic_hidden_dim=512,
            critic_num_blocks=2,
            num_critics=2,
            num_bins=100,
            learning_rate=3e-4,
            weight_decay=1e-4,
            reset_env_steps=RESETS,
        ),
        LEARNING,
    ),
    temperature=TemperatureConfig(initial=1.0, target_entropy_coefficient=-0.5),
    update_to_data_ratio=10.0,
    batch_size=128,
    paper=Recipe({"action_repeat": 1, "discount": 0.99, "learning_starts": 2_500}),
)


def make(
    observation_size: int,
    action_size: int,
    *,
    actor_hidden_dim: int,
    actor_num_blocks: int,
    critic_hidden_dim: int,
    critic_num_blocks: int,
    num_bins: int,
    num_critics: int,
) -> SoftActorCritic:
    """The agent for flat observations and actions of the given sizes."""
    value = QuantileValue(num_bins)
    actor = networks.Actor(action_size, actor_hidden_dim, actor_num_blocks)
    critic = networks.Critic(value.outputs, critic_hidden_dim, critic_num_blocks)
    optimist = networks.OptimisticActor(action_size, actor_hidden_dim, actor_num_blocks)
    observation, action = jnp.zeros((1, observation_size)), jnp.zeros((1, action_size))

    init_actor, apply_actor = as_functions(actor, observation)
    init_critic, apply_critic = as_functions(critic, observation, action)
    return SoftActorCritic(
        init_actor=init_actor,
        init_critic=init_critic,
        actor=apply_actor,
        critic=apply_critic,
        value=value,
        num_critics=num_critics,
        optimizer=adam_with_decay,
        temperature_optimizer=lambda hyperparameters: optax.scale_by_adam(b1=TEMPERATURE_BETA1),
        reduce_target=average,
        reduce_value=average_value,
        exploration=optimistic_exploration(
            optimist, apply_actor, apply_critic, value, adam_with_decay, observation_size
        ),
        critic_first=True,
    )

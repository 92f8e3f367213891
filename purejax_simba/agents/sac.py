"""Soft actor-critic (arXiv 1812.05905): plain networks, two critics, a tuned temperature.

Numbers are those of its table 1: two hidden layers of 256, learning rate 3e-4, batch 256, tau
0.005, a target entropy of minus the action dimensions, one update per step. Log standard deviations
are clipped to [-20, 2] and the temperature starts at 1, as in the authors' code.

The paper's recipe: discount 0.99 (table 1), no action repeat, and 10,000 random steps first, ten
episodes of 1,000 as in the authors' code (softlearning), for the paper does not say.
"""

import jax
import jax.numpy as jnp

from purejax_simba.agents.hyperparameters import HyperParameters
from purejax_simba.agents.modules import as_functions
from purejax_simba.agents.networks import mlp
from purejax_simba.agents.settings import Learner, Recipe, TargetNetworks
from purejax_simba.agents.soft_actor_critic import SoftActorCritic
from purejax_simba.agents.values import ScalarValue

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


def split_output(output: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and log std `(..., A)` from the output `(..., 2 A)` of an actor."""
    mean, log_std = jnp.split(output, 2, axis=-1)
    return mean, log_std.clip(LOG_STD_MIN, LOG_STD_MAX)


def make(observation_size: int, action_size: int, settings: SAC) -> SoftActorCritic:
    """The agent for flat observations and actions of the given sizes."""
    actor = mlp.MLP(settings.actor_hidden_dim, settings.actor_num_blocks, 2 * action_size)
    critic = mlp.Critic(settings.critic_hidden_dim, settings.critic_num_blocks)
    observation, action = jnp.zeros((1, observation_size)), jnp.zeros((1, action_size))

    init_actor, apply = as_functions(actor, observation)
    init_critic, apply_critic = as_functions(critic, observation, action)

    def apply_actor(
        params: dict, observation: jax.Array, hyperparameters: HyperParameters
    ) -> tuple[jax.Array, jax.Array]:
        return split_output(apply(params, observation, hyperparameters))

    return SoftActorCritic(
        init_actor=init_actor,
        init_critic=init_critic,
        actor=apply_actor,
        critic=apply_critic,
        value=ScalarValue(),
        num_critics=settings.num_critics,
        policy_delay=settings.policy_delay,
        critic_first=True,
    )

"""CrossQ (arXiv 1902.05605v4): batch renormalisation and no target network.

Numbers are those of its table 2 and of the authors' code: two critics 2048 wide, an actor 256 wide,
Adam with learning rate 1e-3 and beta1 0.5 (0.9 for the temperature), an update of the policy for
every three of the critics, one update per step. Batch renormalisation, in the actor too, has
momentum 0.99 and warms up for 100,000 batches.

The paper's recipe: discount 0.99 (the authors' code has 0.9999 on Swimmer), no action repeat, and
5,000 random steps first.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from purejax_simba.agents import sac
from purejax_simba.agents.hyperparameters import HyperParameters
from purejax_simba.agents.networks import crossq as networks
from purejax_simba.agents.settings import Learner, Recipe
from purejax_simba.agents.soft_actor_critic import SoftActorCritic
from purejax_simba.agents.values import ScalarValue

BETA1 = 0.5


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


def make(observation_size: int, action_size: int, settings: CrossQ) -> SoftActorCritic:
    """The agent for flat observations and actions of the given sizes."""
    actor = networks.Network(settings.actor_hidden_dim, settings.actor_num_blocks, 2 * action_size)
    critic = networks.Critic(settings.critic_hidden_dim, settings.critic_num_blocks)
    observation, action = jnp.zeros((1, observation_size)), jnp.zeros((1, action_size))

    def init_actor(key: jax.Array, hyperparameters: HyperParameters) -> dict:
        return dict(actor.init(key, observation, train=False))

    def init_critic(key: jax.Array, hyperparameters: HyperParameters) -> dict:
        return dict(critic.init(key, observation, action, train=False))

    def apply_actor(
        params: dict, observation: jax.Array, hyperparameters: HyperParameters
    ) -> tuple[jax.Array, jax.Array]:
        output: Any = actor.apply(params, observation, train=False)
        return sac.split_output(output)

    def fit_actor(
        params: dict, observation: jax.Array, hyperparameters: HyperParameters
    ) -> tuple[tuple[jax.Array, jax.Array], dict]:
        output: Any
        output, statistics = actor.apply(params, observation, train=True, mutable="batch_stats")
        return sac.split_output(output), dict(statistics)

    def apply_critic(
        params: dict, observation: jax.Array, action: jax.Array, hyperparameters: HyperParameters
    ) -> jax.Array:
        output: Any = critic.apply(params, observation, action, train=False)
        return output

    def fit_critic(
        params: dict, observation: jax.Array, action: jax.Array, hyperparameters: HyperParameters
    ) -> tuple[jax.Array, dict]:
        output: Any
        output, statistics = critic.apply(
            params, observation, action, train=True, mutable="batch_stats"
        )
        return output, dict(statistics)

    return SoftActorCritic(
        init_actor=init_actor,
        init_critic=init_critic,
        actor=apply_actor,
        critic=apply_critic,
        value=ScalarValue(),
        num_critics=settings.num_critics,
        policy_delay=settings.policy_delay,
        optimizer=lambda hyperparameters: optax.scale_by_adam(b1=BETA1),
        temperature_optimizer=lambda hyperparameters: optax.scale_by_adam(),
        fit_actor=fit_actor,
        fit_critic=fit_critic,
        has_target_critic=False,
        critic_first=True,
    )

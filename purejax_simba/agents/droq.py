"""DroQ (arXiv 2110.02034): REDQ with two critics that have dropout and layer normalisation.

Numbers are those of its appendix and of the authors' code (that of REDQ): two critics, dropout rate
0.01, 20 updates per step, after the last of these one of the policy with the mean of the critics.
Dropout acts wherever the critics are used in an update, also in the target and in the actor's loss.

The paper's recipe is that of REDQ, with dropout rates task by task (those that the authors give for
their code on top of REDQ's): 0.0001 on Hopper, 0.005 on Walker2d, 0.01 on Ant and 0.1 on Humanoid.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from purejax_simba.agents import redq, sac
from purejax_simba.agents.hyperparameters import HyperParameters
from purejax_simba.agents.modules import as_functions
from purejax_simba.agents.networks import mlp
from purejax_simba.agents.settings import Recipe
from purejax_simba.agents.soft_actor_critic import SoftActorCritic, average_value
from purejax_simba.settings import setting

DROPOUT_RATES = {"Hopper": 1e-4, "Walker2d": 0.005, "Ant": 0.01, "Humanoid": 0.1}


class DroQ(redq.REDQ):
    """DroQ (arXiv 2110.02034), appendix and the authors' code."""

    name = "droq"
    num_critics = 2
    dropout_rate: float = setting(0.01, traced=True, at_least=0, below=1)
    """Share of the critics' hidden units that every update leaves out."""

    paper = Recipe(
        redq.PAPER.settings,
        {
            task: {**redq.PAPER.tasks[task], "agent.dropout_rate": rate}
            for task, rate in DROPOUT_RATES.items()
        },
    )


def make(observation_size: int, action_size: int, settings: DroQ) -> SoftActorCritic:
    """The agent for flat observations and actions of the given sizes."""
    agent = sac.make(observation_size, action_size, settings)
    critic = mlp.Critic(settings.critic_hidden_dim, settings.critic_num_blocks, layer_norm=True)
    inputs = jnp.zeros((1, observation_size)), jnp.zeros((1, action_size))

    init_critic, apply_critic = as_functions(critic, *inputs)

    def dropout_critic(
        params: dict,
        observation: jax.Array,
        action: jax.Array,
        hyperparameters: HyperParameters,
        key: jax.Array,
    ) -> jax.Array:
        output: Any = critic.apply(
            {"params": params},
            observation,
            action,
            hyperparameters.dropout_rate,
            rngs={"dropout": key},
        )
        return output

    return replace(
        agent,
        init_critic=init_critic,
        critic=apply_critic,
        dropout_critic=dropout_critic,
        reduce_value=average_value,
    )

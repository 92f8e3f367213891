"""DroQ (arXiv 2110.02034): REDQ with two critics that have dropout and layer normalisation.

Numbers are those of its appendix and of the authors' code (that of REDQ): two critics, dropout rate
0.01, 20 updates per step, after the last of these one of the policy with the mean of the critics.
Dropout acts wherever the critics are used in an update, also in the target and in the actor's loss.

The paper's recipe is that of REDQ, with dropout rates task by task (those that the authors give for
their code on top of REDQ's): 0.0001 on Hopper, 0.005 on Walker2d, 0.01 on Ant and 0.1 on Humanoid.
"""

from functools import partial
from typing import Any

import jax

from purejax_simba.agents import mlp, redq, sac
from purejax_simba.agents.agent import ActorCritic, Agent, HyperParameters, Params
from purejax_simba.agents.layers import as_functions
from purejax_simba.agents.settings import Recipe
from purejax_simba.agents.values import ScalarValue
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


def make(observation_size: int, action_size: int, settings: DroQ) -> Agent:
    """The agent for flat observations and actions of the given sizes."""
    init_actor, actor = sac.plain_actor(observation_size, action_size, settings)
    sizes = settings.critic_hidden_dim, settings.critic_num_blocks
    network = mlp.Critic(*sizes, layer_norm=True)
    init_critic, critic = as_functions(network, observation_size, action_size)
    value = ScalarValue()

    def init(key: jax.Array, hyperparameters: HyperParameters) -> sac.State:
        actor, critic = sac.init_networks(key, init_actor, init_critic, settings.num_critics)
        return sac.State.create(actor, critic, hyperparameters, target_critic=sac.copy(critic))

    def dropped_out(params, observation, action, hyperparameters, key):
        """Outputs of all critics, every one with a mask of its own."""

        def of_one(params: Params, key: jax.Array) -> Any:
            rate, rngs = hyperparameters.dropout_rate, {"dropout": key}
            return network.apply({"params": params}, observation, action, rate, rngs=rngs)

        return jax.vmap(of_one)(params, jax.random.split(key, settings.num_critics))

    def actor_loss(params, state, batch, noise, hyperparameters):
        mean, log_std = actor(params, batch.observation, hyperparameters)
        action, log_density = sac.sample(mean, log_std, noise.action)
        key = jax.random.fold_in(noise.key, 0)
        outputs = dropped_out(state.critic, batch.observation, action, hyperparameters, key)
        values = value.mean(outputs, hyperparameters.value_range)
        return sac.policy_loss(action, log_density, values.mean(0), state, batch, hyperparameters)

    def critic_loss(params, state, batch, noise, hyperparameters):
        mean, log_std = actor(state.actor, batch.next_observation, hyperparameters)
        action, log_density = sac.sample(mean, log_std, noise.next_action)
        key = jax.random.fold_in(noise.key, 2)
        following = (batch.next_observation, action, hyperparameters, key)
        outputs = dropped_out(state.target_critic, *following)
        output = sac.smallest(value, outputs, hyperparameters)
        target = sac.soft_target(value, output, log_density, state, batch, hyperparameters)
        key = jax.random.fold_in(noise.key, 1)
        outputs = dropped_out(params, batch.observation, batch.action, hyperparameters, key)
        return sac.value_loss(value, outputs, target, batch)

    return Agent(
        init,
        *sac.acting(actor),
        partial(sac.update, actor_loss, critic_loss, settings.policy_delay),
        ActorCritic(actor, critic, value, actor_loss, critic_loss),
    )

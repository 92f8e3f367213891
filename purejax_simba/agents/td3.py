"""TD3 (arXiv 1802.09477): a deterministic actor, delayed; noise on actions and on their targets.

The noise (0.1 on actions; 0.2 on those of the target, clipped to 0.5), the delay of 2 and tau 0.005
are the paper's, sections 5 and 6.1. Widths, learning rate and batch size are those of the authors'
code, which later replaced the paper's 400 and 300, 1e-3 and 100.

The paper's recipe: discount 0.99 (table 3 of its appendix), no action repeat, and 25,000 random
steps first, as in the authors' code; the paper had 10,000, and 1,000 on Hopper and Walker2d.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from purejax_simba.agents import mlp, sac
from purejax_simba.agents.agent import ActorCritic, Agent, AgentState, HyperParameters, Params
from purejax_simba.agents.layers import as_functions
from purejax_simba.agents.settings import Learner, Recipe, TargetNetworks
from purejax_simba.agents.values import ScalarValue
from purejax_simba.settings import setting


class TD3(TargetNetworks, Learner):
    """TD3 (arXiv 1802.09477), sections 5 and 6.1, and the authors' code."""

    name = "td3"
    actor_hidden_dim = 256
    actor_num_blocks = 2
    critic_hidden_dim = 256
    critic_num_blocks = 2
    num_critics = 2
    learning_rate = 3e-4
    policy_delay = 2
    target_update_interval: Any = None
    one_delay = True  # d of the paper is both
    exploration_noise: float = setting(0.1, traced=True, at_least=0)
    """Standard deviation of the noise on actions while training."""
    target_noise: float = setting(0.2, traced=True, at_least=0)
    """Standard deviation of the noise on actions in the critics' target."""
    target_noise_clip: float = setting(0.5, traced=True, at_least=0)
    """Where that noise is cut off."""

    shared = Recipe({"update_to_data_ratio": 1.0})
    paper = Recipe({"action_repeat": 1, "discount": 0.99, "learning_starts": 25_000})


@struct.dataclass
class State:
    """What an update changes: two networks, their moving averages, their optimisers."""

    actor: Params
    critic: Params
    target_actor: Params
    target_critic: Params
    actor_optimizer: optax.OptState
    critic_optimizer: optax.OptState
    updates: jax.Array


def make(observation_size: int, action_size: int, settings: TD3) -> Agent:
    """The agent for flat observations and actions of the given sizes."""
    network = mlp.MLP(settings.actor_hidden_dim, settings.actor_num_blocks, action_size)
    init_actor, apply_actor = as_functions(network, observation_size)
    critic_network = mlp.Critic(settings.critic_hidden_dim, settings.critic_num_blocks)
    init_critic, critic = as_functions(critic_network, observation_size, action_size)
    value = ScalarValue()

    def init(key: jax.Array, hyperparameters: HyperParameters) -> State:
        actor, critic = sac.init_networks(key, init_actor, init_critic, settings.num_critics)
        return State(
            actor=actor,
            critic=critic,
            target_actor=sac.copy(actor),
            target_critic=sac.copy(critic),
            actor_optimizer=sac.ADAM.init(actor),
            critic_optimizer=sac.ADAM.init(critic),
            updates=jnp.zeros((), jnp.int32),
        )

    def actor(params, observation, hyperparameters):
        return jnp.tanh(apply_actor(params, observation, hyperparameters))

    def act(params, observation, key, hyperparameters):
        return actor(params, observation, hyperparameters)

    def explore(state, observation, noise, hyperparameters):
        action = actor(state.actor, observation, hyperparameters)
        return (action + hyperparameters.exploration_noise * noise).clip(-1.0, 1.0)

    def actor_loss(params, state, batch, noise, hyperparameters):
        """Minus the value that the first critic gives."""
        action = actor(params, batch.observation, hyperparameters)
        values = sac.values(value, critic, state.critic, batch.observation, action, hyperparameters)
        cloning = sac.behaviour_cloning(action, values[0], batch, hyperparameters)
        return cloning - values[0].mean(), action.mean()

    def critic_loss(params, state, batch, noise, hyperparameters):
        """The target is the smaller value of a smoothed action (section 5.3 of the paper)."""
        action = actor(state.target_actor, batch.next_observation, hyperparameters)
        clip = hyperparameters.target_noise_clip
        smoothing = (hyperparameters.target_noise * noise.next_action).clip(-clip, clip)
        action = (action + smoothing).clip(-1.0, 1.0)
        following = (batch.next_observation, action, hyperparameters)
        values = sac.values(value, critic, state.target_critic, *following)
        target = batch.reward + batch.discount * values.min(0)
        outputs = sac.all_critics(critic, params, batch.observation, batch.action, hyperparameters)
        return sac.value_loss(value, outputs, target, batch)

    def update(state, batch, noise, hyperparameters, number):
        data = (batch, noise, hyperparameters)
        state, loss, errors = sac.update_network("critic", critic_loss, sac.ADAM, state, *data)

        def update_policy(state: AgentState) -> tuple[AgentState, sac.PolicyMetrics]:
            state, loss, mean_action = sac.update_network(
                "actor", actor_loss, sac.ADAM, state, *data
            )
            none = jnp.zeros(())
            return state, sac.PolicyMetrics(loss, none, none, none, mean_action)

        state, policy = sac.when_due(update_policy, state, number, settings.policy_delay)
        state = sac.finish(state, hyperparameters)
        target = sac.moving_average(state.actor, state.target_actor, state.updates, hyperparameters)
        return state.replace(target_actor=target), sac.report(policy, loss, batch), errors

    networks = ActorCritic(actor, critic, value, actor_loss, critic_loss)
    return Agent(init, act, explore, update, networks)

"""SimbaV2: hyperspherical networks and a categorical critic (arXiv 2502.15280).

Numbers are those of its appendix; there are as many updates per transition as an action is
repeated. The loop around it, which all agents share by default, is its paper's.
"""

import jax.numpy as jnp

from purejax_simba.agents.modules import as_functions
from purejax_simba.agents.networks import simba_v2 as networks
from purejax_simba.agents.settings import LEARNING, Defaults, Recipe, TemperatureConfig, fill
from purejax_simba.agents.settings import AgentConfig as Settings
from purejax_simba.agents.soft_actor_critic import SoftActorCritic
from purejax_simba.agents.values import CategoricalValue, ScalarValue

DEFAULTS = Defaults(
    agent=fill(
        Settings(
            actor_hidden_dim=128,
            actor_num_blocks=1,
            critic_hidden_dim=512,
            critic_num_blocks=2,
            critic_loss="cross_entropy",
            num_bins=101,
            input_projection="shift",
            shift=3.0,
            learning_rate=1e-4,
            learning_rate_end=5e-5,
        ),
        LEARNING,
    ),
    temperature=TemperatureConfig(initial=0.01, target_entropy_coefficient=-0.5),
    open=(
        "num_critics",
        "scaler_init",
        "scaler_scale",
        "block_scaler_init",
        "block_scaler_scale",
        "alpha_init",
        "alpha_scale",
    ),
    update_to_data_ratio=None,
    normalize_observations=True,
    normalize_rewards=True,
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
    num_bins: int,
    num_critics: int,
    critic_loss: str = "cross_entropy",
    input_projection: str = "shift",
) -> SoftActorCritic:
    """The agent for flat observations and actions of the given sizes."""
    is_categorical = critic_loss == "cross_entropy"
    value = CategoricalValue(num_bins) if is_categorical else ScalarValue()
    actor = networks.Actor(action_size, actor_hidden_dim, actor_num_blocks, input_projection)
    critic = networks.Critic(value.outputs, critic_hidden_dim, critic_num_blocks, input_projection)
    observation, action = jnp.zeros((1, observation_size)), jnp.zeros((1, action_size))

    init_actor, apply_actor = as_functions(
        actor, observation, numbers=lambda hyperparameters: (hyperparameters.actor,)
    )
    init_critic, apply_critic = as_functions(
        critic, observation, action, numbers=lambda hyperparameters: (hyperparameters.critic,)
    )
    return SoftActorCritic(
        init_actor=init_actor,
        init_critic=init_critic,
        actor=apply_actor,
        critic=apply_critic,
        value=value,
        num_critics=num_critics,
        project=networks.project_kernels,
    )

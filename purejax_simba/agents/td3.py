"""TD3 (arXiv 1802.09477): a deterministic actor, delayed; noise on actions and on their targets.

The noise (0.1 on actions; 0.2 on those of the target, clipped to 0.5), the delay of 2 and tau 0.005
are the paper's, sections 5 and 6.1. Widths, learning rate and batch size are those of the authors'
code, which later replaced the paper's 400 and 300, 1e-3 and 100.

The paper's recipe: discount 0.99 (table 3 of its appendix), no action repeat, and 25,000 random
steps first, as in the authors' code; the paper had 10,000, and 1,000 on Hopper and Walker2d.
"""

import jax
import jax.numpy as jnp

from purejax_simba.agents.hyperparameters import HyperParameters
from purejax_simba.agents.modules import as_functions
from purejax_simba.agents.networks import mlp
from purejax_simba.agents.settings import LEARNING, Defaults, Recipe, fill
from purejax_simba.agents.settings import AgentConfig as Settings
from purejax_simba.agents.soft_actor_critic import AgentState, Exploration, SoftActorCritic
from purejax_simba.agents.values import ScalarValue

DEFAULTS = Defaults(
    agent=fill(
        Settings(
            actor_hidden_dim=256,
            actor_num_blocks=2,
            critic_hidden_dim=256,
            critic_num_blocks=2,
            num_critics=2,
            learning_rate=3e-4,
            policy_delay=2,
            target_update_interval=2,
            exploration_noise=0.1,
            target_noise=0.2,
            target_noise_clip=0.5,
        ),
        LEARNING,
    ),
    paper=Recipe({"action_repeat": 1, "discount": 0.99, "learning_starts": 25_000}),
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
    actor = mlp.MLP(actor_hidden_dim, actor_num_blocks, action_size)
    critic = mlp.Critic(critic_hidden_dim, critic_num_blocks)
    observation, action = jnp.zeros((1, observation_size)), jnp.zeros((1, action_size))

    init_actor, apply = as_functions(actor, observation)
    init_critic, apply_critic = as_functions(critic, observation, action)

    def apply_actor(
        params: dict, observation: jax.Array, hyperparameters: HyperParameters
    ) -> tuple[jax.Array, jax.Array]:
        mean = apply(params, observation, hyperparameters)
        return mean, jnp.zeros_like(mean)

    def explore(
        state: AgentState,
        observation: jax.Array,
        noise: jax.Array,
        hyperparameters: HyperParameters,
    ) -> jax.Array:
        mean, _ = apply_actor(state.actor, observation, hyperparameters)
        return (jnp.tanh(mean) + hyperparameters.exploration_noise * noise).clip(-1.0, 1.0)

    return SoftActorCritic(
        init_actor=init_actor,
        init_critic=init_critic,
        actor=apply_actor,
        critic=apply_critic,
        value=ScalarValue(),
        num_critics=num_critics,
        reduce_value=lambda values: values[0],
        has_target_actor=True,
        sample=_act,
        sample_next=_smooth,
        exploration=Exploration(explore),
        critic_first=True,
    )


def _act(
    mean: jax.Array, log_std: jax.Array, noise: jax.Array, hyperparameters: HyperParameters
) -> tuple[jax.Array, jax.Array]:
    """The action itself. With a log density of 0 there is no entropy and nothing to tune."""
    return jnp.tanh(mean), jnp.zeros(mean.shape[:-1])


def _smooth(
    mean: jax.Array, log_std: jax.Array, noise: jax.Array, hyperparameters: HyperParameters
) -> tuple[jax.Array, jax.Array]:
    """Target policy smoothing (section 5.3)."""
    clip = hyperparameters.target_noise_clip
    noise = (hyperparameters.target_noise * noise).clip(-clip, clip)
    return (jnp.tanh(mean) + noise).clip(-1.0, 1.0), jnp.zeros(mean.shape[:-1])

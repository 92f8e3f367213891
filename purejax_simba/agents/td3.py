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
from purejax_simba.agents.settings import Learner, Recipe, TargetNetworks
from purejax_simba.agents.soft_actor_critic import AgentState, Exploration, SoftActorCritic
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
    target_update_interval = 2
    exploration_noise: float = setting(0.1, traced=True)
    """Standard deviation of the noise on actions while training."""
    target_noise: float = setting(0.2, traced=True)
    """Standard deviation of the noise on actions in the critics' target."""
    target_noise_clip: float = setting(0.5, traced=True)
    """Where that noise is cut off."""

    shared = Recipe({"update_to_data_ratio": 1.0})
    paper = Recipe({"action_repeat": 1, "discount": 0.99, "learning_starts": 25_000})


def make(observation_size: int, action_size: int, settings: TD3) -> SoftActorCritic:
    """The agent for flat observations and actions of the given sizes."""
    actor = mlp.MLP(settings.actor_hidden_dim, settings.actor_num_blocks, action_size)
    critic = mlp.Critic(settings.critic_hidden_dim, settings.critic_num_blocks)
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
        num_critics=settings.num_critics,
        policy_delay=settings.policy_delay,
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

"""Actions drawn uniformly, also in evaluation: what an agent gets that learns nothing."""

import jax
import jax.numpy as jnp

from purejax_simba.agents.hyperparameters import HyperParameters
from purejax_simba.agents.settings import AgentSettings, Recipe
from purejax_simba.agents.soft_actor_critic import SoftActorCritic
from purejax_simba.agents.values import ScalarValue


class Random(AgentSettings):
    """Nothing to be told."""

    name = "random"
    shared = Recipe({"update_to_data_ratio": 1.0})


def make(observation_size: int, action_size: int, settings: Random) -> SoftActorCritic:
    """The agent for actions of the given size."""

    def init(key: jax.Array, hyperparameters: HyperParameters) -> dict:
        return {}

    def actor(
        params: dict, observation: jax.Array, hyperparameters: HyperParameters
    ) -> tuple[jax.Array, jax.Array]:
        mean = jnp.zeros((*observation.shape[:-1], action_size))
        return mean, mean

    def critic(
        params: dict, observation: jax.Array, action: jax.Array, hyperparameters: HyperParameters
    ) -> jax.Array:
        return jnp.zeros((*observation.shape[:-1], 1))

    def sample(
        mean: jax.Array, log_std: jax.Array, noise: jax.Array, hyperparameters: HyperParameters
    ) -> tuple[jax.Array, jax.Array]:
        # The distribution function makes normal noise uniform.
        action = 2.0 * jax.scipy.stats.norm.cdf(mean + noise) - 1.0
        return action, jnp.full(mean.shape[:-1], -action_size * jnp.log(2.0))

    return SoftActorCritic(
        init_actor=init,
        init_critic=init,
        actor=actor,
        critic=critic,
        value=ScalarValue(),
        num_critics=1,
        sample=sample,
        samples_in_evaluation=True,
        learns=False,
    )

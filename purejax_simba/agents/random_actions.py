"""Actions drawn uniformly, also in evaluation: what an agent gets that learns nothing."""

import jax
import jax.numpy as jnp
from flax import struct

from purejax_simba.agents.agent import Agent, HyperParameters
from purejax_simba.agents.settings import AgentSettings, Recipe


class Random(AgentSettings):
    """Nothing to be told."""

    name = "random"
    shared = Recipe({"update_to_data_ratio": 1.0})


@struct.dataclass
class State:
    """There is nothing in it."""

    actor: dict
    updates: jax.Array


def make(observation_size: int, action_size: int, settings: Random) -> Agent:
    """The agent for actions of the given size."""
    del observation_size, settings

    def init(key: jax.Array, hyperparameters: HyperParameters) -> State:
        return State(actor={}, updates=jnp.zeros((), jnp.int32))

    def act(
        actor: dict, observation: jax.Array, key: jax.Array, hyperparameters: HyperParameters
    ) -> jax.Array:
        return _uniform(jax.random.normal(key, (*observation.shape[:-1], action_size)))

    def explore(
        state: State, observation: jax.Array, noise: jax.Array, hyperparameters: HyperParameters
    ) -> jax.Array:
        return _uniform(noise)

    return Agent(init, act, explore)


def _uniform(noise: jax.Array) -> jax.Array:
    """Numbers in (-1, 1): the distribution function makes normal noise uniform."""
    return 2.0 * jax.scipy.stats.norm.cdf(noise) - 1.0

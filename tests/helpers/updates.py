"""Single updates of tiny agents on drawn batches."""

import dataclasses
from typing import Any

import jax
import numpy as np

from purejax_simba.agents import registry, sac
from purejax_simba.agents.agent import Agent, AgentState, Batch, HyperParameters, Noise
from purejax_simba.agents.registry import agent_settings
from purejax_simba.config import Config
from purejax_simba.defaults import hyperparameters, with_agent_defaults

OBSERVATION, ACTION, BATCH = 4, 2, 24


def make(name: str, **settings: Any) -> tuple[Agent, HyperParameters]:
    """An agent with networks 8 wide and all else its paper's, and its numbers."""
    agent = agent_settings(name, actor_hidden_dim=8, critic_hidden_dim=8, **settings)
    known = {"action_repeat": 1, "discount": 0.99, "total_env_steps": 1_000_000}
    config = with_agent_defaults(Config(**known, agent=agent))
    # Where it is the action repeat.
    config = dataclasses.replace(config, update_to_data_ratio=config.update_to_data_ratio or 1.0)
    made = registry.make(OBSERVATION, ACTION, config.agent)
    return made, hyperparameters(config, ACTION)


def start(agent: Agent, numbers: HyperParameters, seed: int = 0) -> tuple[AgentState, Batch]:
    """A state whose target critics are others than its critics, and a batch."""
    state = jax.jit(agent.init)(jax.random.key(seed), numbers)
    if hasattr(state, "target_critic"):
        other = jax.jit(agent.init)(jax.random.key(seed + 1), numbers)
        state = state.replace(target_critic=other.critic)
    batch = Batch(
        observation=draw(seed, BATCH, OBSERVATION),
        action=np.tanh(draw(seed + 1, BATCH, ACTION)),
        reward=draw(seed + 2, BATCH),
        discount=np.float32([0.99] * (BATCH - 1) + [0.0]),
        next_observation=draw(seed + 3, BATCH, OBSERVATION),
    )
    return state, batch


def noise(seed: int) -> Noise:
    """What is random in an update."""
    return Noise(draw(seed, BATCH, ACTION), draw(seed + 1, BATCH, ACTION), jax.random.key(seed))


def draw(seed: int, *shape: int) -> np.ndarray:
    """Standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def sample(
    mean: np.ndarray, log_std: np.ndarray, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Action of a tanh-Gaussian policy and its log density, in float64."""
    mean, log_std, noise = (np.asarray(x, np.float64) for x in (mean, log_std, noise))
    gaussian = mean + np.exp(log_std) * noise
    density = -0.5 * noise**2 - 0.5 * np.log(2 * np.pi) - log_std
    return np.tanh(gaussian), (density - np.log(np.cosh(gaussian) ** -2.0)).sum(-1)


def plain_critics(params: dict, observation: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Values `(critics, B)` by plain networks of two hidden layers, in float64."""
    x: np.ndarray = np.concatenate([observation, action], -1).astype(np.float64)
    for name in ("hidden_0", "hidden_1", "output"):
        layer = params["mlp"][name]
        x = x @ np.asarray(layer["kernel"], np.float64)
        x = x + np.asarray(layer["bias"], np.float64)[:, None]
        x = x if name == "output" else np.maximum(x, 0)
    return x[..., 0]


def outputs(agent: Agent, critics: dict, *inputs: Any) -> jax.Array:
    """Of all critics, `(critics, B, outputs)`, for observations, actions and hyperparameters."""
    assert agent.actor_critic is not None
    return sac.all_critics(agent.actor_critic.critic, critics, *inputs)

"""REDQ (arXiv 2101.05982): ten critics, targets by a random pair of them, twenty updates per step.

Numbers are those of its table 3 and of the authors' code: the networks, learning rate, batch and
tau of SAC, ten critics, the smaller value of two of them drawn anew for every update, 20 updates
per step, and after the last of these one of the policy with the mean of all critics.

The paper's recipe: discount 0.99, no action repeat, 5,000 random steps first (table 3), and target
entropies task by task, those of MBPO (arXiv 1906.08253): -1 on Hopper, -3 on HalfCheetah and
Walker2d, -4 on Ant and -2 on Humanoid. On three of these it is minus half the action dimensions,
which is what other tasks get.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from purejax_simba.agents import sac
from purejax_simba.agents.agent import ActorCritic, Agent
from purejax_simba.agents.settings import Recipe

UPDATES = 20
TARGET_CRITICS = 2
_DRAW = 3  # which of an update's keys
# In nats, and the dimensions of an action.
TARGET_ENTROPIES = {
    "Hopper": (-1, 3),
    "HalfCheetah": (-3, 6),
    "Walker2d": (-3, 6),
    "Ant": (-4, 8),
    "Humanoid": (-2, 17),
}
PAPER = Recipe(
    {"action_repeat": 1, "discount": 0.99, "learning_starts": 5_000},
    {
        task: {"temperature.target_entropy_coefficient": nats / dimensions}
        for task, (nats, dimensions) in TARGET_ENTROPIES.items()
    },
)


class REDQ(sac.SAC):
    """REDQ (arXiv 2101.05982), table 3 and the authors' code."""

    name = "redq"
    num_critics = 10
    policy_delay: Any = None  # follows from how many updates there are, as in the authors' code
    longest_policy_delay = UPDATES

    shared = Recipe(
        {
            "update_to_data_ratio": float(UPDATES),
            "temperature.initial": 1.0,
            "temperature.target_entropy_coefficient": -0.5,
        }
    )
    paper = PAPER


def make(observation_size: int, action_size: int, settings: REDQ) -> Agent:
    """The agent for flat observations and actions of the given sizes."""
    plain = sac.make(observation_size, action_size, settings)
    actor, critic, value, _, clipped_loss = plain.actor_critic  # type: ignore[misc]
    actor_loss = sac.actor_loss(actor, critic, value, jnp.mean)

    def critic_loss(params, state, batch, noise, hyperparameters):
        order = jax.random.permutation(jax.random.fold_in(noise.key, _DRAW), settings.num_critics)
        drawn = jax.tree.map(lambda leaf: leaf[order[:TARGET_CRITICS]], state.target_critic)
        state = state.replace(target_critic=drawn)
        return clipped_loss(params, state, batch, noise, hyperparameters)

    return replace(
        plain,
        update=partial(sac.update, actor_loss, critic_loss, settings.policy_delay),
        actor_critic=ActorCritic(actor, critic, value, actor_loss, critic_loss),
    )

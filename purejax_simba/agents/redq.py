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

from purejax_simba.agents import sac
from purejax_simba.agents.settings import Recipe
from purejax_simba.agents.soft_actor_critic import SoftActorCritic, average_value

UPDATES = 20
TARGET_CRITICS = 2
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
    policy_delay = UPDATES

    shared = Recipe(
        {
            "update_to_data_ratio": float(UPDATES),
            "temperature.initial": 1.0,
            "temperature.target_entropy_coefficient": -0.5,
        }
    )
    paper = PAPER


def make(observation_size: int, action_size: int, settings: REDQ) -> SoftActorCritic:
    """The agent for flat observations and actions of the given sizes."""
    agent = sac.make(observation_size, action_size, settings)
    return replace(agent, target_critics=TARGET_CRITICS, reduce_value=average_value)

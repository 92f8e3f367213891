"""How much an experiment computes and how large it is, from its configuration."""

import dataclasses
from typing import Any

from purejax_simba.config import AgentConfig
from purejax_simba.flops import flops_per_update
from purejax_simba.networks.simba_v2 import EXPANSION

BATCH_SIZE = 256
# The published networks (arXiv 2502.15280, appendix); one critic, as on most tasks.
PUBLISHED_AGENT = AgentConfig(
    actor_hidden_dim=128,
    actor_num_blocks=1,
    critic_hidden_dim=512,
    critic_num_blocks=2,
    num_critics=1,
    num_bins=101,
)


def gflop_per_interaction(
    agent: AgentConfig, batch_size: int, update_to_data_ratio: float
) -> float:
    """10^9 operations of the matrix products in the updates per interaction.

    Without the products with observations and actions, whose sizes differ between tasks: they are
    below 5% of the whole at the published widths.
    """
    return update_to_data_ratio * flops_per_update(agent, 0, 0, batch_size) / 1e9


def critic_parameters(width: int, num_blocks: int) -> int:
    """Weights in the residual blocks of one critic; SimBa and SimbaV2 have the same number."""
    return num_blocks * 2 * EXPANSION * width**2


def compute_of(config: dict[str, Any]) -> float | None:
    """GFLOP per interaction of a run of SimbaV2; None for other agents or unknown sizes.

    Args:
      config: dotted name -> value, as in `Run`.
    """
    names = [field.name for field in dataclasses.fields(PUBLISHED_AGENT)]
    given: dict[str, Any] = {name: config.get(f"agent.{name}") for name in names}
    sizes = {name: size for name, size in given.items() if size is not None}
    agent = dataclasses.replace(PUBLISHED_AGENT, **sizes)
    batch_size, ratio = config.get("replay.batch_size"), config.get("update_to_data_ratio")
    if config.get("agent.name", "simba_v2") != "simba_v2" or not batch_size or not ratio:
        return None
    return gflop_per_interaction(agent, batch_size, ratio)

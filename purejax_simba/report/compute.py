"""How much an experiment computes and how large it is, from its configuration.

Only the residual blocks are counted, in which nearly everything is: the sizes of the other layers
depend on the task. SimBa and SimbaV2 have the same blocks.
"""

from typing import Any

EXPANSION = 4
# The published agents (arXiv 2502.15280, appendix), with one critic, as on most tasks.
PUBLISHED = {
    "agent.name": "simba_v2",
    "agent.actor_hidden_dim": 128,
    "agent.actor_num_blocks": 1,
    "agent.critic_hidden_dim": 512,
    "agent.critic_num_blocks": 2,
    "agent.num_critics": 1,
    "replay.batch_size": 256,
}
_AGENTS = ("simba_v2", "simba")
# Of a layer: its output, and the gradients with respect to its kernel and to its input. A critic
# computes its output for the actor's loss, the target and its own loss; the actor's gradient passes
# through it to its input, and its own loss needs both. An actor computes its output for its own
# loss and for the target, and its loss needs both gradients.
_CRITIC_PRODUCTS, _ACTOR_PRODUCTS = 6, 4


def block_weights(width: int, num_blocks: int) -> int:
    """Weights in the residual blocks of a network."""
    return num_blocks * 2 * EXPANSION * width**2


def gflop_per_interaction(config: dict[str, Any], update_to_data_ratio: float) -> float:
    """10^9 multiplications and additions in the blocks, in the updates per interaction."""
    critics = config["agent.num_critics"] * block_weights(
        config["agent.critic_hidden_dim"], config["agent.critic_num_blocks"]
    )
    actor = block_weights(config["agent.actor_hidden_dim"], config["agent.actor_num_blocks"])
    products = _CRITIC_PRODUCTS * critics + _ACTOR_PRODUCTS * actor
    return update_to_data_ratio * 2 * config["replay.batch_size"] * products / 1e9


def compute_of(config: dict[str, Any]) -> float | None:
    """GFLOP per interaction of a run; None for agents without such blocks and unknown sizes.

    Args:
      config: dotted name -> value, as in `Run`.
    """
    known = {name: config[name] for name in PUBLISHED if config.get(name) is not None}
    ratio = config.get("update_to_data_ratio")
    if ratio is None or (PUBLISHED | known)["agent.name"] not in _AGENTS:
        return None
    return gflop_per_interaction(PUBLISHED | known, ratio)


def critic_weights(config: dict[str, Any]) -> int | None:
    """Weights in the blocks of one critic of a run; None as `compute_of`."""
    if config.get("agent.name", "simba_v2") not in _AGENTS:
        return None
    sizes = [config.get(f"agent.critic_{name}") for name in ("hidden_dim", "num_blocks")]
    return None if None in sizes else block_weights(*sizes)  # type: ignore[arg-type]

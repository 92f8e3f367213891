"""Floating-point operations of the matrix products of one SimbaV2 update."""

from purejax_simba.config import AgentConfig
from purejax_simba.networks.simba_v2 import EXPANSION


def flops_per_update(
    agent: AgentConfig, observation_size: int, action_size: int, batch_size: int
) -> int:
    """Multiplications and additions of all linear layers in one update of one run.

    A layer from n to m features costs 2 B n m for its output, the same for the gradient with
    respect to its kernel, and the same for the gradient with respect to its input. Counted are:

    - actor loss: actor forward; every critic forward and backward, with respect to the input
      alone, because the gradient passes through the action; actor backward;
    - target: actor forward, every target critic forward;
    - critic loss: every critic forward and backward.

    Backward passes with respect to the kernels leave out the input of the first layer. Nothing is
    counted for what is not a product of two matrices: normalisations, activations, the mean of the
    value distribution and its projection, the optimiser and the moving average.

    Args:
      agent: sizes of the networks, `num_critics` given.
      observation_size, action_size: lengths of the two vectors.
      batch_size: B.
    """
    if agent.num_critics is None:
        raise ValueError("num_critics is open: give a number")
    actor = _Network(
        inputs=observation_size + 1,  # the shift is appended to the input
        hidden_dim=agent.actor_hidden_dim,
        num_blocks=agent.actor_num_blocks,
        outputs=(action_size, action_size),  # mean and log std
    )
    critic = _Network(
        inputs=observation_size + action_size + 1,
        hidden_dim=agent.critic_hidden_dim,
        num_blocks=agent.critic_num_blocks,
        outputs=(agent.num_bins,),
    )
    # The actor goes forward twice; its backward costs two products a layer.
    actor_products = 4 * actor.weights - actor.first_weights
    # Forward in the actor loss, the target and the critic loss; backward to the input; backward.
    critic_products = 6 * critic.weights - critic.first_weights
    return 2 * batch_size * (actor_products + agent.num_critics * critic_products)


class _Network:
    """Weights in the kernels of an encoder with one head per output."""

    def __init__(self, inputs: int, hidden_dim: int, num_blocks: int, outputs: tuple[int, ...]):
        block = 2 * EXPANSION * hidden_dim**2
        heads = sum(hidden_dim**2 + hidden_dim * features for features in outputs)
        self.first_weights = inputs * hidden_dim
        self.weights = self.first_weights + num_blocks * block + heads

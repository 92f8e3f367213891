"""What goes into an agent's update and what comes out of it."""

from typing import Any, NamedTuple

import jax
import optax
from flax import struct

Params = Any


class Batch(NamedTuple):
    """A minibatch of transitions, observations normalised and rewards scaled.

    `observation` and `next_observation` are `(B, O)`, `action` is `(B, A)`. `reward` `(B,)` is the
    discounted sum over the steps of the transition; `discount` `(B,)` is what the value of
    `next_observation` is multiplied with: zero after a termination. `weight` `(B,)` is that of each
    transition in the critics' loss, where they are not all 1.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    discount: jax.Array
    next_observation: jax.Array
    weight: jax.Array | None = None


class Noise(NamedTuple):
    """What is random in an update.

    Attributes:
      action, next_action: standard normal `(B, A)` for the actions at `observation` and at
        `next_observation`.
      key: for agents that need more: dropout, a choice of critics.
    """

    action: jax.Array
    next_action: jax.Array
    key: jax.Array | None = None


class PolicyMetrics(NamedTuple):
    """What an update of the policy reports, `()` each."""

    actor_loss: jax.Array
    temperature_loss: jax.Array
    temperature: jax.Array
    entropy: jax.Array
    mean_action: jax.Array


class UpdateMetrics(NamedTuple):
    """What an update reports, `()` each.

    Where the policy is updated only every d-th time, that update reports d times the figures of
    `PolicyMetrics` and the others report 0, so that means over many updates are right.
    """

    actor_loss: jax.Array
    critic_loss: jax.Array
    temperature_loss: jax.Array
    temperature: jax.Array
    entropy: jax.Array
    mean_action: jax.Array
    batch_reward_mean: jax.Array
    batch_reward_min: jax.Array
    batch_reward_max: jax.Array


@struct.dataclass
class AgentState:
    """Everything that an update changes. Critic leaves carry a leading axis of critics.

    Networks that an agent does not have are empty tuples.

    Attributes:
      actor, critic, target_critic, target_actor: parameters.
      exploration: what `Exploration` learns.
      log_temperature: `()`.
      actor_optimizer, critic_optimizer, temperature_optimizer: states of the optimisers.
      updates: `()` int32, how many there were.
    """

    actor: Params
    critic: Params
    target_critic: Params
    log_temperature: jax.Array
    actor_optimizer: optax.OptState
    critic_optimizer: optax.OptState
    temperature_optimizer: optax.OptState
    updates: jax.Array
    target_actor: Params = ()
    exploration: Params = ()

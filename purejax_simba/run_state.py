"""What changes while a run trains."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from purejax_simba.agents.agent import AgentState, UpdateMetrics
from purejax_simba.data.normalisation import RewardScale, RunningMoments
from purejax_simba.data.replay import Replay


@struct.dataclass
class Counters:
    """What is the same in every run and is therefore never batched; `()` int32 each.

    Attributes:
      interactions: steps taken by each environment.
      updates: of each run, but that those which diverged have had fewer.
      update_credit: numerator of the fraction of an update that is due.
      replay_start: interactions of which the replay holds nothing: those before a run was resumed
        without it.
    """

    interactions: jax.Array
    update_credit: jax.Array
    replay_start: jax.Array
    updates: jax.Array

    @classmethod
    def create(cls) -> "Counters":
        """Counters of a run that has not begun."""
        return cls(*(jnp.zeros((), jnp.int32) for _ in range(4)))


@struct.dataclass
class Progress:
    """What a run reports between evaluations.

    Attributes:
      update_sums: sums of `UpdateMetrics` since the last evaluation.
      updates: `()` int32, how many were summed.
      episode_return: `(E,)`, of the episodes under way.
      last_return: `(E,)`, of the episodes that ended last; NaN before any did.
      diverged_at: `()` int32, interaction of the first non-finite update, or -1.
    """

    update_sums: UpdateMetrics
    updates: jax.Array
    episode_return: jax.Array
    last_return: jax.Array
    diverged_at: jax.Array

    @classmethod
    def create(cls, num_environments: int) -> "Progress":
        """Before the first interaction."""
        return cls(
            update_sums=UpdateMetrics(*(jnp.zeros(()) for _ in UpdateMetrics._fields)),
            updates=jnp.zeros((), jnp.int32),
            episode_return=jnp.zeros(num_environments),
            last_return=jnp.full(num_environments, jnp.nan, jnp.float32),
            diverged_at=jnp.full((), -1, jnp.int32),
        )


@struct.dataclass
class RunState:
    """Everything of one run that changes, but for the shared `Counters`."""

    key: jax.Array
    evaluation_key: jax.Array
    agent: AgentState
    environment: Any
    replay: Replay
    observation_moments: RunningMoments
    reward_scale: RewardScale
    progress: Progress


def _replay_axes(replay: Replay | None) -> Any:
    axes = jax.tree.map(lambda _: 1, replay)
    return axes and axes.replace(truncations=0, steps_to_lost=0)


def environment_axes(state: RunState) -> RunState:
    """Which axis of each leaf counts the environments of a run; -1: it belongs to all of them."""

    def all_leaves(axis: int, tree: Any) -> Any:
        return jax.tree.map(lambda _: axis, tree)

    axes = all_leaves(-1, state)
    return axes.replace(
        environment=all_leaves(0, state.environment),
        replay=_replay_axes(state.replay),
        reward_scale=axes.reward_scale.replace(discounted_return=0),
        progress=axes.progress.replace(episode_return=0, last_return=0),
    )

"""What changes while a run trains.

A field bears the name of what it is the state of: `program.agent` and `program.environment` are
functions, `state.agent` and `state.environment` what they take and return. The replay and the
statistics come in one kind only: they are values with methods, which return a new value.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import struct

from purejax_simba.agents.agent import AgentState, UpdateMetrics
from purejax_simba.data.normalisation import RewardScale, RunningMoments

_State = TypeVar("_State")


class Counters(struct.PyTreeNode):
    """What is the same in every run and is therefore never batched; `()` int32 each.

    Attributes:
      interactions: steps taken by each environment.
      updates: of each run, but that those which diverged have had fewer.
      update_credit: numerator of the fraction of an update that is due.
      replay_start: interactions of which the replay holds nothing: those before a run was resumed
        without it.
      last_update: interactions taken when the last update came.
    """

    interactions: jax.Array
    update_credit: jax.Array
    replay_start: jax.Array
    updates: jax.Array
    last_update: jax.Array

    @classmethod
    def create(cls) -> "Counters":
        """Counters of a run that has not begun."""
        return cls(*(jnp.zeros((), jnp.int32) for _ in range(5)))


class Progress(struct.PyTreeNode):
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

    def begin_interval(self, begins: jax.Array) -> "Progress":
        """With new sums if an interval `begins`, `()` bool."""
        return self.replace(
            update_sums=jax.tree.map(lambda x: jnp.where(begins, 0.0, x), self.update_sums),
            updates=jnp.where(begins, 0, self.updates),
        )

    def add_step(self, reward: jax.Array, done: jax.Array) -> "Progress":
        """With a step: reward `(E,)` and whether its episode ended, `(E,)`."""
        episode_return = self.episode_return + reward
        return self.replace(
            episode_return=jnp.where(done, 0.0, episode_return),
            last_return=jnp.where(done, episode_return, self.last_return),
        )

    def add_update(self, metrics: UpdateMetrics, interactions: jax.Array) -> "Progress":
        """With what an update of the agent, after so many interactions, reports."""
        finite = jnp.isfinite(metrics.actor_loss) & jnp.isfinite(metrics.critic_loss)
        return self.replace(
            update_sums=jax.tree.map(jnp.add, self.update_sums, metrics),
            updates=self.updates + 1,
            diverged_at=jnp.where((self.diverged_at < 0) & ~finite, interactions, self.diverged_at),
        )

    def forget_episodes(self) -> "Progress":
        """As if the episodes under way had not begun."""
        return self.replace(episode_return=jnp.zeros_like(self.episode_return))

    def freeze(self, old: _State, new: _State) -> _State:
        """The new state of what a policy is; a run that diverged keeps the one of that moment."""
        return jax.tree.map(lambda old, new: jnp.where(self.diverged_at < 0, new, old), old, new)

    def environment_axes(self) -> "Progress":
        """See `environment_axes` of a run."""
        whole = jax.tree.map(lambda _: -1, self)
        return whole.replace(episode_return=0, last_return=0)


class RunState(struct.PyTreeNode):
    """Everything of one run that changes, but for the shared `Counters`.

    Attributes:
      key, evaluation_key: what random numbers are made from; they stay.
      environment: the training environments, side by side; None where a dataset is learned from.
      replay: a `Replay`; None where a dataset is learned from.
      observation_moments, reward_scale: for normalisation.
      progress: since the last evaluation.
    """

    key: jax.Array
    evaluation_key: jax.Array
    agent: AgentState
    environment: Any
    replay: Any
    observation_moments: RunningMoments
    reward_scale: RewardScale
    progress: Progress


def environment_axes(state: RunState) -> RunState:
    """Which axis of each leaf counts the environments of a run; -1: it belongs to all of them."""
    return jax.tree.map(lambda _: -1, state).replace(
        environment=jax.tree.map(lambda _: 0, state.environment),
        replay=state.replay and state.replay.environment_axes(),
        reward_scale=state.reward_scale.environment_axes(),
        progress=state.progress.environment_axes(),
    )


def inherit(state: RunState, parents: jax.Array, with_replay: bool) -> RunState:
    """Runs that go on from others, each with random keys of its own.

    Args:
      state: with a leading axis of runs.
      parents: `(runs,)` int32, for each run the one that it goes on from, which may be itself.
      with_replay: take over the replay and the episodes under way too; otherwise only the agent and
        the statistics that its inputs are normalised with.
    """

    def of_parents(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.take(leaf, parents, axis=0), tree)

    if with_replay:
        taken = of_parents(state.replace(key=None, evaluation_key=None))
        # Episodes to come are their own too, or both would begin at the same places ever after.
        environment = taken.environment and taken.environment.replace(key=state.environment.key)
        own = {"key": state.key, "evaluation_key": state.evaluation_key}
        return taken.replace(environment=environment, **own)
    scale = of_parents(state.reward_scale)
    return state.replace(
        agent=of_parents(state.agent),
        observation_moments=of_parents(state.observation_moments),
        reward_scale=scale.replace(discounted_return=state.reward_scale.discounted_return),
        progress=state.progress.replace(diverged_at=of_parents(state.progress.diverged_at)),
    )

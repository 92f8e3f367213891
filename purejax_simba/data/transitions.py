"""A fixed dataset on the device: drawn from, never written to, and the same for all runs.

It is one array of observations for all runs of a device: callers pass it unbatched, so that under
`vmap` a draw is a gather from this one array.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from purejax_simba.agents.agent import Batch
from purejax_simba.data.normalisation import RewardScale, RunningMoments

_Carry = TypeVar("_Carry")


class Transitions(struct.PyTreeNode):
    """N transitions in the order in which they were collected.

    Attributes:
      observation: `(rows, O)`; the successor of row k is row k + 1, so that an observation within
        an episode is stored once.
      row: `(N,)` int32, where the observation of each transition is.
      action: `(N, A)`.
      reward: `(N,)`.
      terminated: `(N,)` bool.
      ended: `(N,)` bool, whether the episode ended there, by termination or a time limit.
    """

    observation: jax.Array
    row: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    ended: jax.Array

    @classmethod
    def create(
        cls,
        *,
        observation: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        terminated: np.ndarray,
        ended: np.ndarray,
        next_observation: np.ndarray,
    ) -> "Transitions":
        """Stores transitions in numpy arrays, to be placed on devices by the caller.

        Args:
          observation, next_observation: `(N, O)`.
          action: `(N, A)`, in [-1, 1].
          reward: `(N,)` float32.
          terminated, ended: `(N,)` bool.
        """
        # Bits are compared: a successor is either the next row itself or a row of its own.
        follows = np.all(next_observation[:-1] == observation[1:], axis=1)
        begins = np.concatenate([[0], np.cumsum(~follows)])
        row = (np.arange(len(observation)) + begins).astype(np.int32)
        rows = np.empty((row[-1] + 2, observation.shape[1]), np.float32)
        rows[row] = observation
        last = np.append(~follows, True)
        rows[row[last] + 1] = next_observation[last]
        arrays: dict[str, Any] = {
            "observation": rows,
            "row": row,
            "action": action.astype(np.float32),
            "reward": reward,
            "terminated": terminated,
            "ended": ended,
        }
        return cls(**arrays)

    @property
    def size(self) -> int:
        """N."""
        return self.row.shape[0]

    def sample(self, key: jax.Array, batch_size: int, discount: jax.Array) -> Batch:
        """Draws transitions uniformly with replacement, not normalised or scaled yet.

        Args:
          key: PRNG key.
          batch_size: B.
          discount: `()`, per step.
        """
        return self.take(jax.random.randint(key, (batch_size,), 0, self.size), discount)

    def take(self, index: jax.Array, discount: jax.Array) -> Batch:
        """The transitions at `index` `(B,)`."""
        row = self.row[index]
        return Batch(
            observation=self.observation[row],
            action=self.action[index],
            reward=self.reward[index],
            discount=jnp.where(self.terminated[index], 0.0, discount),
            next_observation=self.observation[row + 1],
        )

    def observation_moments(self, batch_size: int) -> RunningMoments:
        """Statistics of the successors, zeros after terminations, in one pass over the data.

        As published: the pass of `reward_scale`, where every step brings a next observation.
        """

        def take_in(moments: RunningMoments, index: jax.Array) -> RunningMoments:
            following = self.take(index, jnp.float32(0.0)).next_observation
            return moments.update(jnp.where(self.terminated[index][:, None], 0.0, following))

        return self._pass(take_in, RunningMoments.create(self.observation.shape[1]), batch_size)

    def reward_scale(self, discount: jax.Array, batch_size: int) -> RewardScale:
        """The scale after one pass over the data.

        As published, each place in a batch stands for an environment, so that a return adds up
        rewards of steps that are a batch apart. What is left beyond whole batches does not count.

        Args:
          discount: `()`, per step.
          batch_size: steps that are taken in at a time.
        """

        def take_in(scale: RewardScale, index: jax.Array) -> RewardScale:
            return scale.update(self.reward[index], self.ended[index], discount)

        scale = self._pass(take_in, RewardScale.create(min(batch_size, self.size)), batch_size)
        # No episode goes on from here.
        return scale.replace(discounted_return=jnp.zeros(1))

    def _pass(
        self, take_in: Callable[[_Carry, jax.Array], _Carry], carry: _Carry, batch_size: int
    ) -> _Carry:
        """Takes in all whole batches in order; where there is none, one of all that there is."""
        size = min(batch_size, self.size)

        def step(carry: _Carry, number: jax.Array) -> tuple[_Carry, None]:
            return take_in(carry, number * size + jnp.arange(size)), None

        return jax.lax.scan(step, carry, jnp.arange(self.size // size))[0]

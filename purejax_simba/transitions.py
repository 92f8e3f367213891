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

from purejax_simba.agents.soft_actor_critic import Batch
from purejax_simba.normalisation import RewardScale, RunningMoments

# Transitions that a pass over the data takes in at a time.
_CHUNK = 4096

_Carry = TypeVar("_Carry")


@struct.dataclass
class Transitions:
    """N transitions in the order in which they were collected.

    Attributes:
      observation: `(rows, O)`; the successor of row k is row k + 1, so that an observation within
        an episode is stored once.
      row: `(N,)` int32, where the observation of each transition is.
      action: `(N, A)`.
      reward: `(N,)`.
      terminated: `(N,)` bool.
      ended: `(N,)` bool, whether the episode ended there, by termination or otherwise.
    """

    observation: jax.Array
    row: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    ended: jax.Array

    priorities = None  # all are drawn alike

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

    def complete_steps(self, steps: jax.Array, origin: jax.Array | int = 0) -> jax.Array:
        """As many as there are; arguments as those of `sample`."""
        del steps, origin
        return jnp.int32(self.size)

    def sample(
        self,
        key: jax.Array,
        steps: jax.Array,
        batch_size: int,
        discount: jax.Array,
        origin: jax.Array | int = 0,
    ) -> Batch:
        """Draws transitions uniformly with replacement, not normalised or scaled yet.

        Args:
          key: PRNG key.
          steps, origin: of a `Replay`; here all transitions are there from the beginning.
          batch_size: B.
          discount: `()`, per step.
        """
        del steps, origin
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

    def observation_moments(self) -> RunningMoments:
        """Statistics of the observations that were acted on, in one pass over the data.

        The published offline code takes successors instead, with zeros after terminations.
        """

        def take_in(moments: RunningMoments, index: jax.Array) -> RunningMoments:
            return moments.update(self.observation[self.row[index]])

        return self._pass(take_in, RunningMoments.create(self.observation.shape[1]))

    def reward_scale(self, discount: jax.Array) -> RewardScale:
        """The scale after one pass over the data, as if one environment had been stepped through.

        The recurrence is that of `RewardScale.update`. The published offline code makes its pass
        in batches and takes each place in a batch for an environment, so that it adds up rewards
        of steps that are a batch apart.

        Args:
          discount: `()`, per step.
        """

        def take_in(scale: RewardScale, index: jax.Array) -> RewardScale:
            kept = discount * jnp.where(self.ended[index], 0.0, 1.0)
            reward = self.reward[index].at[0].add(kept[0] * scale.discounted_return[0])
            returns = _accumulate(kept, reward)
            return RewardScale(
                discounted_return=returns[-1:],
                moments=scale.moments.update(returns[:, None]),
                largest=jnp.maximum(scale.largest, jnp.abs(returns).max()),
            )

        return self._pass(take_in, RewardScale.create(1))

    def _pass(self, take_in: Callable[[_Carry, jax.Array], _Carry], carry: _Carry) -> _Carry:
        """Takes in the numbers of all transitions, in order and in chunks."""
        first = self.size % _CHUNK
        if first:
            carry = take_in(carry, jnp.arange(first))

        def step(carry: _Carry, chunk: jax.Array) -> tuple[_Carry, None]:
            return take_in(carry, first + chunk * _CHUNK + jnp.arange(_CHUNK)), None

        return jax.lax.scan(step, carry, jnp.arange(self.size // _CHUNK))[0]


def _accumulate(kept: jax.Array, reward: jax.Array) -> jax.Array:
    """G of G_t = reward_t + kept_t G_(t-1), all `(n,)`, with G = 0 before the first.

    By doubling the number of steps that are summed up: n numbers take log2 n passes.
    """
    position = jnp.arange(len(reward))

    def double(number: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        kept, total = carry
        shift = 2**number

        def earlier(values: jax.Array) -> jax.Array:
            return jnp.where(position < shift, 0.0, jnp.roll(values, shift))

        return kept * earlier(kept), total + kept * earlier(total)

    passes = (len(reward) - 1).bit_length()
    return jax.lax.fori_loop(0, passes, double, (kept, reward))[1]

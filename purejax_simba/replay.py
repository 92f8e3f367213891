"""Replay on the device: a ring of rows, one row per step of all environments of a run.

An observation is stored once: the successor of a transition is the observation of the next row,
except at a truncation, where the episode's final observation is nobody's next row. A time limit
of L steps cuts an episode at most once in L steps, so final observations go to a side ring with
one slot per L steps. (A termination needs none: its successor's value is multiplied by zero.)

The position in the ring is the number of steps taken, the same for all runs; the caller passes it
unbatched, so that under `vmap` an append stays one slice update.
"""

import jax
import jax.numpy as jnp
from flax import struct

from purejax_simba.agents.soft_actor_critic import Batch


@struct.dataclass
class Replay:
    """Storage of one run.

    Attributes:
      observation: `(rows, E, O)`; row t also serves as the successor of row t - 1.
      action: `(rows, E, A)`.
      reward: `(rows, E)`.
      terminated, truncated: `(rows, E)` bool.
      final_observation: `(slots, E, O)`, of truncated episodes.
      n_step: steps of a sampled transition.
      truncation_interval: no environment truncates twice within so many steps.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    final_observation: jax.Array
    n_step: int = struct.field(pytree_node=False)
    truncation_interval: int = struct.field(pytree_node=False)

    @classmethod
    def create(
        cls,
        first_observation: jax.Array,
        action_size: int,
        *,
        capacity: int,
        n_step: int = 1,
        truncation_interval: int = 1,
        dtype: jax.typing.DTypeLike = jnp.float32,
    ) -> "Replay":
        """An empty replay that holds `capacity` transitions of all environments together.

        Args:
          first_observation: `(E, O)`, where the environments start.
          action_size: A.
          capacity: transitions, a multiple of E.
          n_step: steps of a sampled transition.
          truncation_interval: the environments' episode length, or 1 where it is not known.
          dtype: of stored observations and actions: float32, or bfloat16 to halve the memory.
        """
        num_environments, observation_size = first_observation.shape
        # One row more per step of a transition: they are not complete yet, or being overwritten.
        rows = capacity // num_environments + n_step
        slots = -(-rows // truncation_interval) + 1
        shape = (rows, num_environments)
        first = first_observation.astype(dtype)
        return cls(
            observation=jnp.zeros((*shape, observation_size), dtype).at[0].set(first),
            action=jnp.zeros((*shape, action_size), dtype),
            reward=jnp.zeros(shape, jnp.float32),
            terminated=jnp.zeros(shape, bool),
            truncated=jnp.zeros(shape, bool),
            final_observation=jnp.zeros((slots, num_environments, observation_size), dtype),
            n_step=n_step,
            truncation_interval=truncation_interval,
        )

    @property
    def rows(self) -> int:
        """Rows of the ring."""
        return self.observation.shape[0]

    def append(
        self,
        step: jax.Array,
        *,
        action: jax.Array,
        reward: jax.Array,
        terminated: jax.Array,
        truncated: jax.Array,
        final_observation: jax.Array,
        next_observation: jax.Array,
    ) -> "Replay":
        """Stores step number `step` (from 0) of all environments.

        Args:
          step: `()` int32.
          action: `(E, A)`, taken at the `next_observation` of the append before.
          reward, terminated, truncated: `(E,)`.
          final_observation: `(E, O)`, the true successor; kept where truncated.
          next_observation: `(E, O)`, what is acted on next: of the next episode after an end.
        """
        row = step % self.rows
        slot = (step // self.truncation_interval) % self.final_observation.shape[0]
        dtype = self.observation.dtype
        kept = jax.lax.dynamic_index_in_dim(self.final_observation, slot, keepdims=False)
        final = jnp.where(truncated[:, None], final_observation.astype(dtype), kept)

        def write(ring: jax.Array, value: jax.Array, index: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_index_in_dim(ring, value.astype(ring.dtype), index, 0)

        return self.replace(  # type: ignore[attr-defined]
            observation=write(self.observation, next_observation, (step + 1) % self.rows),
            action=write(self.action, action, row),
            reward=write(self.reward, reward, row),
            terminated=write(self.terminated, terminated, row),
            truncated=write(self.truncated, truncated, row),
            final_observation=write(self.final_observation, final, slot),
        )

    def cut(self, steps: jax.Array, first_observation: jax.Array) -> "Replay":
        """Truncates the episodes under way after `steps` appends and notes where new ones begin.

        It can be one truncation more in an interval than there is room for. Then the final
        observation of the other one is lost, and that one transition gets this one's instead.

        Args:
          steps: `()` int32.
          first_observation: `(E, O)`.
        """
        row = (steps - 1) % self.rows
        slot = ((steps - 1) // self.truncation_interval) % self.final_observation.shape[0]
        truncated = self.truncated[row]
        return self.append(
            steps - 1,
            action=self.action[row],
            reward=self.reward[row],
            terminated=self.terminated[row],
            truncated=~self.terminated[row],
            final_observation=jnp.where(
                truncated[:, None],
                self.final_observation[slot],
                self.observation[steps % self.rows],
            ),
            next_observation=first_observation,
        )

    def complete_steps(self, steps: jax.Array, origin: jax.Array | int = 0) -> jax.Array:
        """How many steps can be sampled after `steps` appends, per environment.

        Args:
          steps: `()` int32, counted from zero.
          origin: `()` int32, how many of them came before this replay was made.
        """
        return jnp.clip(steps - origin - self.n_step + 1, 0, self.rows - self.n_step)

    def sample(
        self,
        key: jax.Array,
        steps: jax.Array,
        batch_size: int,
        discount: jax.Array,
        origin: jax.Array | int = 0,
    ) -> Batch:
        """Draws transitions uniformly with replacement, not normalised or scaled yet.

        A transition spans `n_step` steps, or fewer if its episode ends before; then it bootstraps
        from where the episode ended, discounted by the steps really taken.

        Args:
          key: PRNG key.
          steps: `()` int32, appends so far, at least `n_step`.
          batch_size: B.
          discount: `()`, per step.
          origin: see `complete_steps`.
        """
        choices = jnp.stack([self.complete_steps(steps, origin), jnp.int32(self.reward.shape[1])])
        age, environment = jax.random.randint(key, (2, batch_size), 0, choices[:, None])
        start = steps - self.n_step - age

        window = start[:, None] + jnp.arange(self.n_step)
        at = (window % self.rows, environment[:, None])
        terminated = self.terminated[at]
        ended = terminated | self.truncated[at]
        # A step counts while none before it in the window ended the episode.
        alive = jnp.cumsum(ended, axis=1) - ended == 0
        discounts = discount ** jnp.arange(self.n_step)
        length = alive.sum(1)
        last = start + length - 1
        final = self.final_observation[
            (last // self.truncation_interval) % self.final_observation.shape[0], environment
        ]
        following = self.observation[(last + 1) % self.rows, environment]
        cut = self.truncated[last % self.rows, environment]
        dead = jnp.any(terminated & alive, axis=1)
        return Batch(
            observation=self.observation[start % self.rows, environment].astype(jnp.float32),
            action=self.action[start % self.rows, environment].astype(jnp.float32),
            reward=jnp.sum(discounts * self.reward[at] * alive, axis=1),
            discount=jnp.where(dead, 0.0, discount**length),
            next_observation=jnp.where(cut[:, None], final, following).astype(jnp.float32),
        )

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
from purejax_simba.priorities import Priorities

# Added to errors, so that what was without one is drawn again (as in OpenAI Baselines).
EPSILON = 1e-6


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
      priorities: of the transition that begins at row t in environment e at t E + e, zero until it
        is complete; None where all are drawn alike.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    final_observation: jax.Array
    n_step: int = struct.field(pytree_node=False)
    truncation_interval: int = struct.field(pytree_node=False)
    priorities: Priorities | None = None

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
        prioritized: bool = False,
    ) -> "Replay":
        """An empty replay that holds `capacity` transitions of all environments together.

        Args:
          first_observation: `(E, O)`, where the environments start.
          action_size: A.
          capacity: transitions, a multiple of E.
          n_step: steps of a sampled transition.
          truncation_interval: the environments' episode length, or 1 where it is not known.
          dtype: of stored observations and actions: float32, or bfloat16 to halve the memory.
          prioritized: for `sample_by_priority` in place of `sample`.
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
            priorities=Priorities.create(rows * num_environments) if prioritized else None,
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
        origin: jax.Array | int = 0,
    ) -> "Replay":
        """Stores step number `step` (from 0) of all environments.

        Args:
          step: `()` int32.
          action: `(E, A)`, taken at the `next_observation` of the append before.
          reward, terminated, truncated: `(E,)`.
          final_observation: `(E, O)`, the true successor; kept where truncated.
          next_observation: `(E, O)`, what is acted on next: of the next episode after an end.
          origin: see `complete_steps`.
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
            priorities=self._priorities_after(step, origin),
        )

    def _priorities_after(self, step: jax.Array, origin: jax.Array | int) -> Priorities | None:
        """With an append: a row of transitions is complete now, and the next one is overwritten."""
        if self.priorities is None:
            return None
        complete = step + 1 - self.n_step
        environments = jnp.arange(self.reward.shape[1])
        rows = jnp.stack([complete, step + 1]) % self.rows
        value = jnp.stack([jnp.where(complete >= origin, self.priorities.of_new, 0.0), 0.0])
        index = rows[:, None] * len(environments) + environments
        return self.priorities.put(index.ravel(), value.repeat(len(environments)))

    def cut(
        self, steps: jax.Array, first_observation: jax.Array, origin: jax.Array | int = 0
    ) -> "Replay":
        """Truncates the episodes under way after `steps` appends and notes where new ones begin.

        It can be one truncation more in an interval than there is room for. Then the final
        observation of the other one is lost, and that one transition gets this one's instead.

        Args:
          steps: `()` int32.
          first_observation: `(E, O)`.
          origin: see `complete_steps`.
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
            origin=origin,
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
        return self._transitions(steps - self.n_step - age, environment, discount)

    def sample_by_priority(
        self,
        key: jax.Array,
        steps: jax.Array,
        batch_size: int,
        discount: jax.Array,
        origin: jax.Array | int = 0,
        *,
        importance_exponent: jax.Array,
    ) -> tuple[Batch, jax.Array]:
        """Draws transitions in proportion to their priorities (arXiv 1511.05952).

        Args:
          key, steps, batch_size, discount, origin: as those of `sample`.
          importance_exponent: `()`, beta of the weights (N p)^-beta, which make up for what is
            drawn more often; they are divided by the largest of the batch.

        Returns:
          The batch, with `weight`, and where its transitions are, `(B,)`, for `prioritize`.
        """
        assert self.priorities is not None
        index, probability = self.priorities.draw(key, batch_size)
        num_environments = self.reward.shape[1]
        row, environment = index // num_environments, index % num_environments
        newest = steps - self.n_step
        batch = self._transitions(newest - (newest - row) % self.rows, environment, discount)
        count = self.complete_steps(steps, origin) * num_environments
        weight = (count * probability) ** -importance_exponent
        return batch._replace(weight=weight / weight.max()), index

    def prioritize(self, index: jax.Array, error: jax.Array, exponent: jax.Array) -> "Replay":
        """Gives transitions the priorities (error + epsilon)^exponent.

        Args:
          index: `(B,)`, of `sample_by_priority`.
          error: `(B,)`, how far off the critics were, 0 or more.
          exponent: `()`, alpha.
        """
        assert self.priorities is not None
        # Those of a run that diverged must not be in the way of its sums.
        error = jnp.where(jnp.isfinite(error), error, 0.0)
        priorities = self.priorities.put(index, (error + EPSILON) ** exponent)
        return self.replace(priorities=priorities)  # type: ignore[attr-defined]

    def _transitions(self, start: jax.Array, environment: jax.Array, discount: jax.Array) -> Batch:
        """Those that begin with the steps `start` `(B,)` of `environment` `(B,)`."""
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

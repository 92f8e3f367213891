"""Replay on the device: a ring of rows, one row per step of all environments of a run.

A row is an observation and the step before it: `(action, reward, ending, observation)`. So a
transition is a row's observation and the row after that, and an observation is stored once, except
at a truncation, where the episode's final observation is not the one that is acted on next. Those
go to a side ring, which every environment fills at its own pace, and the row says in which place.
Where an environment truncates so often that a place is taken again while its row is still stored,
that transition is not drawn any more.

A termination needs none, as its successor's value is multiplied by zero, but for agents that
normalise a batch together with its successors. For these another side ring has its final
observation, and the first one of the next episode takes its place once that is overwritten.

The position in the ring of rows is the number of steps taken, the same for all runs; the caller
passes it unbatched, so that under `vmap` an append stays one slice update.
"""

import jax
import jax.numpy as jnp
from flax import struct

from purejax_simba.agents.agent import Batch
from purejax_simba.data.priorities import Priorities
from purejax_simba.data.rows import Rows

# Added to errors, so that what was without one is drawn again (as in OpenAI Baselines).
EPSILON = 1e-6

# How a step leaves its episode: going on, terminated, or truncated with its final observation in
# place `ending - TRUNCATED` of the side ring. Terminated with a final observation it is
# `-1 - place`.
GOES_ON, TERMINATED, TRUNCATED = range(3)
# Whole numbers up to it are exact among the others of a row, which are float32.
_LARGEST_ENDING = 2**24


class Terminals(struct.PyTreeNode):
    """Final observations of episodes that terminated, the newest ones of each environment.

    Attributes:
      finals: O numbers in each place.
      steps: `(places, E)` int32, up to and with the termination; 0 where free.
      count: `(E,)` int32, terminations so far.
    """

    finals: Rows
    steps: jax.Array
    count: jax.Array

    @classmethod
    def create(cls, num_environments: int, places: int, observation_size: int) -> "Terminals":
        """All free."""
        return cls(
            finals=Rows.create(num_environments, places, observation_size),
            steps=jnp.zeros((places, num_environments), jnp.int32),
            count=jnp.zeros(num_environments, jnp.int32),
        )

    def put(
        self, step: jax.Array, terminated: jax.Array, observation: jax.Array
    ) -> tuple["Terminals", jax.Array]:
        """Keeps observations `(E, O)` where `terminated` `(E,)`; returns their endings too."""
        places, num_environments = self.steps.shape
        place = self.count % places
        # What is out of range is not written.
        target = (jnp.where(terminated, place, places), jnp.arange(num_environments))
        terminals = Terminals(
            finals=self.finals.put_where(terminated, place, observation),
            steps=self.steps.at[target].set(step + 1, mode="drop"),
            count=self.count + terminated,
        )
        return terminals, -1 - place

    def get(
        self, ending: jax.Array, steps: jax.Array, environment: jax.Array, other: jax.Array
    ) -> jax.Array:
        """Final observations `(B, O)` of steps with these endings, as far as they are there.

        Args:
          ending, environment: of the steps, `(B,)`.
          steps: up to and with them, `(B,)`.
          other: `(B, O)`, where there are none.
        """
        place = jnp.maximum(-1 - ending, 0)
        is_there = (ending < 0) & (self.steps[place, environment] == steps)
        return jnp.where(is_there[:, None], self.finals.get(place, environment), other)

    def environment_axes(self) -> "Terminals":
        """Which axis of each array counts environments."""
        return jax.tree.map(lambda _: 1, self).replace(count=0)


class Replay(struct.PyTreeNode):
    """Storage of one run.

    Attributes:
      steps: ring of `(action, reward, ending, observation)`, A + 1 + 1 + O numbers each: step t is
        in row t + 1; row 0 begins with an observation alone. For endings see `TRUNCATED`.
      finals: O numbers, the final observations of truncated episodes.
      steps_to_final: `(places, E)` int32, steps up to and with that truncation; 0 where free.
      truncations: `(E,)` int32, so far.
      steps_to_lost: `(E,)` int32, steps up to and with the newest truncation whose final
        observation was overwritten; 0 before there is one.
      rows: of the ring `steps`.
      n_step: steps of a sampled transition.
      priorities: of the transition that begins at row t in environment e at t E + e, zero until it
        is complete and when it is lost; None where all are drawn alike.
      terminals: None for agents that look at no successor of a termination.
    """

    steps: Rows
    finals: Rows
    steps_to_final: jax.Array
    truncations: jax.Array
    steps_to_lost: jax.Array
    rows: int = struct.field(pytree_node=False)
    n_step: int = struct.field(pytree_node=False)
    priorities: Priorities | None = None
    terminals: Terminals | None = None

    @classmethod
    def create(
        cls,
        first_observation: jax.Array,
        action_size: int,
        *,
        capacity: int,
        n_step: int = 1,
        truncation_interval: int = 1,
        prioritized: bool = False,
        keeps_terminals: bool = False,
    ) -> "Replay":
        """An empty replay that holds `capacity` transitions of all environments together.

        Args:
          first_observation: `(E, O)`, where the environments start.
          action_size: A.
          capacity: transitions, a multiple of E.
          n_step: steps of a sampled transition.
          truncation_interval: steps from one truncation to the next, on average over the replay,
            that there is room for in each environment.
          prioritized: for `sample_by_priority` in place of `sample`.
          keeps_terminals: whether the final observations of terminated episodes count; there is as
            much room for them.
        """
        num_environments, observation_size = first_observation.shape
        # One row more per step of a transition: they are not complete yet, or being overwritten.
        rows = capacity // num_environments + n_step
        # The newest transition, at least, must always be there to be drawn.
        places = max(-(-rows // truncation_interval), n_step) + 1
        places = min(places, _LARGEST_ENDING - TRUNCATED)
        width = action_size + 2 + observation_size
        before = jnp.zeros((num_environments, width)).at[:, -observation_size:]
        return cls(
            steps=Rows.create(num_environments, rows, width).put(
                jnp.int32(0), before.set(first_observation)
            ),
            finals=Rows.create(num_environments, places, observation_size),
            steps_to_final=jnp.zeros((places, num_environments), jnp.int32),
            truncations=jnp.zeros(num_environments, jnp.int32),
            steps_to_lost=jnp.zeros(num_environments, jnp.int32),
            rows=rows,
            n_step=n_step,
            priorities=Priorities.create(rows * num_environments) if prioritized else None,
            terminals=Terminals.create(num_environments, places, observation_size)
            if keeps_terminals
            else None,
        )

    def with_more_places(self, before: int) -> "Replay":
        """After places for final observations were added behind `before` of them.

        The free ones are taken next. Counted on as before, one would be taken whose row is stored.
        """
        terminals = self.terminals
        if terminals is not None:
            terminals = terminals.replace(count=jnp.minimum(terminals.count, before))
        truncations = jnp.minimum(self.truncations, before)
        return self.replace(truncations=truncations, terminals=terminals)

    def environment_axes(self) -> "Replay":
        """Which axis of each array counts environments (priorities are never divided)."""
        return jax.tree.map(lambda _: 1, self).replace(
            truncations=0,
            steps_to_lost=0,
            terminals=self.terminals and self.terminals.environment_axes(),
        )

    @property
    def num_environments(self) -> int:
        """E."""
        return len(self.truncations)

    @property
    def _reward(self) -> int:
        """The column of rewards; that of endings comes next, then observations."""
        return self.steps.width - self.finals.width - 2

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
          final_observation: `(E, O)`, the true successor; kept where truncated, and where
            terminated if that was asked for.
          next_observation: `(E, O)`, what is acted on next: of the next episode after an end.
          origin: see `complete_steps`.
        """
        replay, ending, lost = self._truncate(step, truncated, final_observation)
        terminals, of_terminated = self.terminals, jnp.int32(TERMINATED)
        if terminals is not None:
            terminals, of_terminated = terminals.put(step, terminated, final_observation)
        ending = jnp.where(terminated, of_terminated, ending)
        columns = (action, reward[:, None], ending[:, None], next_observation)
        return replay.replace(
            steps=self.steps.put((step + 1) % self.rows, jnp.concatenate(columns, axis=-1)),
            priorities=self._priorities_after(step, lost, origin),
            terminals=terminals,
        )

    def _truncate(
        self, step: jax.Array, truncated: jax.Array, final_observation: jax.Array
    ) -> tuple["Replay", jax.Array, jax.Array]:
        """Keeps the final observations `(E, O)` where episodes are truncated `(E,)` in a step.

        Returns:
          The replay; what `ending` says of these environments, `(E,)` int32; and the steps whose
          final observations were overwritten, or -1, `(E,)` int32.
        """
        places, num_environments = self.steps_to_final.shape
        environment = jnp.arange(num_environments)
        place = self.truncations % places
        steps_to_lost = jnp.where(truncated, self.steps_to_final[place, environment], 0)
        # What is out of range is not written.
        target = (jnp.where(truncated, place, places), environment)
        replay = self.replace(
            finals=self.finals.put_where(truncated, place, final_observation),
            steps_to_final=self.steps_to_final.at[target].set(step + 1, mode="drop"),
            truncations=self.truncations + truncated,
            steps_to_lost=jnp.maximum(self.steps_to_lost, steps_to_lost),
        )
        return replay, jnp.where(truncated, TRUNCATED + place, GOES_ON), steps_to_lost - 1

    def _priorities_after(
        self, step: jax.Array, lost: jax.Array, origin: jax.Array | int
    ) -> Priorities | None:
        """With an append: a row of transitions is complete now, the next one is overwritten.

        Transitions that end with the steps `lost`, see `_truncate`, are drawn no more. They are
        older than the complete ones, as there are more than `n_step` places.
        """
        if self.priorities is None:
            return None
        complete = step + 1 - self.n_step
        new = jnp.where(complete >= origin, self.priorities.of_new, 0.0)
        starts = self._starts_of_lost(step, lost)
        whole = jnp.broadcast_to(jnp.stack([complete, step + 1])[:, None], (2, len(lost)))
        value = jnp.zeros(2 + self.n_step).at[0].set(new)
        return self._put(jnp.concatenate([whole, starts]), value)

    def _starts_of_lost(self, step: jax.Array, lost: jax.Array) -> jax.Array:
        """Steps `(n_step, E)` with which transitions begin that end with the steps `lost` `(E,)`.

        In place of those that there are not, the one after `step`: its row is being overwritten, so
        that its priority is zero in any case.
        """
        start = lost - jnp.arange(self.n_step)[:, None]
        # Those that begin before an earlier end are over there.
        stored = self.steps.get((start + 1) % self.rows, jnp.arange(len(lost)))
        ended = stored[..., self._reward + 1] != GOES_ON
        is_earlier = jnp.cumsum(ended.at[0].set(False), axis=0) > 0
        is_concerned = (start >= 0) & (start > step + 1 - self.rows) & ~is_earlier
        return jnp.where(is_concerned, start, step + 1)

    def _put(self, start: jax.Array, value: jax.Array) -> Priorities:
        """Priorities `(k,)` of transitions that begin with the steps `start` `(k, E)`."""
        assert self.priorities is not None
        index = start % self.rows * self.num_environments + jnp.arange(self.num_environments)
        return self.priorities.put(index.ravel(), value.repeat(self.num_environments))

    def cut(self, steps: jax.Array, first_observation: jax.Array) -> "Replay":
        """Truncates the episodes under way after `steps` appends and notes where new ones begin.

        Args:
          steps: `()` int32.
          first_observation: `(E, O)`.
        """
        row, column = steps % self.rows, self._reward + 1
        stored = self.steps.get(row, jnp.arange(self.num_environments))
        ending, final_observation = stored[:, column], stored[:, column + 1 :]
        goes_on = ending == GOES_ON
        replay, cut, lost = self._truncate(steps - 1, goes_on, final_observation)
        ending = jnp.where(goes_on, cut, ending)
        columns = (stored[:, :column], ending[:, None], first_observation)
        priorities = self.priorities
        if priorities is not None:
            starts = self._starts_of_lost(steps - 1, lost)
            priorities = self._put(starts, jnp.zeros(self.n_step))
        return replay.replace(
            steps=self.steps.put(row, jnp.concatenate(columns, axis=-1)), priorities=priorities
        )

    def complete_steps(self, steps: jax.Array, origin: jax.Array | int = 0) -> jax.Array:
        """How many steps can be sampled after `steps` appends, per environment.

        Args:
          steps: `()` int32, counted from zero.
          origin: `()` int32, how many of them came before this replay was made.
        """
        return jnp.clip(steps - origin - self.n_step + 1, 0, self.rows - self.n_step)

    def held_steps(self, steps: jax.Array, origin: jax.Array | int = 0) -> jax.Array:
        """How many of the newest complete steps `sample` draws from, per environment, `()` int32.

        All of `complete_steps`, but for those up to the newest that was lost in any environment, so
        that what is drawn alike stays a range of steps. By priority only what is lost is left out.

        Args:
          steps, origin: as those of `complete_steps`.
        """
        kept = steps - self.n_step + 1 - self.steps_to_lost.max()
        return jnp.minimum(self.complete_steps(steps, origin), kept)

    def withheld(self, steps: jax.Array, origin: jax.Array | int = 0) -> jax.Array:
        """How many complete transitions, `()` int32, are not drawn because a truncation was lost.

        Args:
          steps, origin: as those of `complete_steps`.
        """
        complete = self.complete_steps(steps, origin)
        if self.priorities is None:
            return (complete - self.held_steps(steps, origin)) * self.num_environments
        return complete * self.num_environments - jnp.sum(self.priorities.values > 0.0)

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
        choices = jnp.stack([self.held_steps(steps, origin), jnp.int32(self.num_environments)])
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
        row, environment = index // self.num_environments, index % self.num_environments
        newest = steps - self.n_step
        batch = self._transitions(newest - (newest - row) % self.rows, environment, discount)
        count = self.complete_steps(steps, origin) * self.num_environments
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
        return self.replace(priorities=priorities)

    def _transitions(self, start: jax.Array, environment: jax.Array, discount: jax.Array) -> Batch:
        """Those that begin with the steps `start` `(B,)` of `environment` `(B,)`."""
        window = start[:, None] + jnp.arange(self.n_step + 1)
        stored = self.steps.get(window % self.rows, environment[:, None])
        action, reward, ending, observation = jnp.split(
            stored, [self._reward, self._reward + 1, self._reward + 2], axis=-1
        )
        reward, ending = reward[:, 1:, 0], ending[:, 1:, 0].astype(jnp.int32)
        ended = ending != GOES_ON
        # A step counts while none before it in the window ended the episode.
        alive = jnp.cumsum(ended, axis=1) - ended == 0
        discounts = discount ** jnp.arange(self.n_step)
        length = alive.sum(1)
        following = jnp.take_along_axis(observation, length[:, None, None], axis=1)[:, 0]
        last = jnp.take_along_axis(ending, length[:, None] - 1, axis=1)[:, 0]
        is_cut = last >= TRUNCATED
        place = jnp.where(is_cut, last - TRUNCATED, 0)
        following = jnp.where(is_cut[:, None], self.finals.get(place, environment), following)
        if self.terminals is not None:
            steps = start + length
            following = self.terminals.get(last, steps, environment, other=following)
        is_terminated = (last == TERMINATED) | (last < 0)
        return Batch(
            observation=observation[:, 0],
            action=action[:, 1],
            reward=jnp.sum(discounts * reward * alive, axis=1),
            discount=jnp.where(is_terminated, 0.0, discount**length),
            next_observation=following,
        )

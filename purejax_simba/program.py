"""A configuration as pure functions of one run, whatever it learns from; `vmap` them for many."""

import abc
import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp

import envs
from purejax_simba.agents.agent import Agent, AgentState, Batch, HyperParameters, Noise, Params
from purejax_simba.config import Config, known
from purejax_simba.defaults import hyperparameters
from purejax_simba.diagnostics import Metrics, diagnose
from purejax_simba.division import divide
from purejax_simba.evaluation import EvaluationMetrics, evaluate, evaluation_policy
from purejax_simba.precision import in_full
from purejax_simba.run_state import Counters, RunState

_NEVER = 2**31 - 1  # in a run, whose interactions and updates are counted in 32 bits


class Drawn(NamedTuple):
    """What an update takes.

    `entries` `(B,)` are where in the replay the minibatch is from, if it was drawn by priority.
    """

    batch: Batch
    noise: Noise
    entries: jax.Array | None


def keys_at(key: jax.Array, position: jax.Array | int) -> jax.Array:
    """Keys `(3,)` for what is random at a position, `()` int32, which is not negative.

    Made at once, because one key after another is a hundred operations on single numbers on a TPU.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(3))
    return jax.vmap(jax.random.fold_in, (0, None))(keys, position)


@dataclass(eq=False, repr=False)
class Program(abc.ABC):
    """What training in an environment and from a dataset share; holds only what is static.

    A run is `init`, then `advance` in chunks of any size, with `evaluate` and `diagnose` between
    them, and `begin_episodes` where it was resumed without its environments. `advance` repeats
    `interact`, and that calls `update`, which takes minibatches from `draw`.

    Attributes:
      config: resolved.
      environment: without automatic reset.
      data: what all runs share, further arguments of `init`, `advance` and `diagnose`; what these
        call finds it here.
    """

    config: Config
    environment: envs.Environment
    agent: Agent
    data: tuple[Any, ...] = ()

    def hyperparameters(self) -> HyperParameters:
        """The configuration's own."""
        return hyperparameters(self.config, self.environment.action_size)

    @abc.abstractmethod
    def init(self, key: jax.Array, hyperparameters: HyperParameters, *data: Any) -> RunState:
        """A run before its first interaction."""

    @functools.cached_property
    def state_shapes(self) -> RunState:
        """Shapes of the state of a run, once for all who ask: tracing `init` can take seconds."""
        key, numbers = jax.random.key(0), self.hyperparameters()
        return jax.eval_shape(self.init, key, numbers, *self.data)

    @functools.cached_property
    def activation_shapes(self) -> tuple[Any, Any]:
        """Shapes of what the backward passes of both losses keep, the actor's and the critics', and
        their parameters among it; of an agent without losses of nothing.
        """
        losses, update = self.agent.actor_critic, self.agent.update
        if losses is None or update is None:
            return (), ()

        def kept(counters: Counters, state: RunState, *data: Any) -> tuple[Any, Any]:
            numbers, program = self.hyperparameters(), self._with_data(data)
            drawn = program.draw(keys_at(state.key, 0), counters, state, numbers)
            rest = (state.agent, drawn.batch, drawn.noise, numbers)

            def backward(loss: Callable[..., Any], params: Params) -> Any:
                return jax.vjp(lambda params: loss(params, *rest)[0], params)[1]

            actor = backward(losses.actor_loss, state.agent.actor)
            return actor, backward(losses.critic_loss, state.agent.critic)

        return jax.eval_shape(kept, Counters.create(), self.state_shapes, *self.data)

    @in_full
    def advance(
        self,
        counters: Counters,
        state: RunState,
        hyperparameters: HyperParameters,
        interactions: jax.Array,
        *data: Any,
    ) -> tuple[Counters, RunState]:
        """Goes on by so many interactions, `()` int32, which may be traced."""
        program = self._with_data(data)

        def body(_: jax.Array, carry: tuple[Counters, RunState]) -> tuple[Counters, RunState]:
            return program.interact(*carry, hyperparameters)

        return jax.lax.fori_loop(0, interactions, body, (counters, state))

    def _with_data(self, data: tuple[Any, ...]) -> Self:
        """The same program of the data that it is traced with, which so is no constant of it."""
        program = copy.copy(self)
        program.data = data
        return program

    @abc.abstractmethod
    def interact(
        self, counters: Counters, state: RunState, hyperparameters: HyperParameters
    ) -> tuple[Counters, RunState]:
        """One interaction. Keys depend on its number alone, so that chunks may end anywhere."""

    @abc.abstractmethod
    def begin_episodes(self, counters: Counters, state: RunState) -> RunState:
        """Begins new episodes in place of those under way."""

    def evaluate(
        self, counters: Counters, state: RunState, hyperparameters: HyperParameters
    ) -> EvaluationMetrics:
        """Plays evaluation episodes; changes nothing."""
        policy = evaluation_policy(
            self.config, self.agent, state.agent.actor, state.observation_moments, hyperparameters
        )
        key = jax.random.fold_in(state.evaluation_key, counters.interactions)
        return evaluate(self.environment, policy, key, known(self.config.num_evaluation_episodes))

    @in_full
    def diagnose(
        self, counters: Counters, state: RunState, hyperparameters: HyperParameters, *data: Any
    ) -> Metrics:
        """Metrics of the agent by name, `()` each, see `diagnostics`; changes nothing."""
        if self.config.diagnostics == "none":
            return {}
        # Evaluations take keys by numbers that are not negative.
        key = jax.random.fold_in(state.evaluation_key, -1 - counters.interactions)
        program = self._with_data(data)
        batch, noise, _ = program.draw(keys_at(key, 0), counters, state, hyperparameters)
        per_module = self.config.diagnostics == "module"
        metrics = diagnose(self.agent, state.agent, batch, noise, hyperparameters, per_module)
        if self.config.normalize_rewards:
            scale = state.reward_scale.denominator(hyperparameters.return_bound)
            metrics["reward_denominator"] = scale
        return metrics

    def update(
        self,
        key: jax.Array,
        counters: Counters,
        state: RunState,
        hyperparameters: HyperParameters,
        count: jax.Array,
    ) -> tuple[Counters, RunState]:
        """Updates the agent `count` times, `()` int32, each time with another minibatch."""
        last = jnp.where(count > 0, counters.interactions, counters.last_update)
        later = counters.replace(updates=counters.updates + count, last_update=last)
        learn = self.agent.update
        if learn is None:
            return later, state

        def body(index: jax.Array, state: RunState) -> RunState:
            number = counters.updates + index
            agent = self._reset_if_due(key, counters, state, hyperparameters, number)
            keys = keys_at(key, index)
            batch, noise, entries = self.draw(keys, counters, state, hyperparameters)
            updated, metrics, errors = learn(agent, batch, noise, hyperparameters, number)
            replay = state.replay
            if entries is not None:
                replay = replay.prioritize(entries, errors, hyperparameters.priority_exponent)
            progress = state.progress.add_update(metrics, counters.interactions)
            agent = progress.freeze(agent, updated)
            return state.replace(agent=agent, replay=replay, progress=progress)

        # A sum of millions would swallow digits of each: those of an interaction come first.
        before = state.progress.update_sums
        zeros = jax.tree.map(jnp.zeros_like, before)
        state = state.replace(progress=state.progress.replace(update_sums=zeros))
        state = jax.lax.fori_loop(0, count, body, state)
        sums = jax.tree.map(jnp.add, before, state.progress.update_sums)
        return later, state.replace(progress=state.progress.replace(update_sums=sums))

    def _reset_if_due(
        self,
        key: jax.Array,
        counters: Counters,
        state: RunState,
        hyperparameters: HyperParameters,
        number: jax.Array,
    ) -> AgentState:
        """The agent, which begins anew before the update of this number if it is to."""
        env_steps = getattr(self.config.agent, "reset_env_steps", ())
        updates = getattr(self.config.agent, "reset_updates", ())
        if not env_steps and not updates:
            return state.agent
        # Interactions are counted before their updates. A reset waits for the one after the given
        # step, so that an evaluation at this step comes before.
        once = self.config.steps_per_interaction
        interactions = [min(step // once + 1, _NEVER) for step in env_steps]
        updates = [min(update, _NEVER) for update in updates]
        is_first = number == counters.updates
        is_due = jnp.isin(number, jnp.array(updates, jnp.int32))
        due = jnp.array(interactions, jnp.int32)
        # Where no update came with that interaction, the first one later.
        came = (due > counters.last_update) & (due <= counters.interactions)
        is_due |= is_first & jnp.any(came)

        def reset(agent: AgentState) -> AgentState:
            reset_key = jax.random.fold_in(key, jnp.int32(-1))  # those of updates are not negative
            fresh = self.agent.init(reset_key, hyperparameters).replace(updates=agent.updates)
            return state.progress.freeze(agent, fresh)

        return jax.lax.cond(is_due, reset, lambda agent: agent, state.agent)

    def draw(
        self, keys: jax.Array, counters: Counters, state: RunState, hyperparameters: HyperParameters
    ) -> Drawn:
        """A minibatch, normalised with the statistics of this moment, and noise.

        `keys` `(3,)` are the minibatch's, the noise's and the agent's own.
        """
        sample_key, noise_key, agent_key = keys
        batch, entries = self.sample(sample_key, counters, state, hyperparameters)
        batch = divide(batch)
        reward = batch.reward
        if self.config.normalize_rewards:
            reward = reward / state.reward_scale.denominator(hyperparameters.return_bound)
        batch = batch._replace(
            observation=self.normalise(state, batch.observation),
            next_observation=self.normalise(state, batch.next_observation),
            reward=reward,
        )
        normal = jax.random.normal(noise_key, (2, *batch.action.shape))
        return Drawn(batch, Noise(normal[0], normal[1], agent_key), entries)

    @abc.abstractmethod
    def sample(
        self, key: jax.Array, counters: Counters, state: RunState, hyperparameters: HyperParameters
    ) -> tuple[Batch, jax.Array | None]:
        """A minibatch as it was stored; and where it is from, if drawn by priority."""

    def normalise(self, state: RunState, observation: jax.Array) -> jax.Array:
        """Observations `(..., O)` as the agent sees them."""
        if not self.config.normalize_observations:
            return observation
        return state.observation_moments.normalise(observation)

    def begins_interval(self, counters: Counters) -> jax.Array:
        """Whether the next interaction is the first after an evaluation, `()` bool."""
        return counters.interactions % self.config.interactions_per_evaluation == 0

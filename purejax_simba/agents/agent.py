"""What an agent is to the rest of the program: pure functions of one run.

`vmap` them for many runs. `hyperparameters` are the run's traced numbers, `key` is a PRNG key; B
transitions make a minibatch, O and A are the lengths of an observation and of an action.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax

from purejax_simba.agents.values import Value
from purejax_simba.precision import Precision, computed_in

Params = Any

# Everything that updates change, as a `flax.struct.dataclass` of the agent's own. It has `actor`,
# what it takes to act in evaluation, and `updates`, `()` int32, how many there were. What else it
# has goes by these names, by which runs begin with parts of others, and begin parts anew:
#   actor          actor, target_actor, exploration, actor_optimizer
#   critic         critic, target_critic, critic_optimizer; leaves have a leading axis of critics
#   temperature    log_temperature, temperature_optimizer
AgentState = Any


@jax.tree_util.register_pytree_with_keys_class
class HyperParameters(SimpleNamespace):
    """Traced scalars, `()` each; `vmap` over a leading axis for many runs.

    Every traced setting of the agent is there under its name, float32, or int32 where it is whole.
    What is computed from settings is listed in `purejax_simba.defaults.hyperparameters`.
    """

    def replace(self, **numbers: Any) -> "HyperParameters":
        """The same with other numbers."""
        return HyperParameters(**(vars(self) | numbers))

    def learning_rate_at(self, updates: jax.Array) -> jax.Array:
        """Learning rate of the update that follows `updates` earlier ones.

        It goes linearly from `learning_rate` to `learning_rate_end` over
        `learning_rate_decay_updates` updates and stays there.
        """
        progress = updates.astype(self.learning_rate.dtype) / self.learning_rate_decay_updates
        remaining = 1.0 - progress.clip(0.0, 1.0)
        return self.learning_rate_end + (self.learning_rate - self.learning_rate_end) * remaining

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], tuple[str, ...]]:
        """Numbers with their names, and the names, for JAX."""
        names = tuple(sorted(vars(self)))
        return [(jax.tree_util.GetAttrKey(n), getattr(self, n)) for n in names], names

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], numbers: Any) -> "HyperParameters":
        """The opposite, for JAX."""
        return cls(**dict(zip(names, numbers, strict=True)))


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
    key: Any = None


class UpdateMetrics(NamedTuple):
    """What an update reports, `()` each.

    Where the policy is updated only every d-th time, that update reports d times its figures and
    the others report 0, so that means over many updates are right. Agents without a temperature
    report 0 for it and for the entropy.
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


class ActorCritic(NamedTuple):
    """Networks and losses of an agent that has an actor and critics, for diagnostics.

    Losses are pure functions of the parameters that they are differentiated by. They return
    whatever their update needs beside them.

    Attributes:
      actor: `(params, observation (B, O), hyperparameters) -> output`.
      critic: `(params, observation, action (B, A), hyperparameters) -> (B, outputs)`, one critic.
      value: how critic outputs represent a value.
      actor_loss: `(actor, state, batch, noise, hyperparameters) -> (loss, anything)`.
      critic_loss: `(critic, state, batch, noise, hyperparameters) -> (loss, anything)`, of all
        critics together: their sum, with FlashSAC their mean.
    """

    actor: Callable[..., Any]
    critic: Callable[..., jax.Array]
    value: Value
    actor_loss: Callable[..., tuple[jax.Array, Any]]
    critic_loss: Callable[..., tuple[jax.Array, Any]]


@dataclass(frozen=True)
class Agent:
    """An agent.

    Attributes:
      init: `(key, hyperparameters) -> state`, before the first update.
      act: `(actor, observation (..., O), key, hyperparameters) -> (..., A)`, actions in evaluation;
        `actor` is `state.actor`.
      explore: `(state, observation (..., O), noise (..., A), hyperparameters) -> (..., A)`, actions
        in training; noise is standard normal.
      update: `(state, batch, noise, hyperparameters, number) -> (state, metrics, errors)`: the
        state after one more update, its `UpdateMetrics`, and how far off the critics were before
        it, `(B,)`. `number`, `()` int32, is how many updates came before; it should not be batched,
        so that an update without the policy costs nothing for it. None: there is nothing to learn.
      actor_critic: what diagnostics look at; None: there is nothing to look at.
      hold_noise: `(state, key, hyperparameters) -> (state, key)`: the key that the noise of an
        interaction is drawn from, which is an earlier one as long as noise is held. None: a new one
        every time.
    """

    init: Callable[..., AgentState]
    act: Callable[..., jax.Array]
    explore: Callable[..., jax.Array]
    update: Callable[..., tuple[AgentState, UpdateMetrics, jax.Array]] | None = None
    actor_critic: ActorCritic | None = None
    hold_noise: Callable[..., tuple[AgentState, jax.Array]] | None = None

    def computed_in(self, precision: Precision) -> "Agent":
        """The same agent with the matrix products of its networks in this precision."""

        def functions(record: Any, *names: str) -> dict[str, Any]:
            return {name: computed_in(precision, getattr(record, name)) for name in names}

        networks = self.actor_critic
        if networks is not None:
            losses = functions(networks, "actor", "critic", "actor_loss", "critic_loss")
            networks = networks._replace(**losses)
        names = ("init", "act", "explore", *(["update"] if self.update else []))
        return replace(self, actor_critic=networks, **functions(self, *names))

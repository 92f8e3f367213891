"""The training loop as pure functions of one run; `vmap` them for many.

One interaction is: normalise the observation, act, step the environments, append to the replay,
update the agent, update the running statistics. This is the published order: statistics take in
an observation just before it is acted on, and a reward after the updates of its own step (with
FlashSAC before them).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import envs
from purejax_simba.agents.agent import Agent, AgentState, Batch, HyperParameters
from purejax_simba.config import Config, ConfigError, known
from purejax_simba.data.normalisation import RewardScale, RunningMoments
from purejax_simba.data.priorities import importance_exponent
from purejax_simba.data.replay import Replay
from purejax_simba.defaults import make_agent, make_environment, resolve
from purejax_simba.diagnostics import Metrics
from purejax_simba.division import per_device
from purejax_simba.evaluation import EvaluationMetrics, finite
from purejax_simba.precision import in_full
from purejax_simba.program import Program, keys_at
from purejax_simba.run_state import Counters, Progress, RunState

# Transitions that cannot be drawn, among the metrics.
WITHHELD = "replay_withheld"


class Report(NamedTuple):
    """What one evaluation interval of a run gives: the evaluation, means over its updates, and
    diagnostics at its end.
    """

    evaluation: EvaluationMetrics
    progress: Progress
    diagnostics: Metrics


def make_train(config: Config) -> Callable[[jax.Array, HyperParameters], tuple[RunState, Report]]:
    """A whole run as one pure function.

    Returns:
      `train(key, hyperparameters) -> (state, reports)`; leaves of `reports` have a leading axis of
      evaluations, the first before any training. `jax.jit(jax.vmap(train))` trains many runs.

    Raises:
      ConfigError, envs.TaskError: for a configuration that cannot be run.
    """
    if config.devices_per_run > 1:
        raise ConfigError("make_train is for runs on one device each: give devices_per_run=1")
    if config.schedule:
        raise ConfigError("make_train follows no schedule: train(config) does, or a Population")
    if config.is_offline:
        raise ConfigError("make_train acts in an environment: train(config) takes a dataset")
    if config.start.run:
        raise ConfigError("make_train begins with new networks: train(config) takes those of a run")
    program = make_program(config)
    config = program.config

    def train(key: jax.Array, hyperparameters: HyperParameters) -> tuple[RunState, Report]:
        def interval(
            carry: tuple[Counters, RunState], interactions: jax.Array
        ) -> tuple[tuple[Counters, RunState], Report]:
            counters, state = program.advance(*carry, hyperparameters, interactions)
            evaluation = program.evaluate(counters, state, hyperparameters)
            diagnostics = program.diagnose(counters, state, hyperparameters)
            return (counters, state), Report(evaluation, state.progress, diagnostics)

        # The first evaluation is one after no interactions, so that all are compiled once.
        each = config.interactions_per_evaluation
        chunks = jnp.full(config.interactions // each + 1, each, jnp.int32).at[0].set(0)
        begin = (Counters.create(), program.init(key, hyperparameters))
        (_, state), reports = jax.lax.scan(interval, begin, chunks)
        return state, reports

    return train


def make_program(config: Config, num_runs: int | None = None) -> "OnlineProgram":
    """The functions of a run, for callers that want to act between them.

    `num_runs` is that of `make_environment`.

    Raises:
      ConfigError, envs.TaskError: for a configuration that cannot be run.
    """
    environment = make_environment(config, num_runs)
    config = resolve(config, environment)
    return OnlineProgram(config, environment, make_agent(config, environment))


class OnlineProgram(Program):
    """Learns from what its policy does in environments of its own.

    Attributes:
      training_environment: `environment` with automatic reset.
    """

    def __init__(self, config: Config, environment: envs.Environment, agent: Agent):
        super().__init__(config, environment, agent)
        staggered = envs.Stagger(environment) if config.stagger_episodes else environment
        self.training_environment = envs.AutoReset(staggered)

    @in_full
    def init(self, key: jax.Array, hyperparameters: HyperParameters, *data: Any) -> RunState:
        """See `Program`."""
        run_key, evaluation_key, agent_key, environment_key = jax.random.split(key, 4)
        environment_state, observation = self._reset(environment_key)
        replay = self.config.replay
        episode_length = self.environment.episode_length or 1
        return RunState(
            key=run_key,
            evaluation_key=evaluation_key,
            agent=self.agent.init(agent_key, hyperparameters),
            environment=environment_state,
            replay=Replay.create(
                observation,
                self.environment.action_size,
                capacity=self.config.stored_transitions,
                n_step=replay.n_step,
                truncation_interval=min(episode_length, replay.truncation_interval),
                prioritized=replay.prioritized,
                keeps_terminals=self.config.agent.sees_terminals,
            ),
            observation_moments=RunningMoments.create(self.environment.observation_size),
            reward_scale=RewardScale.create(known(self.config.num_environments)),
            progress=Progress.create(known(self.config.num_environments)),
        )

    def interact(
        self, counters: Counters, state: RunState, hyperparameters: HyperParameters
    ) -> tuple[Counters, RunState]:
        """One step of all environments of a run, and the updates that follow it."""
        action_key, random_key, update_key = keys_at(state.key, counters.interactions)

        observation = self.normalise(state, state.environment.observation)
        agent, action = self._act(
            action_key, random_key, counters, state, observation, hyperparameters
        )
        step = per_device(jax.vmap(self.training_environment.step))
        with jax.named_scope("environment"):
            environment_state, timestep = step(state.environment, action)
        done = timestep.terminated | timestep.truncated
        replay = state.replay.append(
            counters.interactions,
            action=action,
            reward=timestep.reward,
            terminated=timestep.terminated,
            truncated=timestep.truncated,
            final_observation=timestep.observation,
            next_observation=environment_state.observation,
            origin=counters.replay_start,
        )
        progress = state.progress.begin_interval(self.begins_interval(counters))
        progress = progress.add_step(timestep.reward, done)
        state = state.replace(
            agent=agent, environment=environment_state, replay=replay, progress=progress
        )
        as_in_flash_sac = self.config.agent.repeated_prior
        scale = state.reward_scale.update(
            timestep.reward, done, hyperparameters.discount, as_in_flash_sac
        )
        if as_in_flash_sac:
            state = state.replace(reward_scale=scale)

        counters, num_updates = self._count(counters, replay)
        with jax.named_scope("updates"):
            counters, state = self.update(update_key, counters, state, hyperparameters, num_updates)

        moments = state.observation_moments.update(environment_state.observation)
        moments = state.progress.freeze(state.observation_moments, moments)
        return counters, state.replace(observation_moments=moments, reward_scale=scale)

    def _act(
        self,
        noise_key: jax.Array,
        random_key: jax.Array,
        counters: Counters,
        state: RunState,
        observation: jax.Array,
        hyperparameters: HyperParameters,
    ) -> tuple[AgentState, jax.Array]:
        """The agent, which may hold its noise, and actions `(E, A)`, random until it learns."""
        shape = (known(self.config.num_environments), self.environment.action_size)
        # A policy that was resumed without its replay fills a new one itself.
        trained = self._is_learning(counters, state.replay) | (counters.replay_start > 0)
        if self.config.start.run and "actor" in self.config.start.parts:
            trained = jnp.array(True)
        agent = state.agent
        if self.agent.hold_noise is not None:
            held, noise_key = self.agent.hold_noise(agent, noise_key, hyperparameters)
            agent = jax.tree.map(lambda new, old: jnp.where(trained, new, old), held, agent)
        noise = jax.random.normal(noise_key, shape)
        action = self.agent.explore(agent, observation, noise, hyperparameters)
        random_action = jax.random.uniform(random_key, shape, minval=-1.0, maxval=1.0)
        return agent, finite(jnp.where(trained, action, random_action))

    def _count(self, counters: Counters, replay: Replay) -> tuple[Counters, jax.Array]:
        """Counts an interaction; returns the number of updates that follow it."""
        ratio = self.config.updates_per_interaction
        counters = counters.replace(interactions=counters.interactions + 1)
        is_learning = self._is_learning(counters, replay)
        credit = counters.update_credit + jnp.where(is_learning, ratio.numerator, 0)
        due = credit // ratio.denominator
        return counters.replace(update_credit=credit % ratio.denominator), due

    def _is_learning(self, counters: Counters, replay: Replay) -> jax.Array:
        """Whether there are enough transitions for updates, `()` bool."""
        steps = replay.complete_steps(counters.interactions, counters.replay_start)
        return steps * known(self.config.num_environments) >= known(self.config.learning_starts)

    def sample(
        self, key: jax.Array, counters: Counters, state: RunState, hyperparameters: HyperParameters
    ) -> tuple[Batch, jax.Array | None]:
        """See `Program`."""
        choice = (
            key,
            counters.interactions,
            self.config.batch_size,
            hyperparameters.discount,
            counters.replay_start,
        )
        if not self.config.replay.prioritized:
            return state.replay.sample(*choice), None
        done = counters.interactions / self.config.interactions
        exponent = importance_exponent(hyperparameters.importance_exponent, done)
        return state.replay.sample_by_priority(*choice, importance_exponent=exponent)

    def diagnose(
        self, counters: Counters, state: RunState, hyperparameters: HyperParameters, *data: Any
    ) -> Metrics:
        """See `Program`; NaN where there is no transition yet. Adds `Replay.withheld`."""
        position = (counters.interactions, counters.replay_start)
        metrics = super().diagnose(counters, state, hyperparameters)
        steps = state.replay.complete_steps(*position)
        withheld = state.replay.withheld(*position).astype(jnp.float32)
        return {WITHHELD: withheld} | {
            name: jnp.where(steps > 0, metric, jnp.nan) for name, metric in metrics.items()
        }

    @in_full
    def begin_episodes(self, counters: Counters, state: RunState) -> RunState:
        """See `Program`."""
        # Interactions take keys by numbers that are not negative.
        key = jax.random.fold_in(state.key, -1 - counters.interactions)
        environment_state, observation = self._reset(key)
        return state.replace(
            environment=environment_state,
            replay=state.replay.cut(counters.interactions, observation),
            reward_scale=state.reward_scale.forget_episodes(),
            progress=state.progress.forget_episodes(),
        )

    def _reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        keys = jax.random.split(key, known(self.config.num_environments))
        return per_device(jax.vmap(self.training_environment.reset))(keys)

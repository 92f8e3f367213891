"""The training loop as pure functions of one run; `vmap` them for many.

One interaction is: normalise the observation, act, step the environments, append to the replay,
update the agent, update the running statistics. This is the published order: statistics take in
an observation just before it is acted on, and a reward after the updates of its own step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import envs
from purejax_simba.agents.hyperparameters import HyperParameters
from purejax_simba.agents.soft_actor_critic import (
    AgentState,
    Batch,
    Noise,
    Params,
    SoftActorCritic,
)
from purejax_simba.config import Config, ConfigError, known
from purejax_simba.data.normalisation import RewardScale, RunningMoments
from purejax_simba.data.priorities import Priorities
from purejax_simba.data.replay import Replay
from purejax_simba.defaults import hyperparameters, make_agent, make_environment, resolve
from purejax_simba.diagnostics import Metrics, diagnose
from purejax_simba.evaluation import EvaluationMetrics, evaluate
from purejax_simba.parts import apart, divide
from purejax_simba.run_state import Counters, Progress, RunState

# Transitions that cannot be drawn, among the metrics.
WITHHELD = "replay_withheld"


class Program(NamedTuple):
    """A configuration as pure functions of one run.

    Attributes:
      config: resolved.
      environment: without automatic reset.
      agent: the agent.
      init: `(key, hyperparameters) -> RunState`.
      advance: `(counters, state, hyperparameters, interactions) -> (counters, state)`; the number
        of interactions, `()` int32, may be traced.
      evaluate: `(counters, state, hyperparameters) -> EvaluationMetrics`; changes nothing.
      diagnose: `(counters, state, hyperparameters) -> metrics`, see `diagnostics`, and
        `replay_withheld`, see `Replay.withheld`; changes nothing. NaN where there is no transition
        yet.
      begin_episodes: `(counters, state) -> state`, with new episodes in place of those under way.
      data: arrays that all runs share, further arguments of `init`, `advance` and
        `diagnose`.
    """

    config: Config
    environment: envs.Environment
    agent: SoftActorCritic
    init: Callable[..., RunState]
    advance: Callable[..., tuple[Counters, RunState]]
    evaluate: Callable[[Counters, RunState, HyperParameters], EvaluationMetrics]
    diagnose: Callable[..., Metrics]
    begin_episodes: Callable[[Counters, RunState], RunState]
    data: tuple[Any, ...] = ()

    def hyperparameters(self) -> HyperParameters:
        """The configuration's own."""
        return hyperparameters(self.config, self.environment.action_size)


class Report(NamedTuple):
    """What one evaluation interval of a run gives: the evaluation, means over its updates, and
    diagnostics at its end.
    """

    evaluation: EvaluationMetrics
    progress: Progress
    diagnostics: Metrics


def make_train(
    config: Config,
) -> Callable[[jax.Array, HyperParameters], tuple[RunState, Report]]:
    """A whole run as one pure function.

    Returns:
      `train(key, hyperparameters) -> (state, reports)`; leaves of `reports` have a leading axis of
      evaluations, the first before any training. `jax.jit(jax.vmap(train))` trains many runs.

    Raises:
      ConfigError, envs.TaskError: for a configuration that cannot be run.
    """
    if config.devices_per_run > 1:
        raise ConfigError("make_train is for runs on one device each: give devices_per_run=1")
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


def make_program(config: Config) -> Program:
    """The parts of a run, for callers that want to act between them.

    Raises:
      ConfigError, envs.TaskError: for a configuration that cannot be run.
    """
    environment = make_environment(config)
    config = resolve(config, environment)
    agent = make_agent(config, environment)
    loop = Loop(config, environment, agent)
    functions = (loop.init, loop.advance, loop.evaluate, loop.diagnose, loop.begin_episodes)
    return Program(config, environment, agent, *functions)


def evaluation_policy(
    config: Config,
    agent: SoftActorCritic,
    actor: Params,
    observation_moments: RunningMoments,
    hyperparameters: HyperParameters,
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The deterministic policy: raw observations `(..., O)` to actions `(..., A)`.

    It takes a PRNG key too, for agents that are not deterministic in evaluation either.
    """

    def policy(observation: jax.Array, key: jax.Array) -> jax.Array:
        if config.normalize_observations:
            observation = observation_moments.normalise(observation)
        noise: jax.Array | float = 0.0
        if agent.samples_in_evaluation:
            mean, _ = agent.actor(actor, observation, hyperparameters)
            noise = jax.random.normal(key, mean.shape)
        return _finite(agent.act(actor, observation, noise, hyperparameters))

    return policy


class Loop:
    """The functions of a `Program`; holds only what is static."""

    def __init__(self, config: Config, environment: envs.Environment, agent: SoftActorCritic):
        self.config = config
        self.agent = agent
        self.evaluation_environment = environment
        self.environment = envs.AutoReset(environment)
        self.num_environments = config.num_environments

    def init(self, key: jax.Array, hyperparameters: HyperParameters) -> RunState:
        run_key, evaluation_key, agent_key, environment_key = jax.random.split(key, 4)
        environment, observation = self._reset(environment_key)
        replay = self.config.replay
        return RunState(
            key=run_key,
            evaluation_key=evaluation_key,
            agent=self.agent.init(agent_key, hyperparameters),
            environment=environment,
            replay=Replay.create(
                observation,
                self.environment.action_size,
                capacity=self.config.stored_transitions,
                n_step=replay.n_step,
                truncation_interval=min(
                    self.environment.episode_length or 1, replay.truncation_interval
                ),
                prioritized=replay.prioritized,
            ),
            observation_moments=RunningMoments.create(self.environment.observation_size),
            reward_scale=RewardScale.create(self.num_environments),
            progress=Progress.create(self.num_environments),
        )

    def _reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        keys = jax.random.split(key, self.num_environments)
        return apart(jax.vmap(self.environment.reset))(keys)

    def begin_episodes(self, counters: Counters, state: RunState) -> RunState:
        # Interactions take keys by numbers that are not negative.
        key = jax.random.fold_in(state.key, -1 - counters.interactions)
        environment, observation = self._reset(key)
        progress = state.progress
        return state.replace(  # type: ignore[attr-defined]
            environment=environment,
            replay=state.replay.cut(counters.interactions, observation),
            reward_scale=state.reward_scale.forget_episodes(),
            progress=progress.replace(  # type: ignore[attr-defined]
                episode_return=jnp.zeros_like(progress.episode_return)
            ),
        )

    def advance(
        self,
        counters: Counters,
        state: RunState,
        hyperparameters: HyperParameters,
        interactions: jax.Array,
    ) -> tuple[Counters, RunState]:
        def body(_: jax.Array, carry: tuple[Counters, RunState]) -> tuple[Counters, RunState]:
            return self._interact(*carry, hyperparameters)

        return jax.lax.fori_loop(0, interactions, body, (counters, state))

    def evaluate(
        self, counters: Counters, state: RunState, hyperparameters: HyperParameters
    ) -> EvaluationMetrics:
        policy = evaluation_policy(
            self.config, self.agent, state.agent.actor, state.observation_moments, hyperparameters
        )
        key = jax.random.fold_in(state.evaluation_key, counters.interactions)
        episodes = known(self.config.num_evaluation_episodes)
        return evaluate(self.evaluation_environment, policy, key, episodes)

    def diagnose(
        self, counters: Counters, state: RunState, hyperparameters: HyperParameters
    ) -> Metrics:
        unusable: Metrics = {}
        if not self.config.is_offline:
            withheld = state.replay.withheld(counters.interactions, counters.replay_start)
            unusable = {WITHHELD: withheld.astype(jnp.float32)}
        if self.config.diagnostics == "none":
            return unusable
        # Evaluations take keys by numbers that are not negative.
        key = jax.random.fold_in(state.evaluation_key, -1 - counters.interactions)
        batch, noise, _ = self._draw(key, counters, state, hyperparameters)
        per_module = self.config.diagnostics == "module"
        metrics = diagnose(self.agent, state.agent, batch, noise, hyperparameters, per_module)
        if self.config.normalize_rewards:
            scale = state.reward_scale.denominator(hyperparameters.return_bound)
            metrics["reward_denominator"] = scale
        steps = state.replay.complete_steps(counters.interactions, counters.replay_start)
        return unusable | {
            name: jnp.where(steps > 0, metric, jnp.nan) for name, metric in metrics.items()
        }

    def _interact(
        self, counters: Counters, state: RunState, hyperparameters: HyperParameters
    ) -> tuple[Counters, RunState]:
        # Keys depend on the position alone, so that it does not matter where a run is cut.
        key = jax.random.fold_in(state.key, counters.interactions)
        noise_key, random_key, update_key = jax.random.split(key, 3)
        action = self._act(noise_key, random_key, counters, state, hyperparameters)
        step = apart(jax.vmap(self.environment.step))
        environment, timestep = step(state.environment, action)
        replay = state.replay.append(
            counters.interactions,
            action=action,
            reward=timestep.reward,
            terminated=timestep.terminated,
            truncated=timestep.truncated,
            final_observation=timestep.observation,
            next_observation=environment.observation,
            origin=counters.replay_start,
        )
        done = timestep.terminated | timestep.truncated
        state = state.replace(  # type: ignore[attr-defined]
            environment=environment,
            replay=replay,
            progress=self._track(counters, state.progress, timestep.reward, done),
        )
        counters, num_updates = self._count(counters, replay)
        if self.agent.learns:
            state = self.update(update_key, counters, state, hyperparameters, num_updates)
        counters = counters.replace(updates=counters.updates + num_updates)  # type: ignore[attr-defined]
        return counters, state.replace(  # type: ignore[attr-defined]
            observation_moments=state.observation_moments.update(environment.observation),
            reward_scale=state.reward_scale.update(timestep.reward, done, hyperparameters.discount),
        )

    def _act(
        self,
        noise_key: jax.Array,
        random_key: jax.Array,
        counters: Counters,
        state: RunState,
        hyperparameters: HyperParameters,
    ) -> jax.Array:
        observation = self._normalise(state.observation_moments, state.environment.observation)
        shape = (self.num_environments, self.environment.action_size)
        noise = jax.random.normal(noise_key, shape)
        action = self.agent.explore(state.agent, observation, noise, hyperparameters)
        random_action = jax.random.uniform(random_key, shape, minval=-1.0, maxval=1.0)
        # A policy that was resumed without its replay fills a new one itself.
        trained = self._learning(counters, state.replay) | (counters.replay_start > 0)
        if self.config.start.run and "actor" in self.config.start.parts:
            trained = jnp.array(True)
        return _finite(jnp.where(trained, action, random_action))

    def _learning(self, counters: Counters, replay: Replay) -> jax.Array:
        steps = replay.complete_steps(counters.interactions, counters.replay_start)
        return steps * self.num_environments >= known(self.config.learning_starts)

    def _track(
        self, counters: Counters, progress: Progress, reward: jax.Array, done: jax.Array
    ) -> Progress:
        """Follows episode returns, and starts new sums at the beginning of an interval."""
        progress = self.begin_interval(counters, progress)
        episode_return = progress.episode_return + reward
        return progress.replace(  # type: ignore[attr-defined]
            episode_return=jnp.where(done, 0.0, episode_return),
            last_return=jnp.where(done, episode_return, progress.last_return),
        )

    def begin_interval(self, counters: Counters, progress: Progress) -> Progress:
        """Starts new sums if an interval begins with the next interaction."""
        begins = counters.interactions % self.config.interactions_per_evaluation == 0
        return progress.replace(  # type: ignore[attr-defined]
            update_sums=jax.tree.map(lambda x: jnp.where(begins, 0.0, x), progress.update_sums),
            updates=jnp.where(begins, 0, progress.updates),
        )

    def _count(self, counters: Counters, replay: Replay) -> tuple[Counters, jax.Array]:
        """Counts an interaction; returns the number of updates that follow it."""
        ratio = self.config.updates_per_interaction
        counters = counters.replace(interactions=counters.interactions + 1)  # type: ignore[attr-defined]
        learning = self._learning(counters, replay)
        credit = counters.update_credit + jnp.where(learning, ratio.numerator, 0)
        due = credit // ratio.denominator
        return counters.replace(update_credit=credit % ratio.denominator), due  # type: ignore[attr-defined]

    def update(
        self,
        key: jax.Array,
        counters: Counters,
        state: RunState,
        hyperparameters: HyperParameters,
        num_updates: jax.Array,
    ) -> RunState:
        """Draws batches from `state.replay` and updates the agent with them."""

        def reset(agent: AgentState, number: jax.Array) -> AgentState:
            reset_key = jax.random.fold_in(key, jnp.int32(-1))  # those of updates are not negative
            return self._reset_if_due(reset_key, counters, number, agent, state, hyperparameters)

        def body(
            index: jax.Array, carry: tuple[AgentState, Progress, Priorities | None]
        ) -> tuple[AgentState, Progress, Priorities | None]:
            agent, progress, priorities = carry
            number = counters.updates + index
            agent = reset(agent, number)
            update_key = jax.random.fold_in(key, index)
            now = _with_priorities(state, priorities)
            batch, noise, drawn = self._draw(update_key, counters, now, hyperparameters)
            updated, metrics, errors = self.agent.update_with_errors(
                agent, batch, noise, hyperparameters, number
            )
            if drawn is not None:
                exponent = hyperparameters.priority_exponent
                priorities = now.replay.prioritize(drawn, errors, exponent).priorities
            finite = jnp.isfinite(metrics.actor_loss) & jnp.isfinite(metrics.critic_loss)
            diverged_at = jnp.where(
                (progress.diverged_at < 0) & ~finite, counters.interactions, progress.diverged_at
            )
            # A run that diverged keeps the agent of that moment.
            agent = jax.tree.map(
                lambda new, old: jnp.where(diverged_at < 0, new, old), updated, agent
            )
            progress = progress.replace(  # type: ignore[attr-defined]
                update_sums=jax.tree.map(jnp.add, progress.update_sums, metrics),
                updates=progress.updates + 1,
                diverged_at=diverged_at,
            )
            return agent, progress, priorities

        # Nothing else of the replay changes.
        carry = (state.agent, state.progress, state.replay.priorities)
        agent, progress, priorities = jax.lax.fori_loop(0, num_updates, body, carry)
        state = state.replace(agent=agent, progress=progress)  # type: ignore[attr-defined]
        return _with_priorities(state, priorities)

    def _reset_if_due(
        self,
        key: jax.Array,
        counters: Counters,
        number: jax.Array,
        agent: AgentState,
        state: RunState,
        hyperparameters: HyperParameters,
    ) -> AgentState:
        """The agent begins anew before the update of this number, unless the run has diverged."""
        env_steps = getattr(self.config.agent, "reset_env_steps", ())
        updates = getattr(self.config.agent, "reset_updates", ())
        if not env_steps and not updates:
            return agent
        # Interactions are counted before their updates. A reset waits for the one after the given
        # step, so that an evaluation at this step comes before.
        interactions = [step // self.config.steps_per_interaction + 1 for step in env_steps]
        is_first = number == counters.updates
        is_due = jnp.isin(number, jnp.array(updates, jnp.int32))
        is_due |= is_first & jnp.isin(counters.interactions, jnp.array(interactions, jnp.int32))

        def reset(agent: AgentState) -> AgentState:
            fresh = self.agent.reset(key, agent, hyperparameters)
            return jax.tree.map(
                lambda new, old: jnp.where(state.progress.diverged_at < 0, new, old), fresh, agent
            )

        return jax.lax.cond(is_due, reset, lambda agent: agent, agent)

    def _draw(
        self,
        key: jax.Array,
        counters: Counters,
        state: RunState,
        hyperparameters: HyperParameters,
    ) -> tuple[Batch, Noise, jax.Array | None]:
        """A minibatch, the noise of an update, and where the batch is from if by priority."""
        sample_key, noise_key = jax.random.split(key)
        drawn = None
        choice = (
            sample_key,
            counters.interactions,
            self.config.batch_size,
            hyperparameters.discount,
            counters.replay_start,
        )
        if self.config.replay.prioritized:
            progress = counters.interactions / self.config.interactions
            exponent = hyperparameters.importance_exponent_at(progress)
            sampled, drawn = state.replay.sample_by_priority(*choice, importance_exponent=exponent)
        else:
            sampled = state.replay.sample(*choice)
        batch = self._prepare(divide(sampled), state, hyperparameters)
        normal = jax.random.normal(noise_key, (2, *batch.action.shape))
        return batch, Noise(normal[0], normal[1], jax.random.fold_in(key, 2)), drawn

    def _prepare(self, batch: Batch, state: RunState, hyperparameters: HyperParameters) -> Batch:
        """Normalises a sample with the statistics of this moment."""
        reward = batch.reward
        if self.config.normalize_rewards:
            reward = reward / state.reward_scale.denominator(hyperparameters.return_bound)
        return batch._replace(
            observation=self._normalise(state.observation_moments, batch.observation),
            next_observation=self._normalise(state.observation_moments, batch.next_observation),
            reward=reward,
        )

    def _normalise(self, moments: RunningMoments, observation: jax.Array) -> jax.Array:
        return moments.normalise(observation) if self.config.normalize_observations else observation


def _with_priorities(state: RunState, priorities: Priorities | None) -> RunState:
    if priorities is None:
        return state
    replay = state.replay.replace(priorities=priorities)  # type: ignore[attr-defined]
    return state.replace(replay=replay)  # type: ignore[attr-defined]


def _finite(action: jax.Array) -> jax.Array:
    """Zero where not finite: nothing else of a diverged actor may reach a physics engine."""
    return jnp.where(jnp.isfinite(action), action, 0.0)

"""Training from a dataset, as pure functions of one run.

One interaction is one update here: draw a batch, update the agent. Statistics of observations and
returns come from one pass over the data before the first update, as published. The agent's
behaviour-cloning term keeps it near the data (arXiv 2306.02451); environments are for evaluation
only.
"""

from typing import Any

import jax
import jax.numpy as jnp

import envs
from purejax_simba.agents.agent import Batch, HyperParameters
from purejax_simba.config import Config, ConfigError
from purejax_simba.data.transitions import Transitions
from purejax_simba.defaults import make_agent, make_environment, resolve
from purejax_simba.program import Program
from purejax_simba.run_state import Counters, Progress, RunState


def make_program(config: Config, transitions: Transitions) -> "OfflineProgram":
    """The functions of a run, with `transitions` as the data of all runs.

    Raises:
      ConfigError: for a configuration that cannot be run, or data of another environment.
      envs.TaskError: for an unknown task or physics.
    """
    environment = make_environment(config)
    config = resolve(config, environment)
    _check_sizes(config, environment, transitions)
    agent = make_agent(config, environment)
    if agent.update is None:
        raise ConfigError(f"--agent.name {config.agent.name} learns nothing from a dataset")
    return OfflineProgram(config, environment, agent, (transitions,))


def _check_sizes(config: Config, environment: envs.Environment, transitions: Transitions) -> None:
    found = transitions.observation.shape[1], transitions.action.shape[1]
    wanted = environment.observation_size, environment.action_size
    if found != wanted:
        raise ConfigError(
            f"{config.offline.dataset} has observations of {found[0]} numbers and actions of "
            f"{found[1]}, and {config.task} has {wanted[0]} and {wanted[1]}: give the --task that "
            "it was recorded on"
        )


class OfflineProgram(Program):
    """Learns from `Transitions`, its `data`: one array for all runs, which never changes."""

    def init(self, key: jax.Array, hyperparameters: HyperParameters, *data: Any) -> RunState:
        """See `Program`; with the statistics of the dataset."""
        (transitions,) = data
        run_key, evaluation_key, agent_key = jax.random.split(key, 3)
        batch_size = self.config.batch_size
        return RunState(
            key=run_key,
            evaluation_key=evaluation_key,
            agent=self.agent.init(agent_key, hyperparameters),
            environment=None,
            replay=None,
            observation_moments=transitions.observation_moments(batch_size),
            reward_scale=transitions.reward_scale(hyperparameters.discount, batch_size),
            progress=Progress.create(1),
        )

    def interact(
        self, counters: Counters, state: RunState, hyperparameters: HyperParameters
    ) -> tuple[Counters, RunState]:
        """One update."""
        key = jax.random.fold_in(state.key, counters.interactions)
        progress = state.progress.begin_interval(self.begins_interval(counters))
        state = state.replace(progress=progress)
        counters = counters.replace(interactions=counters.interactions + 1)
        return self.update(key, counters, state, hyperparameters, jnp.int32(1))

    def begin_episodes(self, counters: Counters, state: RunState) -> RunState:
        """There are none under way."""
        return state

    def sample(
        self, key: jax.Array, counters: Counters, state: RunState, hyperparameters: HyperParameters
    ) -> tuple[Batch, None]:
        """See `Program`."""
        (transitions,) = self.data
        return transitions.sample(key, self.config.batch_size, hyperparameters.discount), None

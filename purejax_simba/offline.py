"""Training from a dataset, as pure functions of one run.

One interaction is one update here: draw a batch, update the agent. Statistics of observations and
returns come from one pass over the data before the first update, as published. The agent's
behaviour-cloning term keeps it near the data (arXiv 2306.02451); environments are for evaluation
only.

The dataset is the same for all runs: `Program.data` holds it, and the program's functions take it
unbatched.
"""

import jax
import jax.numpy as jnp

import envs
from purejax_simba.agents.hyperparameters import HyperParameters
from purejax_simba.config import Config, ConfigError
from purejax_simba.data.transitions import Transitions
from purejax_simba.defaults import make_agent, make_environment, resolve
from purejax_simba.diagnostics import Metrics
from purejax_simba.run_state import Counters, Progress, RunState
from purejax_simba.training import Loop, Program


def make_program(config: Config, transitions: Transitions) -> Program:
    """The parts of a run, with `transitions` as the data of all runs.

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
    updates = _Updates(Loop(config, environment, agent))
    functions = (updates.init, updates.advance, updates.loop.evaluate, updates.diagnose, _keep)
    return Program(config, environment, agent, *functions, data=(transitions,))


def _check_sizes(config: Config, environment: envs.Environment, transitions: Transitions) -> None:
    found = transitions.observation.shape[1], transitions.action.shape[1]
    wanted = environment.observation_size, environment.action_size
    if found != wanted:
        raise ConfigError(
            f"{config.offline.dataset} has observations of {found[0]} numbers and actions of "
            f"{found[1]}, and {config.task} has {wanted[0]} and {wanted[1]}: give the --task that "
            "it was recorded on"
        )


def _keep(counters: Counters, state: RunState) -> RunState:
    """There are no episodes under way to begin anew."""
    del counters
    return state


class _Updates:
    """What differs from `Loop`: there is no environment to step and nothing to append."""

    def __init__(self, loop: Loop):
        self.loop = loop

    def init(
        self, key: jax.Array, hyperparameters: HyperParameters, transitions: Transitions
    ) -> RunState:
        run_key, evaluation_key, agent_key = jax.random.split(key, 3)
        batch_size = self.loop.config.batch_size
        return RunState(
            key=run_key,
            evaluation_key=evaluation_key,
            agent=self.loop.agent.init(agent_key, hyperparameters),
            environment=None,
            replay=None,  # type: ignore[arg-type]
            observation_moments=transitions.observation_moments(batch_size),
            reward_scale=transitions.reward_scale(hyperparameters.discount, batch_size),
            progress=Progress.create(1),
        )

    def diagnose(
        self,
        counters: Counters,
        state: RunState,
        hyperparameters: HyperParameters,
        transitions: Transitions,
    ) -> Metrics:
        state = state.replace(replay=transitions)  # type: ignore[attr-defined]
        return self.loop.diagnose(counters, state, hyperparameters)

    def advance(
        self,
        counters: Counters,
        state: RunState,
        hyperparameters: HyperParameters,
        updates: jax.Array,
        transitions: Transitions,
    ) -> tuple[Counters, RunState]:
        def body(_: jax.Array, carry: tuple[Counters, RunState]) -> tuple[Counters, RunState]:
            counters, state = carry
            # Keys depend on the position alone, so that it does not matter where a run is cut.
            key = jax.random.fold_in(state.key, counters.interactions)
            progress = self.loop.begin_interval(counters, state.progress)
            counters = counters.replace(interactions=counters.interactions + 1)  # type: ignore[attr-defined]
            state = state.replace(replay=transitions, progress=progress)  # type: ignore[attr-defined]
            state = self.loop.update(key, counters, state, hyperparameters, jnp.int32(1))
            counters = counters.replace(updates=counters.updates + 1)  # type: ignore[attr-defined]
            return counters, state.replace(replay=None)  # type: ignore[attr-defined]

        return jax.lax.fori_loop(0, updates, body, (counters, state))

"""From what the user gave to what is run: defaults of the agent and the task, and what is made.

A value that the user gave stays. What is open is filled in by, in this order, the agent's paper if
its recipe is asked for, what holds offline, and the agent's own defaults.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

import envs
from purejax_simba.agents import registry
from purejax_simba.agents.agent import Agent, HyperParameters
from purejax_simba.agents.settings import Recipe
from purejax_simba.checks import check, check_values
from purejax_simba.config import DEFAULT_TASK, LEARNING_STARTS, Config, ConfigError, known
from purejax_simba.names import fill, flatten
from purejax_simba.settings import traced_numbers

_Config = TypeVar("_Config", bound=Config)

# Whatever the agent. Priorities are those of the proportional variant (arXiv 1511.05952, table 3).
DEFAULTS = {
    "normalize_observations": False,
    "normalize_rewards": False,
    "replay.batch_size": 256,
    "learning_starts": LEARNING_STARTS,
    "num_evaluation_episodes": 10,
}
PRIORITIES = {"replay.priority_exponent": 0.6, "replay.importance_exponent": 0.4}
# The published setting with a dataset in place of an environment (arXiv 2502.15280).
OFFLINE = {
    "num_evaluation_episodes": 100,
    "agent.learning_rate_decay": 0.5,
    "agent.behaviour_cloning_weight": 0.1,
}
# Critics per suite as published, which does not follow from how episodes end: HalfCheetah's never
# end early, and MyoSuite's do.
PUBLISHED_CRITICS = {
    "dmc_easy_medium": 1,
    "dmc_hard": 1,
    "mujoco": 2,
    "myosuite": 1,
    "humanoid_bench": 2,
}


def resolve(config: Config, environment: envs.Environment | None = None) -> Config:
    """Fills in what depends on the agent and on the task, and checks everything.

    Args:
      config: as given by the user.
      environment: the task's environment, if it is made already.

    Raises:
      ConfigError: for numbers that cannot work, and settings that the agent does not have.
      envs.TaskError: for an unknown task or physics.
    """
    config = dataclasses.replace(config, task=config.task or DEFAULT_TASK)
    spec = envs.spec(config.task)
    check_values(config)
    config = fill(with_recipe(config), {"action_repeat": spec.action_repeat})
    if environment is None:
        environment = make_environment(config)
    episode = environment.episode_length
    if episode is None:
        raise ConfigError(f"{config.task} has no time limit of its own: give --episode-length")
    limit = known(envs.steps_per_episode(environment))
    # Published discounts follow from the suite's limit, also where an environment has a lower one.
    length = config.episode_length or spec.episode_length or limit
    repeat = known(config.action_repeat)
    config = fill(
        with_agent_defaults(config),
        {
            "agent.num_critics": 2 if config.is_offline else _num_critics(spec),
            "update_to_data_ratio": float(repeat),
            "discount": default_discount(length / repeat),
        },
    )
    config = dataclasses.replace(config, episode_length=limit)
    check(config, episode)
    return config


def with_agent_defaults(config: _Config) -> _Config:
    """Fills in what the agent has in its paper, whatever the task but for a recipe's.

    Raises:
      ConfigError: for a setting that the agent does not have, or a recipe.
    """
    for name, value in config.temperature.given().items():
        if f"temperature.{name}" not in config.agent.shared.settings:
            registry.refuse(config.agent.name, f"temperature.{name}", value)
    config = with_recipe(config)
    for values in _defaults(config):
        config = fill(config, values)
    return dataclasses.replace(config, experiment=config.experiment or config.default_experiment)


def _defaults(config: Config) -> Iterable[Mapping[str, Any]]:
    """What fills in open values, dotted name -> value; what comes first holds."""
    own = config.agent.defaults()
    rate = (own | config.agent.given()).get("learning_rate")
    if config.is_offline:
        yield OFFLINE
        if rate is not None and "learning_rate_end" in own:
            yield {"agent.learning_rate_end": rate / 10}
    if config.replay.prioritized:
        yield PRIORITIES
    yield {f"agent.{name}": value for name, value in own.items()}
    yield {"agent.learning_rate_end": rate}
    yield config.agent.shared.settings
    yield DEFAULTS | {"offline.evaluation_interval": _tenth(config.offline.epochs)}


def with_recipe(config: _Config) -> _Config:
    """Fills in what the agent's own paper says, if its recipe is asked for.

    Raises:
      ConfigError: for an agent that has no paper.
    """
    if config.recipe == "shared":
        return config
    recipe = _paper(config)
    return fill(fill(config, recipe.tasks.get(_plain_name(config.task), {})), recipe.settings)


def not_in_recipe(config: Config) -> str:
    """What the agent's paper has for other tasks and not for this one, in a line; empty if nothing.

    Args:
      config: resolved.
    """
    if config.recipe == "shared":
        return ""
    recipe, used = _paper(config), flatten(config)
    own = recipe.tasks.get(_plain_name(config.task), {})
    others = {name: None for values in recipe.tasks.values() for name in values}
    missing = [name for name in others if name not in own and name not in recipe.settings]
    if not missing:
        return ""
    numbers = ", ".join(f"{name.replace('_', '-')} {used[name]:g}" for name in missing)
    return (
        f"--recipe paper: {config.agent.name}'s paper has no numbers of its own for {config.task}, "
        f"only for {', '.join(recipe.tasks)}: {numbers}"
    )


def _paper(config: Config) -> Recipe:
    recipe = config.agent.paper
    if recipe is None:
        raise ConfigError(f"--recipe paper: {config.agent.name} has no paper: drop it")
    return recipe


def _plain_name(task: str) -> str:
    """`Hopper`, of `mujoco/Hopper-v4` and `gymnasium/Hopper-v5`."""
    return task.rpartition("/")[2].partition("-v")[0]


def _tenth(epochs: int) -> int:
    """The largest divisor that is no more than a tenth."""
    return next(n for n in range(max(1, epochs // 10), 0, -1) if epochs % n == 0)


def _num_critics(spec: envs.TaskSpec) -> int:
    """As published for the suite; tasks beyond the paper have two where episodes can terminate."""
    return PUBLISHED_CRITICS.get(spec.suite, 2 if spec.terminates else 1)


def default_discount(episode_length: float) -> float:
    """The heuristic of TD-MPC2 (arXiv 2310.16828): 1 - 5 / L, clipped to [0.95, 0.995].

    Args:
      episode_length: L, the time limit in interactions. As published it is the limit in steps
        divided by the action repeat, whole or not.
    """
    return min(max(1.0 - 5.0 / episode_length, 0.95), 0.995)


def make_environment(config: Config) -> envs.Environment:
    """The task's environment as configured, without automatic reset.

    Raises:
      ConfigError: for values that cannot be, before anything takes long.
      envs.TaskError: for an unknown task or physics.
    """
    task = config.task or DEFAULT_TASK
    envs.spec(task)  # an unknown one comes before anything else that may be wrong
    check_values(config)
    config = with_recipe(config)
    return envs.make(
        task,
        physics=config.physics,
        action_repeat=config.action_repeat,
        episode_length=config.episode_length,
        host=envs.HostOptions(config.host_time_limit, config.host_python),
    )


def make_agent(config: Config, environment: envs.Environment) -> Agent:
    """The configured agent for an environment."""
    agent = registry.make(environment.observation_size, environment.action_size, config.agent)
    return agent.computed_in(config.matmul_precision)


def hyperparameters(config: Config, action_size: int) -> HyperParameters:
    """The traced numbers of one run of a resolved configuration, under the names of their settings.

    Those of the agent are as its own settings say, see `AgentSettings.numbers`; and in the place of
    settings from which they follow are these:

      return_bound: rewards are scaled so that returns stay within [-return_bound, return_bound];
        infinity for no bound.
      learning_rate_decay_updates: updates over which the learning rate falls.
      initial_temperature: entropy coefficient before the first update.
      target_entropy: in nats, for the whole action vector.
    """
    numbers = traced_numbers(config) | config.agent.numbers()
    bound = numbers.get("value_range", 1.0)
    numbers["return_bound"] = bound if numbers.pop("bound_returns") else math.inf
    if "learning_rate_decay" in numbers:
        updates = config.interactions * config.updates_per_interaction
        decay_updates = int(updates * Fraction(numbers.pop("learning_rate_decay")))
        numbers["learning_rate_decay_updates"] = float(max(decay_updates, 1))
    if "initial" in numbers:
        numbers["initial_temperature"] = numbers.pop("initial")
        numbers["target_entropy"] = numbers.pop("target_entropy_coefficient") * action_size

    def array(value: float) -> jax.Array:
        return jnp.int32(value) if isinstance(value, int) else jnp.float32(value)

    return HyperParameters(**jax.tree.map(array, numbers))

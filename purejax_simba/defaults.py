"""From what the user gave to what is run: defaults of the agent and the task, and what is made."""

import dataclasses
import math
from fractions import Fraction
from typing import TypeVar

import jax.numpy as jnp

import envs
from purejax_simba.agents import registry
from purejax_simba.agents.agent import Agent
from purejax_simba.agents.hyperparameters import HyperParameters, SphereScales
from purejax_simba.agents.settings import OFFLINE, AgentConfig, Defaults, Recipe, fill, unused
from purejax_simba.agents.simba_v2 import EXPANSION
from purejax_simba.checks import check
from purejax_simba.config import (
    DEFAULT_TASK,
    LEARNING_STARTS,
    PRIORITIES,
    Config,
    ConfigError,
    OfflineConfig,
    ReplayConfig,
    known,
)
from purejax_simba.names import check_choices, flatten, replace_values

_T = TypeVar("_T")
_Config = TypeVar("_Config", bound=Config)

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
    check_choices(config)
    config = with_recipe(config)
    if config.action_repeat is None:
        config = dataclasses.replace(config, action_repeat=spec.action_repeat)
    if environment is None:
        environment = make_environment(config)
    episode = environment.episode_length
    if episode is None:
        raise ConfigError(f"{config.task} has no time limit of its own: give --episode-length")
    repeat = known(config.action_repeat)
    config = with_agent_defaults(config)
    agent = config.agent
    if agent.num_critics is None and "num_critics" in registry.defaults(agent.name).open:
        critics = 2 if config.is_offline else _num_critics(spec)
        agent = dataclasses.replace(agent, num_critics=critics)
    ratio, discount = config.update_to_data_ratio, config.discount
    limit = known(envs.steps_per_episode(environment))
    # Published discounts follow from the suite's limit, also where an environment has a lower one.
    length = config.episode_length or spec.episode_length or limit
    config = dataclasses.replace(
        config,
        agent=agent,
        episode_length=limit,
        update_to_data_ratio=float(repeat) if ratio is None else ratio,
        discount=default_discount(length / repeat) if discount is None else discount,
    )
    check(config, episode)
    return config


def with_agent_defaults(config: _Config) -> _Config:
    """Fills in what the agent has in its paper, whatever the task but for a recipe's.

    Raises:
      ConfigError: for a setting that the agent does not have, or a recipe.
    """
    config = with_recipe(config)
    name, defaults = config.agent.name, _defaults(config)
    useless = {
        "agent": unused(config.agent, defaults.agent, ("name", *defaults.open)),
        "temperature": unused(config.temperature, defaults.temperature),
    }
    for group, settings in useless.items():
        for setting, value in settings.items():
            flag = f"--{group}.{setting.replace('_', '-')}"
            raise ConfigError(f"{flag} {value} is of no use to --agent.name {name}: drop it")
    agent = config.agent
    if config.is_offline:
        agent = _with_offline_defaults(agent, defaults.agent)
    agent = fill(agent, defaults.agent)
    if agent.learning_rate_end is None:
        agent = dataclasses.replace(agent, learning_rate_end=agent.learning_rate)

    def choose(given: _T | None, default: _T) -> _T:
        return default if given is None else given

    replay = fill(config.replay, ReplayConfig(batch_size=defaults.batch_size))
    if replay.prioritized:
        replay = fill(replay, PRIORITIES)
    return dataclasses.replace(
        config,
        agent=agent,
        temperature=fill(config.temperature, defaults.temperature),
        replay=replay,
        update_to_data_ratio=choose(config.update_to_data_ratio, defaults.update_to_data_ratio),
        normalize_observations=choose(
            config.normalize_observations, defaults.normalize_observations
        ),
        normalize_rewards=choose(config.normalize_rewards, defaults.normalize_rewards),
        offline=_with_interval(config.offline),
        learning_starts=choose(config.learning_starts, LEARNING_STARTS),
        num_evaluation_episodes=choose(
            config.num_evaluation_episodes, 100 if config.is_offline else 10
        ),
        experiment=config.experiment or config.default_experiment,
    )


def _defaults(config: Config) -> Defaults:
    name = config.agent.name
    if name not in registry.NAMES:
        raise ConfigError(f"--agent.name is {name!r}: choose from {', '.join(registry.NAMES)}")
    return registry.defaults(name)


def with_recipe(config: _Config) -> _Config:
    """Fills in what the agent's own paper says, if its recipe is asked for.

    Raises:
      ConfigError: for an unknown agent, or one that has no paper.
    """
    if config.recipe == "shared":
        return config
    recipe, given = _paper(config), flatten(config)
    values = {**recipe.settings, **recipe.tasks.get(_plain_name(config.task), {})}
    return replace_values(
        config, {name: value for name, value in values.items() if given[name] is None}
    )


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
    recipe = _defaults(config).paper
    if recipe is None:
        raise ConfigError(f"--recipe paper: {config.agent.name} has no paper: drop it")
    return recipe


def _plain_name(task: str) -> str:
    """`Hopper`, of `mujoco/Hopper-v4` and `gymnasium/Hopper-v5`."""
    return task.rpartition("/")[2].partition("-v")[0]


def _with_offline_defaults(agent: AgentConfig, defaults: AgentConfig) -> AgentConfig:
    rate = agent.learning_rate or defaults.learning_rate
    if defaults.learning_rate_end is not None and rate and agent.learning_rate_end is None:
        agent = dataclasses.replace(agent, learning_rate_end=rate / 10)
    return fill(agent, OFFLINE)


def _with_interval(offline: OfflineConfig) -> OfflineConfig:
    if offline.evaluation_interval is not None:
        return offline
    tenth = max(1, offline.epochs // 10)
    interval = next(n for n in range(tenth, 0, -1) if offline.epochs % n == 0)
    return dataclasses.replace(offline, evaluation_interval=interval)


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
    """The task's environment as configured, without automatic reset."""
    config = with_recipe(config)
    return envs.make(
        config.task or DEFAULT_TASK,
        physics=config.physics,
        action_repeat=config.action_repeat,
        episode_length=config.episode_length,
        host=envs.HostOptions(config.host_time_limit, config.host_python),
    )


def make_agent(config: Config, environment: envs.Environment) -> Agent:
    """The configured agent for an environment."""
    return registry.make(environment.observation_size, environment.action_size, config.agent)


def hyperparameters(config: Config, action_size: int) -> HyperParameters:
    """The traced numbers of one run of a resolved configuration."""
    agent, temperature = config.agent, config.temperature

    def number(value: float | None, unused: float = 0.0) -> jnp.ndarray:
        return jnp.float32(unused if value is None else value)

    def scales(hidden_dim: int | None, num_blocks: int | None) -> SphereScales:
        hidden_dim, num_blocks = hidden_dim or 1, num_blocks or 0
        scaler = (2.0 / hidden_dim) ** 0.5
        init = scaler if agent.scaler_init is None else agent.scaler_init
        scale = scaler if agent.scaler_scale is None else agent.scaler_scale
        width = EXPANSION**0.5
        return SphereScales(
            shift=number(agent.shift),
            scaler_init=number(init),
            scaler_scale=number(scale),
            block_scaler_init=number(agent.block_scaler_init, init / width),
            block_scaler_scale=number(agent.block_scaler_scale, scale / width),
            alpha_init=number(agent.alpha_init, 1.0 / (num_blocks + 1)),
            alpha_scale=number(agent.alpha_scale, hidden_dim**-0.5),
        )

    updates = config.interactions * config.updates_per_interaction
    decay_updates = max(int(updates * Fraction(agent.learning_rate_decay or 1.0)), 1)
    entropy_per_dimension = temperature.target_entropy_coefficient or 0.0
    return HyperParameters(
        learning_rate=number(agent.learning_rate),
        learning_rate_end=number(agent.learning_rate_end),
        learning_rate_decay_updates=number(decay_updates),
        discount=number(known(config.discount)),
        tau=number(agent.tau),
        target_entropy=number(entropy_per_dimension * action_size),
        initial_temperature=number(temperature.initial, 1.0),
        value_range=number(agent.value_range, 1.0),
        behaviour_cloning_weight=number(agent.behaviour_cloning_weight),
        weight_decay=number(agent.weight_decay),
        actor=scales(agent.actor_hidden_dim, agent.actor_num_blocks),
        critic=scales(agent.critic_hidden_dim, agent.critic_num_blocks),
        return_bound=number(agent.value_range if config.bound_returns else math.inf, 1.0),
        target_update_interval=jnp.int32(agent.target_update_interval or 1),
        exploration_noise=number(agent.exploration_noise),
        target_noise=number(agent.target_noise),
        target_noise_clip=number(agent.target_noise_clip),
        dropout_rate=number(agent.dropout_rate),
        priority_exponent=number(config.replay.priority_exponent),
        importance_exponent=number(config.replay.importance_exponent),
    )

"""From what the user gave to what is run: defaults of the agent and the task, and what is made.

A value that the user gave stays. What is open, which is None, is filled in by, in this order, the
agent's paper if its recipe is asked for, what holds offline, and the agent's own defaults. How long
a run is, when it is evaluated and when it begins to learn fit what was given, see `with_lengths`.
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
from purejax_simba.config import DEFAULT_TASK, LENGTHS, Config, ConfigError, known
from purejax_simba.names import fill, flatten, near, replace_values, settings_of
from purejax_simba.settings import traced_numbers

_Config = TypeVar("_Config", bound=Config)

EVALUATIONS = 10  # of a run, if it is not long
_FIRST_RATE, _LAST_RATE = "agent.learning_rate", "agent.learning_rate_end"
# Whatever the agent. Priorities are those of the proportional variant (arXiv 1511.05952, table 3).
DEFAULTS = {
    "normalize_observations": False,
    "normalize_rewards": False,
    "replay.batch_size": 256,
    "num_environments": LENGTHS["num_environments"],
    "learning_starts": LENGTHS["learning_starts"],
    "num_evaluation_episodes": 10,
}
PRIORITIES = {"replay.priority_exponent": 0.6, "replay.importance_exponent": 0.4}
# The published setting with a dataset in place of an environment (arXiv 2502.15280).
OFFLINE = {
    "num_evaluation_episodes": 100,
    "agent.learning_rate_decay": 0.5,
    "agent.behaviour_cloning_weight": 0.1,
    "agent.reset_env_steps": (),  # those of an agent's paper are for learning in an environment
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

    `environment` is that of the task, if it is made already.

    Raises:
      ConfigError: for numbers that cannot work, and settings that the agent does not have.
      envs.TaskError: for an unknown task or physics.
    """
    given = config = dataclasses.replace(config, task=config.task or DEFAULT_TASK)
    spec = envs.spec(config.task)
    check_values(config)
    _check_recipes(config)
    config = fill(with_recipe(config), {"action_repeat": spec.action_repeat})
    if environment is None:
        environment = make_environment(config)
    episode = environment.episode_length
    if episode is None:
        raise ConfigError(f"{config.task} has no time limit of its own: give --episode-length")
    if config.stagger_episodes and environment.elsewhere:
        raise ConfigError(
            f"--stagger-episodes: those of {config.task} live in worker processes, where they "
            "cannot be cut; drop it"
        )
    # What a finished configuration has is nobody's request.
    is_asked_for = given.update_to_data_ratio is not None and given.num_environments is None
    if config.is_offline and is_asked_for:
        raise ConfigError("--update-to-data-ratio is of no use with --offline: drop it")
    limit = known(envs.steps_per_episode(environment))
    # Published discounts follow from the suite's limit, also where an environment has a lower one.
    of_suite = spec.episode_length if spec.published else None
    length = config.episode_length or of_suite or limit
    repeat = known(config.action_repeat)
    # Tasks beyond the paper have two where episodes can terminate.
    critics = PUBLISHED_CRITICS.get(spec.suite, 2 if spec.terminates else 1)
    config = fill(
        with_agent_defaults(config),
        {
            "agent.num_critics": 2 if config.is_offline else critics,
            "update_to_data_ratio": float(repeat),
            "discount": default_discount(length / repeat),
        },
    )
    config = dataclasses.replace(with_lengths(config), episode_length=limit)
    config = _in_time(config, flatten(given))
    check(config, episode)
    return config


def with_lengths(config: _Config) -> _Config:
    """Fills in how long a run is, when it is evaluated and how much of it is kept.

    As in `LENGTHS`, or what fits where something else is given: a run is evaluated ten times, more
    often if it is long, and has a length that can be divided so.

    Raises:
      ConfigError: if nothing fits the length that is given.
    """
    if config.is_offline:
        epochs = config.offline.epochs
        config = fill(config, {"offline.evaluation_interval": _part(epochs, epochs)})
        return fill(config, LENGTHS)
    repeat = envs.spec(config.task or DEFAULT_TASK).action_repeat
    environments = LENGTHS["num_environments"]
    config = fill(config, {"action_repeat": repeat, "num_environments": environments})
    step = config.steps_per_interaction
    if config.total_env_steps is None:
        unit = config.evaluation_interval or EVALUATIONS * step
        total = whole_multiple(LENGTHS["total_env_steps"], unit)
        config = dataclasses.replace(config, total_env_steps=total)
    if config.evaluation_interval is None:
        longest = max(LENGTHS["evaluation_interval"] // known(config.action_repeat), 1)
        part = _part(config.interactions, longest)
        if not part:
            raise ConfigError(
                f"--total-env-steps {config.total_env_steps} cannot be divided by evaluations: "
                f"give {whole_multiple(known(config.total_env_steps), longest * step)}, for example"
            )
        config = dataclasses.replace(config, evaluation_interval=part * step)
    capacity = whole_multiple(LENGTHS["replay.capacity"], known(config.num_environments))
    return fill(config, {"replay.capacity": capacity})


def _part(length: int, longest: int) -> int:
    """What divides a length and is nearest to a tenth, as ratios go; 0 if all are far from it."""
    wanted = min(length / EVALUATIONS, longest)
    low = [n for n in range(1, math.isqrt(length) + 1) if length % n == 0]
    parts = [n for n in (*low, *(length // n for n in low)) if n <= longest]
    best = min(parts, key=lambda n: max(n / wanted, wanted / n), default=1)
    return best if best >= wanted / EVALUATIONS else 0


def whole_multiple(number: int, of: int) -> int:
    """The largest multiple that is no more, or the first."""
    return max(number // of, 1) * of


def _in_time(config: _Config, given: Mapping[str, Any]) -> _Config:
    """What is done at certain env steps that are not given is done at those that there are.

    `given` are dotted names -> values, None for those that were open.
    """
    if config.is_offline:
        return config
    fitting: dict[str, Any] = {}
    if given["learning_starts"] is None:
        half = config.interactions * known(config.num_environments) // 2
        latest = min(known(config.replay.capacity), max(half, 1))
        fitting["learning_starts"] = min(known(config.learning_starts), latest)
    resets = getattr(config.agent, "reset_env_steps", None)
    if resets and given["agent.reset_env_steps"] is None:
        step = config.steps_per_interaction
        fitting["agent.reset_env_steps"] = tuple(whole_multiple(reset, step) for reset in resets)
    return replace_values(config, fitting)


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


def with_values(config: _Config, values: Mapping[str, Any]) -> _Config:
    """A configuration with other values.

    The last learning rate, if it is the default for the first, is that for the new one.

    Args:
      config: of which more than that may be open.
      values: dotted name -> value.
    """
    changed = replace_values(config, values)
    if _FIRST_RATE not in values or _LAST_RATE in values:
        return changed

    def default(config: Config) -> Any:
        return flatten(with_agent_defaults(replace_values(config, {_LAST_RATE: None})))[_LAST_RATE]

    if default(config) != flatten(config)[_LAST_RATE]:
        return changed
    return replace_values(changed, {_LAST_RATE: default(changed)})


def _defaults(config: Config) -> Iterable[Mapping[str, Any]]:
    """What fills in open values, dotted name -> value; what comes first holds."""
    own = config.agent.defaults()
    rate = (own | config.agent.given()).get("learning_rate")
    if rate is not None and "learning_rate_end" in own:  # it falls, or stays where it is
        usual = min(own["learning_rate_end"], rate)
        own["learning_rate_end"] = rate / 10 if config.is_offline else usual
    if config.is_offline:
        yield OFFLINE
    if config.replay.prioritized:
        yield PRIORITIES
    yield {f"agent.{name}": value for name, value in own.items()}
    yield {"agent.learning_rate_end": rate}
    ratio = config.update_to_data_ratio or config.agent.shared.settings.get("update_to_data_ratio")
    longest = config.agent.longest_policy_delay
    if ratio is not None and longest is not None:
        updates = round(ratio * config.worlds(1))
        yield {"agent.policy_delay": max(1, min(updates, longest))}
    if config.agent.one_delay:
        delay = config.agent.given().get("policy_delay") or own["policy_delay"]
        yield {"agent.target_update_interval": delay}
    yield config.agent.shared.settings
    yield DEFAULTS


def with_recipe(config: _Config) -> _Config:
    """Fills in what the agent's own paper says, if a recipe of it is asked for.

    How long a run is and how much of it is kept fits what is given, as in `with_lengths`.

    Raises:
      ConfigError: for an agent that does not have it.
    """
    if config.recipe == "shared":
        return config
    recipe = _asked_for(config)
    settings = {**recipe.settings, **recipe.tasks.get(_plain_name(config.task), {})}
    environments = config.num_environments or settings.get("num_environments", 1)
    step = (config.action_repeat or settings.get("action_repeat", 1)) * environments
    unit = config.evaluation_interval or step
    for name, of in {"total_env_steps": unit, "replay.capacity": environments}.items():
        if name in settings:
            settings[name] = whole_multiple(settings[name], of)
    return fill(config, settings)


def _check_recipes(config: Config) -> None:
    """Refuses a name in a recipe that no setting has, which would fill in nothing."""
    names, agent = settings_of(config), config.agent
    for recipe in filter(None, (agent.shared, agent.paper, agent.parallel)):
        for values in (recipe.settings, *recipe.tasks.values()):
            for name in values.keys() - names.keys():
                raise ConfigError(f"a recipe of {agent.name} has {name!r}: {near(name, names)}")


def not_in_recipe(config: Config) -> str:
    """What the agent's paper has for other tasks and not for this one, in a line, or nothing."""
    if config.recipe == "shared":
        return ""
    recipe, used = _asked_for(config), flatten(config)
    own = recipe.tasks.get(_plain_name(config.task), {})
    others = {name: None for values in recipe.tasks.values() for name in values}
    missing = [name for name in others if name not in own and name not in recipe.settings]
    if not missing:
        return ""
    numbers = ", ".join(f"{name.replace('_', '-')} {used[name]:g}" for name in missing)
    return (
        f"--recipe {config.recipe}: {config.agent.name}'s paper has no numbers of its own for "
        f"{config.task}, only for {', '.join(recipe.tasks)}: {numbers}"
    )


def _asked_for(config: Config) -> Recipe:
    recipe = getattr(config.agent, config.recipe)
    if recipe is None:
        name = config.agent.name
        raise ConfigError(f"--recipe {config.recipe}: {name} has no such recipe: drop it")
    return recipe


def _plain_name(task: str) -> str:
    """`Hopper`, of `mujoco/Hopper-v4` and `gymnasium/Hopper-v5`."""
    return task.rpartition("/")[2].partition("-v")[0]


def default_discount(episode_length: float) -> float:
    """The heuristic of TD-MPC2 (arXiv 2310.16828): 1 - 5 / L, clipped to [0.95, 0.995].

    Args:
      episode_length: L, the time limit in interactions. As published it is the limit in steps
        divided by the action repeat, whole or not.
    """
    return min(max(1.0 - 5.0 / episode_length, 0.95), 0.995)


def make_environment(config: Config, num_runs: int | None = None) -> envs.Environment:
    """The task's environment as configured, without automatic reset.

    Args:
      config: need not be resolved.
      num_runs: of all that train as one program, for the choice of physics; default: its seeds.

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
        host=envs.HostOptions(
            config.host_time_limit, config.host_python, config.privileged_observations
        ),
        worlds=config.worlds(num_runs),
    )


def actor_observation_size(config: Config, environment: envs.Environment) -> int:
    """How many entries of an observation, the first ones, the agent's actor looks at."""
    whole = environment.observation_size
    if not hasattr(config.agent, "actor_observation_size"):
        return whole
    return config.agent.actor_observation_size or environment.actor_observation_size or whole


def make_agent(config: Config, environment: envs.Environment) -> Agent:
    """The configured agent for an environment."""
    seen = {"agent.actor_observation_size": actor_observation_size(config, environment)}
    settings = fill(config, seen).agent
    agent = registry.make(environment.observation_size, environment.action_size, settings)
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

"""Which configurations can train as one program: those that differ in traced numbers only."""

from collections.abc import Sequence

import envs
from purejax_simba.config import DEFAULT_TASK, Config
from purejax_simba.datasets.loading import fill_in
from purejax_simba.defaults import make_environment, resolve, with_recipe
from purejax_simba.names import flatten, replace_values

# What becomes a part of `HyperParameters` and is used nowhere else.
TRACED = frozenset(
    {
        "discount",
        "bound_returns",
        "agent.value_range",
        "agent.shift",
        "agent.scaler_init",
        "agent.scaler_scale",
        "agent.block_scaler_init",
        "agent.block_scaler_scale",
        "agent.alpha_init",
        "agent.alpha_scale",
        "agent.learning_rate",
        "agent.learning_rate_end",
        "agent.learning_rate_decay",
        "agent.weight_decay",
        "agent.tau",
        "agent.target_update_interval",
        "agent.exploration_noise",
        "agent.target_noise",
        "agent.target_noise_clip",
        "agent.behaviour_cloning_weight",
        "replay.priority_exponent",
        "replay.importance_exponent",
        "temperature.initial",
        "temperature.target_entropy_coefficient",
    }
)
# What no program knows of.
_NAMES = frozenset({"seed", "num_seeds", "experiment", "output"})
# No hyperparameters: what is learned does not depend on them, but by chance.
BOOKKEEPING = _NAMES | {
    "checkpoint",
    "host_time_limit",
    "host_python",
    "diagnostics",
    "loggers",
    "log_seeds",
    "devices_per_run",
}

_DEFAULTS = flatten(Config())


def static_part(config: Config) -> Config:
    """The configuration with defaults for all that may differ within a program."""
    return replace_values(config, {name: _DEFAULTS[name] for name in TRACED | _NAMES})


def resolve_all(configs: Sequence[Config]) -> list[Config]:
    """`resolve` for many, making an environment only where it is another one.

    Raises:
      ConfigError, envs.TaskError: as `resolve`.
    """
    resolved = []
    key, environment = None, None
    for config in map(with_recipe, map(fill_in, configs)):
        wanted = _environment_options(config)
        if environment is None or wanted != key:
            # An unknown task comes before anything else that may be wrong with it.
            envs.spec(config.task or DEFAULT_TASK)
            key, environment = wanted, make_environment(config)
        resolved.append(resolve(config, environment))
    return resolved


def _environment_options(config: Config) -> tuple:
    return (
        config.task,
        config.physics,
        config.action_repeat,
        config.episode_length,
        config.host_time_limit,
        config.host_python,
    )


def group(configs: Sequence[Config]) -> list[list[int]]:
    """Indices of resolved configurations that can train together, in order of appearance."""
    groups: dict[Config, list[int]] = {}
    for index, config in enumerate(configs):
        groups.setdefault(static_part(config), []).append(index)
    return list(groups.values())

"""Which configurations can train as one program: those that differ in traced numbers only."""

from collections.abc import Sequence

from purejax_simba.config import Config
from purejax_simba.datasets.loading import fill_in
from purejax_simba.defaults import make_environment, resolve, with_recipe
from purejax_simba.names import replace_values, settings_of

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


def static_part(config: Config) -> Config:
    """The configuration with defaults for all that may differ within a program."""
    known = settings_of(config)
    names = _NAMES | {name for name, setting in known.items() if setting.traced}
    # Those of the agent, which has other defaults, are as if they were not given.
    defaults = {name: None if known[name].optional else known[name].default for name in names}
    return replace_values(config, defaults)


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

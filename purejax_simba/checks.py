"""What a configuration must fulfil before anything is compiled."""

from typing import Literal

from purejax_simba.config import FEWEST_UPDATES, LENGTHS, Config, ConfigError, known
from purejax_simba.names import check_values, flatten
from purejax_simba.settings import flag
from purejax_simba.waiting import count_of

NUM_SEEDS = 2**32
_COUNTED = 2**31 - 1  # by the counters of a run


def check(config: Config, episode_length: int) -> None:
    """Refuses what cannot work, naming the flag, in a configuration with all defaults filled in.

    An episode is as long as `episode_length` interactions.
    """
    check_values(config)
    check_needed(config, "offline")
    replay = config.replay
    check_seeds("seed", config.seed, config.num_seeds)
    ratio, environments = known(config.update_to_data_ratio), known(config.num_environments)
    # Fewer would be rounded to other numbers, or to none. What is printed here has six digits.
    if not config.is_offline and ratio * environments < (1 - 1e-5) * FEWEST_UPDATES:
        raise ConfigError(
            f"--update-to-data-ratio is {ratio}: give at least {FEWEST_UPDATES / environments:g}, "
            "an update in 10,000 interactions"
        )
    capacity = known(replay.capacity)
    updates = config.interactions * float(config.updates_per_interaction)
    if max(config.interactions, updates) > _COUNTED:
        length = "offline.epochs" if config.is_offline else "total-env-steps"
        raise ConfigError(
            f"--{length} makes more than {_COUNTED:,} interactions or updates: train for less"
        )
    if config.batch_size > capacity:
        raise ConfigError(
            f"--replay.batch-size {replay.batch_size} is larger than --replay.capacity "
            f"{capacity}: make the replay larger or the batch smaller"
        )
    starts = known(config.learning_starts)
    if starts > capacity:
        raise ConfigError(
            f"--learning-starts {starts} is more than --replay.capacity "
            f"{capacity}: the first update would never come"
        )
    if capacity % environments:
        raise ConfigError(
            f"--replay.capacity {capacity} is no multiple of --num-environments {environments}"
        )
    if episode_length < replay.n_step:
        raise ConfigError(
            f"an episode has {count_of(episode_length, 'interaction')}, fewer than --replay.n-step "
            f"{replay.n_step}: make the episode longer or n-step smaller"
        )
    for name in ("priority_exponent", "importance_exponent"):
        exponent = getattr(replay, name)
        if exponent is not None and not replay.prioritized:
            raise ConfigError(
                f"{flag('replay.' + name)} {exponent} is of no use without --replay.prioritized: "
                "give both or neither"
            )
    hidden, agent = config.privileged_observations, config.agent
    if hidden and not hasattr(agent, "actor_observation_size"):
        raise ConfigError(
            f"--privileged-observations {' '.join(hidden)}: actor and critics of {agent.name} see "
            "the same; drop it or take --agent.name flash_sac"
        )
    if replay.prioritized and config.devices_per_run > 1:
        raise ConfigError(
            "--replay.prioritized is for runs on one device each: drop it or --devices-per-run"
        )
    if config.is_offline:
        _check_offline(config)
        return
    for name, value in {
        "num-environments": environments,
        "num-evaluation-episodes": known(config.num_evaluation_episodes),
        "replay.batch-size": config.batch_size,
    }.items():
        _check_multiple(name, value, config.devices_per_run, " (--devices-per-run)")
    total, interval = known(config.total_env_steps), known(config.evaluation_interval)
    once = config.steps_per_interaction
    _check_multiple("evaluation-interval", interval, once)
    for step in getattr(config.agent, "reset_env_steps", ()):
        _check_multiple("agent.reset-env-steps", step, once)
    _check_multiple("total-env-steps", total, once)
    _check_multiple("total-env-steps", total, interval)
    _check_multiple("checkpoint.interval", config.checkpoint.interval or 0, once)
    # An entry is whole once the steps that follow it are there; the last one has its updates, too.
    waiting = -(-starts // environments) + replay.n_step - 2
    if (config.interactions - waiting) * config.updates_per_interaction < 1:
        raise ConfigError(
            f"--learning-starts {starts} leaves no update in the "
            f"{config.interactions * environments} transitions of the whole run, with "
            f"{flag('update-to-data-ratio')} {config.update_to_data_ratio:g} and "
            f"{flag('replay.n-step')} {replay.n_step}: train for longer or start earlier"
        )


def check_seeds(flag: str, first: int, count: int = 1) -> None:
    """Refuses seeds that have no PRNG key of their own: a key has 32 bits of a seed."""
    if count > NUM_SEEDS:
        raise ConfigError(f"--num-seeds is {count}: there are {NUM_SEEDS} seeds, give fewer")
    if not 0 <= first <= NUM_SEEDS - count:
        of_several = f", with the {count - 1} that follow it" if count > 1 else ""
        raise ConfigError(
            f"--{flag} is {first}: give one from 0 to {NUM_SEEDS - 1}{of_several}, because beyond "
            "that seeds are the same again"
        )


# Groups of settings that say nothing without one of them: its name, and its flag.
_NEEDED = {"offline": ("dataset", "--offline"), "start": ("run", "--start.run")}
# What earlier versions wrote into the files of all runs.
_WRITTEN = {"offline.evaluation_interval": 10}


def check_needed(config: Config, group: Literal["offline", "start"]) -> None:
    """Refuses settings of a group that nothing reads.

    Raises:
      ConfigError: for the first.
    """
    values, defaults = flatten(config), flatten(Config())
    needed, option = _NEEDED[group]
    if values[f"{group}.{needed}"]:
        return
    for name in [name for name in defaults if name.startswith(f"{group}.")]:
        if values[name] not in (defaults[name], _WRITTEN.get(name, defaults[name])):
            raise ConfigError(f"{flag(name)} is of no use without {option}: give both or neither")


# What says nothing about training from a dataset, and what to do about it.
USELESS_OFFLINE = {
    "total_env_steps": "give --offline.epochs",
    "evaluation_interval": "give --offline.evaluation-interval, in epochs",
    "num_environments": "drop it",
    "stagger_episodes": "drop it",
    "devices_per_run": "drop it",
    "learning_starts": "drop it",
    "recipe": "drop it",
    "replay.capacity": "drop it",
    "replay.n_step": "drop it",
    "replay.truncation_interval": "drop it",
    "replay.prioritized": "drop it",
}


def _check_offline(config: Config) -> None:
    offline, values = config.offline, flatten(config)
    defaults = flatten(Config()) | LENGTHS
    for name, advice in USELESS_OFFLINE.items():
        if values[name] != defaults[name]:
            raise ConfigError(f"{flag(name)} is of no use with --offline: {advice}")
    _check_multiple("offline.epochs", offline.epochs, known(offline.evaluation_interval))
    if offline.random_return is not None and offline.random_return == offline.expert_return:
        raise ConfigError(
            f"--offline.random-return and --offline.expert-return are both {offline.random_return}:"
            " give two different returns"
        )


def _check_multiple(name: str, value: int, of: int, reason: str = "") -> None:
    if value % of:
        near = max(of, round(value / of) * of)
        raise ConfigError(
            f"--{name} {value} is no multiple of {of}{reason}: give {near}, for example"
        )

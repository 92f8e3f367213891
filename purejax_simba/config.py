"""What a run is made of, with the published defaults; names are those of the command line."""

import dataclasses
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, TypeVar

import jax.numpy as jnp

import envs
from purejax_simba.agents import simba_v2
from purejax_simba.agents.soft_actor_critic import SoftActorCritic
from purejax_simba.hyperparameters import HyperParameters, SphereScales


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one line and says what to do."""


@dataclass(frozen=True)
class AgentConfig:
    """SimbaV2 (arXiv 2502.15280, appendix)."""

    actor_hidden_dim: int = 128
    """Width of the actor."""
    actor_num_blocks: int = 1
    """Residual blocks of the actor."""
    critic_hidden_dim: int = 512
    """Width of each critic."""
    critic_num_blocks: int = 2
    """Residual blocks of each critic."""
    num_critics: int | None = None
    """Critics; the smallest value counts. Default: 2 where episodes can terminate, else 1."""
    num_bins: int = 101
    """Bins of the value distribution."""
    value_range: float = 5.0
    """g_max: values live on [-g_max, g_max] and rewards are scaled to fit."""
    shift: float = 3.0
    """Constant appended to the input before it is normalised."""
    scaler_init: float | None = None
    """Start value of scalers. Default: sqrt(2 / width)."""
    scaler_scale: float | None = None
    """Scale of scalers. Default: sqrt(2 / width)."""
    alpha_init: float | None = None
    """Start value of the blocks' step sizes. Default: 1 / (blocks + 1)."""
    alpha_scale: float | None = None
    """Scale of the blocks' step sizes. Default: 1 / sqrt(width)."""
    learning_rate: float = 1e-4
    """Learning rate of the first update."""
    learning_rate_end: float = 5e-5
    """Learning rate of the last update; it falls linearly."""
    tau: float = 0.005
    """Weight of the new critic in the target critic's moving average."""
    behaviour_cloning_weight: float = 0.0
    """Weight of the pull towards actions in the replay."""


@dataclass(frozen=True)
class TemperatureConfig:
    """The entropy coefficient, tuned towards a target entropy."""

    initial: float = 0.01
    """Value before the first update."""
    target_entropy_coefficient: float = -0.5
    """Target entropy in nats per action dimension."""


@dataclass(frozen=True)
class ReplayConfig:
    """Replay and what is drawn from it."""

    capacity: int = 1_000_000
    """Transitions kept."""
    batch_size: int = 256
    """Transitions per update."""
    n_step: int = 1
    """Steps per transition."""
    storage: Literal["float32", "bfloat16"] = "float32"
    """Type of stored observations and actions."""


@dataclass(frozen=True)
class CheckpointConfig:
    """What is kept of a run so that `--resume` can go on with it."""

    interval: int | None = None
    """Environment steps between checkpoints; 0 for none. Default: the evaluation interval."""
    keep: int = 2
    """Checkpoints to keep; older ones are removed."""
    replay: bool = True
    """Keep the replay too. Without it a resumed run collects transitions before it updates."""


@dataclass(frozen=True)
class Config:
    """A training run of several seeds."""

    task: str = "dmc/cheetah-run"
    """Task id; `python train.py --list-tasks` shows them."""
    physics: str = "auto"
    """mujoco (C engine, on the host), mjx (in the compiled program), auto, or for some tasks
    official (the original, in worker processes)."""
    num_seeds: int = 4
    """Seeds trained at once."""
    seed: int = 0
    """First seed; the others follow it."""
    total_env_steps: int = 1_000_000
    """Environment steps per seed (interactions x action repeat x environments)."""
    evaluation_interval: int = 100_000
    """Environment steps between evaluations."""
    num_evaluation_episodes: int = 10
    """Deterministic episodes per evaluation."""
    num_environments: int = 1
    """Environments per seed."""
    action_repeat: int | None = None
    """Environment steps per action. Default: the suite's."""
    episode_length: int | None = None
    """Time limit in environment steps. Default: the task's."""
    host_time_limit: float = 300.0
    """Seconds after which a gymnasium or EnvPool environment that does not answer has hung."""
    host_python: str = ""
    """Another Python interpreter, with its own packages, for environments in worker processes."""
    update_to_data_ratio: float | None = None
    """Updates per transition. Default: the action repeat."""
    learning_starts: int = 5_000
    """Transitions with random actions before the first update."""
    discount: float | None = None
    """Per interaction. Default: 1 - 5 / interactions per episode, clipped to [0.95, 0.995]."""
    normalize_observations: bool = True
    """Normalise observations by running statistics."""
    normalize_rewards: bool = True
    """Scale rewards by running statistics of returns."""
    agent: AgentConfig = field(default_factory=AgentConfig)
    temperature: TemperatureConfig = field(default_factory=TemperatureConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    experiment: str = "simba_v2"
    """Name of the experiment: `exp_name` in the result files."""
    output: str = "results/runs"
    """Results go to <output>/<experiment>/<task>."""

    @property
    def seeds(self) -> range:
        """The seeds of all runs."""
        return range(self.seed, self.seed + self.num_seeds)

    @property
    def steps_per_interaction(self) -> int:
        """Environment steps of one interaction of all environments of a run."""
        return _known(self.action_repeat) * self.num_environments

    @property
    def interactions(self) -> int:
        """Interactions of a whole run."""
        return self.total_env_steps // self.steps_per_interaction

    @property
    def interactions_per_evaluation(self) -> int:
        """Interactions between two evaluations."""
        return self.evaluation_interval // self.steps_per_interaction

    @property
    def interactions_per_checkpoint(self) -> int:
        """Interactions between two checkpoints; 0 for none."""
        interval = self.checkpoint.interval
        if interval is None:
            return self.interactions_per_evaluation
        return interval // self.steps_per_interaction

    @property
    def stored_transitions(self) -> int:
        """Transitions that the replay keeps: one larger than the run fills would waste memory."""
        return min(self.replay.capacity, self.interactions * self.num_environments)

    @property
    def updates_per_interaction(self) -> Fraction:
        """Updates that follow one interaction of all environments."""
        ratio = Fraction(_known(self.update_to_data_ratio)).limit_denominator(10_000)
        return ratio * self.num_environments


_T = TypeVar("_T")


def _known(value: _T | None) -> _T:
    if value is None:
        raise ConfigError("the configuration still has open defaults: call resolve(config) first")
    return value


def resolve(config: Config, environment: envs.Environment | None = None) -> Config:
    """Fills in what depends on the task, and checks everything.

    Args:
      config: as given by the user.
      environment: the task's environment, if it is made already.

    Raises:
      ConfigError: for numbers that cannot work.
      envs.TaskError: for an unknown task or physics.
    """
    spec = envs.spec(config.task)
    if config.action_repeat is None:
        config = dataclasses.replace(config, action_repeat=spec.action_repeat)
    if environment is None:
        environment = make_environment(config)
    episode = environment.episode_length
    if episode is None:
        raise ConfigError(f"{config.task} has no time limit of its own: give --episode-length")
    repeat = _known(config.action_repeat)
    agent = config.agent
    if agent.num_critics is None:
        agent = dataclasses.replace(agent, num_critics=2 if spec.terminates else 1)
    given_length, given_ratio, given_discount = (
        config.episode_length,
        config.update_to_data_ratio,
        config.discount,
    )
    config = dataclasses.replace(
        config,
        agent=agent,
        episode_length=given_length or spec.episode_length or episode * repeat,
        update_to_data_ratio=float(repeat) if given_ratio is None else given_ratio,
        discount=default_discount(episode) if given_discount is None else given_discount,
    )
    _check(config, episode)
    return config


def default_discount(episode_length: int) -> float:
    """The heuristic of TD-MPC2 (arXiv 2310.16828): 1 - 5 / L, clipped to [0.95, 0.995]."""
    return min(max(1.0 - 5.0 / episode_length, 0.95), 0.995)


def make_environment(config: Config) -> envs.Environment:
    """The task's environment as configured, without automatic reset."""
    return envs.make(
        config.task,
        physics=config.physics,
        action_repeat=config.action_repeat,
        episode_length=config.episode_length,
        host=envs.HostOptions(config.host_time_limit, config.host_python),
    )


def make_agent(config: Config, environment: envs.Environment) -> SoftActorCritic:
    """The configured agent for an environment."""
    agent = config.agent
    return simba_v2.make(
        environment.observation_size,
        environment.action_size,
        actor_hidden_dim=agent.actor_hidden_dim,
        actor_num_blocks=agent.actor_num_blocks,
        critic_hidden_dim=agent.critic_hidden_dim,
        critic_num_blocks=agent.critic_num_blocks,
        num_bins=agent.num_bins,
        num_critics=_known(agent.num_critics),
    )


def hyperparameters(config: Config, action_size: int) -> HyperParameters:
    """The traced numbers of one run of a resolved configuration."""
    agent = config.agent

    def scales(hidden_dim: int, num_blocks: int) -> SphereScales:
        def choose(given: float | None, default: float) -> jnp.ndarray:
            return jnp.float32(default if given is None else given)

        scaler = (2.0 / hidden_dim) ** 0.5
        return SphereScales(
            shift=jnp.float32(agent.shift),
            scaler_init=choose(agent.scaler_init, scaler),
            scaler_scale=choose(agent.scaler_scale, scaler),
            alpha_init=choose(agent.alpha_init, 1.0 / (num_blocks + 1)),
            alpha_scale=choose(agent.alpha_scale, hidden_dim**-0.5),
        )

    decay_updates = max(int(config.interactions * config.updates_per_interaction), 1)
    return HyperParameters(
        learning_rate=jnp.float32(agent.learning_rate),
        learning_rate_end=jnp.float32(agent.learning_rate_end),
        learning_rate_decay_updates=jnp.float32(decay_updates),
        discount=jnp.float32(_known(config.discount)),
        tau=jnp.float32(agent.tau),
        target_entropy=jnp.float32(config.temperature.target_entropy_coefficient * action_size),
        initial_temperature=jnp.float32(config.temperature.initial),
        value_range=jnp.float32(agent.value_range),
        behaviour_cloning_weight=jnp.float32(agent.behaviour_cloning_weight),
        weight_decay=jnp.float32(0.0),
        actor=scales(agent.actor_hidden_dim, agent.actor_num_blocks),
        critic=scales(agent.critic_hidden_dim, agent.critic_num_blocks),
    )


def _check(config: Config, episode_length: int) -> None:
    """Refuses what cannot work, naming the flag."""
    agent, replay = config.agent, config.replay
    positive = {
        "num-seeds": config.num_seeds,
        "total-env-steps": config.total_env_steps,
        "evaluation-interval": config.evaluation_interval,
        "num-evaluation-episodes": config.num_evaluation_episodes,
        "num-environments": config.num_environments,
        "update-to-data-ratio": config.update_to_data_ratio,
        "learning-starts": config.learning_starts,
        "agent.actor-hidden-dim": agent.actor_hidden_dim,
        "agent.actor-num-blocks": agent.actor_num_blocks,
        "agent.critic-hidden-dim": agent.critic_hidden_dim,
        "agent.critic-num-blocks": agent.critic_num_blocks,
        "agent.num-critics": agent.num_critics,
        "agent.value-range": agent.value_range,
        "agent.learning-rate": agent.learning_rate,
        "temperature.initial": config.temperature.initial,
        "replay.capacity": replay.capacity,
        "replay.batch-size": replay.batch_size,
        "replay.n-step": replay.n_step,
    }
    for name, value in positive.items():
        if not 0 < _known(value) < math.inf:
            raise ConfigError(f"--{name} is {value}: give a finite number above 0")
    if not 0.0 <= _known(config.discount) < 1.0:
        raise ConfigError(f"--discount is {config.discount}: give a number in [0, 1)")
    if not 0.0 < agent.tau <= 1.0:
        raise ConfigError(f"--agent.tau is {agent.tau}: give a number in (0, 1]")
    if agent.num_bins < 2:
        raise ConfigError(f"--agent.num-bins is {agent.num_bins}: give 2 or more")
    if config.updates_per_interaction == 0:
        raise ConfigError(
            f"--update-to-data-ratio is {config.update_to_data_ratio}: give at least 0.0001"
        )
    if replay.batch_size > replay.capacity:
        raise ConfigError(
            f"--replay.batch-size {replay.batch_size} is larger than --replay.capacity "
            f"{replay.capacity}: make the replay larger or the batch smaller"
        )
    if config.learning_starts > replay.capacity:
        raise ConfigError(
            f"--learning-starts {config.learning_starts} is more than --replay.capacity "
            f"{replay.capacity}: the first update would never come"
        )
    if replay.capacity % config.num_environments:
        raise ConfigError(
            f"--replay.capacity {replay.capacity} is no multiple of --num-environments "
            f"{config.num_environments}"
        )
    if episode_length < replay.n_step:
        raise ConfigError(
            f"an episode has {episode_length} interactions, fewer than --replay.n-step "
            f"{replay.n_step}: make the episode longer or n-step smaller"
        )
    _check_multiple("evaluation-interval", config.evaluation_interval, config.steps_per_interaction)
    _check_multiple("total-env-steps", config.total_env_steps, config.evaluation_interval)
    if config.checkpoint.interval:
        _check_multiple(
            "checkpoint.interval", config.checkpoint.interval, config.steps_per_interaction
        )
    if config.checkpoint.keep < 1:
        raise ConfigError(f"--checkpoint.keep is {config.checkpoint.keep}: give 1 or more")
    if config.learning_starts > config.interactions * config.num_environments:
        raise ConfigError(
            f"--learning-starts {config.learning_starts} is more than the "
            f"{config.interactions * config.num_environments} transitions of the whole run: "
            "train for longer or start earlier"
        )


def _check_multiple(name: str, value: int, of: int) -> None:
    if value % of:
        near = max(of, round(value / of) * of)
        raise ConfigError(f"--{name} {value} is no multiple of {of}: give {near}, for example")

"""What a run is made of, with the published defaults; names are those of the command line."""

import dataclasses
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Literal, TypeVar

import jax.numpy as jnp
import tyro

import envs
from purejax_simba.agents import registry
from purejax_simba.agents.settings import OFFLINE, AgentConfig, TemperatureConfig, fill, unused
from purejax_simba.agents.soft_actor_critic import SoftActorCritic
from purejax_simba.hyperparameters import HyperParameters, SphereScales

DEFAULT_TASK = "dmc/cheetah-run"

# On the command line --name and --no-name.
Switch = Annotated[bool | None, tyro.conf.arg(constructor=bool)]


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one line and says what to do."""


@dataclass(frozen=True)
class ReplayConfig:
    """Replay and what is drawn from it."""

    capacity: int = 1_000_000
    """Transitions kept."""
    batch_size: int | None = None
    """Transitions per update."""
    n_step: int = 1
    """Steps per transition."""
    storage: Literal["float32", "bfloat16"] = "float32"
    """Type of stored observations and actions."""
    prioritized: bool = False
    """Draw transitions in proportion to how far off the critics were, in place of uniformly."""
    priority_exponent: float | None = None
    """With prioritized: exponent of these errors; 0 is uniform. Default: 0.6."""
    importance_exponent: float | None = None
    """With prioritized: exponent of the weights that make up for it in the critics' loss; it rises
    to 1 over the run. Default: 0.4."""


@dataclass(frozen=True)
class CheckpointConfig:
    """What is kept of a run so that `--resume` can go on with it."""

    interval: int | None = None
    """Environment steps between checkpoints; 0 for none. Default: the evaluation interval."""
    keep: int = 2
    """Checkpoints to keep; older ones are removed."""
    replay: bool = True
    """Keep the replay too. Without it a resumed run collects transitions before it updates."""


# Those of the proportional variant (arXiv 1511.05952, table 3).
PRIORITIES = ReplayConfig(priority_exponent=0.6, importance_exponent=0.4)

Part = Literal["actor", "critic", "temperature"]


@dataclass(frozen=True)
class StartConfig:
    """An earlier run to begin from, in place of new networks."""

    run: str = ""
    """Its directory; its newest checkpoint counts. Environments and replay begin anew."""
    parts: tuple[Part, ...] = ("actor", "critic", "temperature")
    """What to take from it."""
    optimizers: bool = False
    """Take the state of their optimisers too."""
    normalizers: bool = True
    """Take the running statistics of observations and returns too."""


@dataclass(frozen=True)
class OfflineConfig:
    """Training from a dataset. The environment is for evaluation only, one interaction is one
    update, and what else counts environment steps counts updates."""

    dataset: Annotated[str, tyro.conf.arg(aliases=("--offline",))] = ""
    """Train from this dataset: minari/<id>, or a HDF5 file in D4RL's layout."""
    epochs: int = 100
    """How often to draw as many transitions as there are."""
    evaluation_interval: int | None = None
    """Epochs between evaluations. Default: a tenth of all."""
    random_return: float | None = None
    """Return of random actions, 0 in the normalised score. Default: what the dataset says."""
    expert_return: float | None = None
    """Return that is 100 in the normalised score. Default: what the dataset says."""
    transitions: int | None = None
    """Transitions in the dataset; found out."""

    def normalized_score(self, episode_return: float) -> float | None:
        """100 (return - random) / (expert - random), as D4RL has it (arXiv 2004.07219); None
        without the two returns."""
        if self.random_return is None or self.expert_return is None:
            return None
        return (
            100 * (episode_return - self.random_return) / (self.expert_return - self.random_return)
        )


@dataclass(frozen=True)
class Config:
    """A training run of several seeds."""

    task: str = ""
    """Task id; `python train.py --list-tasks` shows them. Default: dmc/cheetah-run, offline the
    environment of the dataset."""
    physics: str = "auto"
    """mujoco (C engine, on the host), mjx (in the compiled program), auto, or for some tasks
    official (the original, in worker processes)."""
    num_seeds: int = 4
    """Seeds trained at once."""
    seed: int = 0
    """First seed; the others follow it."""
    restart_diverged: int = 0
    """Train seeds that diverged anew with other seeds, which follow those above: so many times."""
    total_env_steps: int = 1_000_000
    """Environment steps per seed (interactions x action repeat x environments)."""
    evaluation_interval: int = 100_000
    """Environment steps between evaluations."""
    num_evaluation_episodes: int = 10
    """Deterministic episodes per evaluation."""
    num_environments: int = 1
    """Environments per seed."""
    devices_per_run: int = 1
    """Devices among which the environments, replay and batches of each seed are divided."""
    action_repeat: int | None = None
    """Environment steps per action. Default: the suite's."""
    episode_length: int | None = None
    """Time limit in environment steps. Default: the task's."""
    host_time_limit: float = 300.0
    """Seconds after which a gymnasium or EnvPool environment that does not answer has hung."""
    host_python: str = ""
    """Another Python interpreter, with its own packages, for environments in worker processes."""
    update_to_data_ratio: float | None = None
    """Updates per transition. simba_v2, simba: the action repeat."""
    learning_starts: int = 5_000
    """Transitions with random actions before the first update."""
    discount: float | None = None
    """Per interaction. Default: 1 - 5 / interactions per episode, clipped to [0.95, 0.995]."""
    normalize_observations: Switch = None
    """Normalise observations by running statistics."""
    normalize_rewards: Switch = None
    """Scale rewards by running statistics of returns."""
    bound_returns: bool = True
    """With normalize-rewards: scale rewards further, so that returns stay within value-range."""
    agent: AgentConfig = field(default_factory=AgentConfig)
    temperature: TemperatureConfig = field(default_factory=TemperatureConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    offline: OfflineConfig = field(default_factory=OfflineConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    start: StartConfig = field(default_factory=StartConfig)
    diagnostics: Literal["none", "total", "module"] = "total"
    """Norms, ranks and the like at evaluations: none, of whole networks, or of every module too."""
    loggers: tuple[str, ...] = ()
    """Where results go besides the files: tensorboard, wandb, or <module>:<class>."""
    log_seeds: Literal["apart", "together"] = "apart"
    """Whether seeds are runs of their own for loggers, or one with their means."""
    experiment: str = ""
    """Name of the experiment: `exp_name` in the result files. Default: the agent's name."""
    output: str = "results/runs"
    """Results go to <output>/<experiment>/<task>."""

    @property
    def seeds(self) -> range:
        """The seeds of all runs."""
        return range(self.seed, self.seed + self.num_seeds)

    @property
    def is_offline(self) -> bool:
        """Whether it trains from a dataset."""
        return bool(self.offline.dataset)

    @property
    def step_name(self) -> str:
        """What is counted while training."""
        return "updates" if self.is_offline else "env steps"

    @property
    def steps(self) -> int:
        """Environment steps of a whole run; offline updates."""
        return self.interactions * self.steps_per_interaction

    @property
    def updates_per_epoch(self) -> int:
        """Offline: the whole batches that there are in the dataset."""
        return max(1, known(self.offline.transitions) // self.batch_size)

    @property
    def steps_per_interaction(self) -> int:
        """Environment steps of one interaction of all environments of a run; offline 1 update."""
        if self.is_offline:
            return 1
        return known(self.action_repeat) * self.num_environments

    @property
    def interactions(self) -> int:
        """Interactions of a whole run."""
        if self.is_offline:
            return self.offline.epochs * self.updates_per_epoch
        return self.total_env_steps // self.steps_per_interaction

    @property
    def interactions_per_evaluation(self) -> int:
        """Interactions between two evaluations."""
        if self.is_offline:
            return known(self.offline.evaluation_interval) * self.updates_per_epoch
        return self.evaluation_interval // self.steps_per_interaction

    @property
    def steps_per_evaluation(self) -> int:
        """Environment steps between two evaluations; offline updates."""
        return self.interactions_per_evaluation * self.steps_per_interaction

    @property
    def interactions_per_checkpoint(self) -> int:
        """Interactions between two checkpoints; 0 for none."""
        interval = self.checkpoint.interval
        if interval is None:
            return self.interactions_per_evaluation
        return interval // self.steps_per_interaction

    @property
    def batch_size(self) -> int:
        """Transitions per update."""
        return known(self.replay.batch_size)

    @property
    def critic_width(self) -> int:
        """Width of each critic; 0 without one."""
        return self.agent.critic_hidden_dim or 0

    @property
    def stored_transitions(self) -> int:
        """Transitions that the replay keeps: one larger than the run fills would waste memory."""
        return min(self.replay.capacity, self.interactions * self.num_environments)

    @property
    def updates_per_interaction(self) -> Fraction:
        """Updates that follow one interaction of all environments."""
        if self.is_offline:
            return Fraction(1)
        ratio = Fraction(known(self.update_to_data_ratio)).limit_denominator(10_000)
        return ratio * self.num_environments


_T = TypeVar("_T")
_Config = TypeVar("_Config", bound=Config)


def known(value: _T | None) -> _T:
    """The value of a setting, which `resolve` has filled in."""
    if value is None:
        raise ConfigError("the configuration still has open defaults: call resolve(config) first")
    return value


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
        agent = dataclasses.replace(
            agent, num_critics=2 if spec.terminates or config.is_offline else 1
        )
    ratio, discount = config.update_to_data_ratio, config.discount
    config = dataclasses.replace(
        config,
        agent=agent,
        episode_length=config.episode_length or spec.episode_length or episode * repeat,
        update_to_data_ratio=float(repeat) if ratio is None else ratio,
        discount=default_discount(episode) if discount is None else discount,
    )
    _check(config, episode)
    return config


def with_agent_defaults(config: _Config) -> _Config:
    """Fills in what the agent has in its paper, whatever the task.

    Raises:
      ConfigError: for a setting that the agent does not have.
    """
    name = config.agent.name
    if name not in registry.NAMES:
        raise ConfigError(f"--agent.name is {name!r}: choose from {', '.join(registry.NAMES)}")
    defaults = registry.defaults(name)
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
        experiment=config.experiment or name,
    )


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


def default_discount(episode_length: int) -> float:
    """The heuristic of TD-MPC2 (arXiv 2310.16828): 1 - 5 / L, clipped to [0.95, 0.995]."""
    return min(max(1.0 - 5.0 / episode_length, 0.95), 0.995)


def make_environment(config: Config) -> envs.Environment:
    """The task's environment as configured, without automatic reset."""
    return envs.make(
        config.task or DEFAULT_TASK,
        physics=config.physics,
        action_repeat=config.action_repeat,
        episode_length=config.episode_length,
        host=envs.HostOptions(config.host_time_limit, config.host_python),
    )


def make_agent(config: Config, environment: envs.Environment) -> SoftActorCritic:
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
        return SphereScales(
            shift=number(agent.shift),
            scaler_init=number(agent.scaler_init, scaler),
            scaler_scale=number(agent.scaler_scale, scaler),
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


def _check(config: Config, episode_length: int) -> None:
    """Refuses what cannot work, naming the flag."""
    agent, replay = config.agent, config.replay
    positive = {
        "num-seeds": config.num_seeds,
        "offline.epochs": config.offline.epochs,
        "offline.evaluation-interval": config.offline.evaluation_interval,
        "total-env-steps": config.total_env_steps,
        "evaluation-interval": config.evaluation_interval,
        "num-evaluation-episodes": config.num_evaluation_episodes,
        "num-environments": config.num_environments,
        "devices-per-run": config.devices_per_run,
        "update-to-data-ratio": config.update_to_data_ratio,
        "learning-starts": config.learning_starts,
        "agent.actor-hidden-dim": agent.actor_hidden_dim,
        "agent.actor-num-blocks": agent.actor_num_blocks,
        "agent.critic-hidden-dim": agent.critic_hidden_dim,
        "agent.critic-num-blocks": agent.critic_num_blocks,
        "agent.num-critics": agent.num_critics,
        "agent.value-range": agent.value_range,
        "agent.learning-rate": agent.learning_rate,
        "agent.learning-rate-decay": agent.learning_rate_decay,
        "agent.target-update-interval": agent.target_update_interval,
        "agent.policy-delay": agent.policy_delay,
        "temperature.initial": config.temperature.initial,
        "replay.capacity": replay.capacity,
        "replay.batch-size": replay.batch_size,
        "replay.n-step": replay.n_step,
    }
    for name, value in positive.items():
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"--{name} is {value}: give a finite number above 0")
    if not 0.0 <= known(config.discount) < 1.0:
        raise ConfigError(f"--discount is {config.discount}: give a number in [0, 1)")
    if agent.tau is not None and not 0.0 < agent.tau <= 1.0:
        raise ConfigError(f"--agent.tau is {agent.tau}: give a number in (0, 1]")
    if agent.dropout_rate is not None and not 0.0 <= agent.dropout_rate < 1.0:
        raise ConfigError(f"--agent.dropout-rate is {agent.dropout_rate}: give a number in [0, 1)")
    if agent.num_bins is not None and agent.num_bins < 2:
        raise ConfigError(f"--agent.num-bins is {agent.num_bins}: give 2 or more")
    if config.updates_per_interaction == 0:
        raise ConfigError(
            f"--update-to-data-ratio is {config.update_to_data_ratio}: give at least 0.0001"
        )
    if config.batch_size > replay.capacity:
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
    for name in ("priority_exponent", "importance_exponent"):
        exponent, flag = getattr(replay, name), f"--replay.{name.replace('_', '-')}"
        if exponent is not None and not replay.prioritized:
            raise ConfigError(
                f"{flag} {exponent} is of no use without --replay.prioritized: give both or neither"
            )
        if exponent is not None and not 0.0 <= exponent <= 1.0:
            raise ConfigError(f"{flag} is {exponent}: give a number in [0, 1]")
    if replay.prioritized and config.devices_per_run > 1:
        raise ConfigError(
            "--replay.prioritized is for runs on one device each: drop it or --devices-per-run"
        )
    if config.checkpoint.keep < 1:
        raise ConfigError(f"--checkpoint.keep is {config.checkpoint.keep}: give 1 or more")
    if config.is_offline:
        _check_offline(config)
        return
    for name, value in {
        "num-environments": config.num_environments,
        "num-evaluation-episodes": config.num_evaluation_episodes,
        "replay.batch-size": config.batch_size,
    }.items():
        _check_multiple(name, value, config.devices_per_run, " (--devices-per-run)")
    _check_multiple("evaluation-interval", config.evaluation_interval, config.steps_per_interaction)
    for step in agent.reset_env_steps or ():
        _check_multiple("agent.reset-env-steps", step, config.steps_per_interaction)
    for count in (*(agent.reset_env_steps or ()), *(agent.reset_updates or ())):
        if count < 1:
            raise ConfigError(f"a reset cannot be at {count}: give 1 or more")
    _check_multiple("total-env-steps", config.total_env_steps, config.evaluation_interval)
    if config.checkpoint.interval:
        _check_multiple(
            "checkpoint.interval", config.checkpoint.interval, config.steps_per_interaction
        )
    if config.restart_diverged < 0:
        raise ConfigError(f"--restart-diverged is {config.restart_diverged}: give 0 or more")
    if config.learning_starts > config.interactions * config.num_environments:
        raise ConfigError(
            f"--learning-starts {config.learning_starts} is more than the "
            f"{config.interactions * config.num_environments} transitions of the whole run: "
            "train for longer or start earlier"
        )


def _check_offline(config: Config) -> None:
    offline, defaults = config.offline, Config()
    useless = {
        "total-env-steps": (config.total_env_steps, defaults.total_env_steps),
        "evaluation-interval": (config.evaluation_interval, defaults.evaluation_interval),
        "num-environments": (config.num_environments, defaults.num_environments),
        "devices-per-run": (config.devices_per_run, defaults.devices_per_run),
        "learning-starts": (config.learning_starts, defaults.learning_starts),
        "replay.capacity": (config.replay.capacity, defaults.replay.capacity),
        "replay.n-step": (config.replay.n_step, defaults.replay.n_step),
        "replay.prioritized": (config.replay.prioritized, defaults.replay.prioritized),
    }
    instead = {
        "total-env-steps": "give --offline.epochs",
        "evaluation-interval": "give --offline.evaluation-interval, in epochs",
    }
    for option, (value, default) in useless.items():
        if value != default:
            advice = instead.get(option, "drop it")
            raise ConfigError(f"--{option} is of no use with --offline: {advice}")
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

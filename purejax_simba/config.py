"""What a run is made of, with the published defaults; names are those of the command line."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Any, Literal, TypeVar

import tyro

from purejax_simba.agents.settings import AgentSettings
from purejax_simba.agents.simba_v2 import SimbaV2
from purejax_simba.errors import ConfigError as ConfigError
from purejax_simba.precision import Precision
from purejax_simba.settings import Settings, setting

DEFAULT_TASK = "dmc/cheetah-run"
# What is open has these values, or what fits those that are given.
LENGTHS = {
    "num_environments": 1,
    "total_env_steps": 1_000_000,
    "evaluation_interval": 100_000,
    "learning_starts": 5_000,
    "replay.capacity": 1_000_000,
}

FEWEST_UPDATES = 1e-4  # per interaction

# On the command line --name and --no-name.
Switch = Annotated[bool | None, tyro.conf.arg(constructor=bool)]


class TemperatureConfig(Settings):
    """The entropy coefficient, tuned towards a target entropy."""

    initial: float = setting(traced=True, above=0, is_lasting=True)
    """Value before the first update."""
    target_entropy_coefficient: float = setting(traced=True)
    """Target entropy in nats per action dimension."""


@dataclass(frozen=True)
class ReplayConfig:
    """Replay and what is drawn from it."""

    capacity: int | None = setting(above=0)
    """Transitions kept."""
    batch_size: int | None = setting(above=0)
    """Transitions per update."""
    n_step: int = setting(1, above=0)
    """Steps per transition."""
    truncation_interval: int = setting(50, above=0)
    """Steps from one truncated episode of an environment to the next, on average, that the replay
    has room for: where there are fewer, old transitions are left out. A smaller number takes more
    memory."""
    prioritized: bool = False
    """Draw transitions in proportion to how far off the critics were, in place of uniformly."""
    priority_exponent: float | None = setting(traced=True, at_least=0, at_most=1)
    """With prioritized: exponent of these errors; 0 is uniform. Default: 0.6."""
    importance_exponent: float | None = setting(traced=True, at_least=0, at_most=1)
    """With prioritized: exponent of the weights that make up for it in the critics' loss; it rises
    to 1 over the run. Default: 0.4."""


@dataclass(frozen=True)
class CheckpointConfig:
    """What is kept of a run so that `--resume` can go on with it."""

    interval: int | None = setting(at_least=0)
    """Environment steps between checkpoints; 0 for none. Default: the evaluation interval."""
    keep: int = setting(2, at_least=1)
    """Checkpoints to keep; older ones are removed."""
    replay: bool = True
    """Keep the replay too. Without it a resumed run collects transitions before it updates."""


Part = Literal["actor", "critic", "temperature"]


def step_name(is_offline: bool) -> str:
    """What a run counts: environment steps, with a dataset updates."""
    return "updates" if is_offline else "env steps"


def step_title(is_offline: bool) -> str:
    """The same as the title of an axis."""
    return "updates" if is_offline else "environment steps"


@dataclass(frozen=True)
class StartConfig:
    """An earlier run to begin from, in place of new networks."""

    run: str = ""
    """Its directory; its newest checkpoint counts. Environments and replay begin anew."""
    parts: tuple[Part, ...] = ("actor", "critic", "temperature")
    """What to take from it."""
    optimizers: bool = False
    """Take the state of their optimisers too. The learning rate of flash_sac follows their steps:
    after a run as long as this one it is its last one from the beginning."""
    normalizers: bool = True
    """Take the running statistics of observations and returns too."""


@dataclass(frozen=True)
class OfflineConfig:
    """Training from a dataset. The environment is for evaluation only, one interaction is one
    update, and what else counts environment steps counts updates."""

    dataset: Annotated[str, tyro.conf.arg(aliases=("--offline",))] = ""
    """Train from this dataset: minari/<id>, or a HDF5 file in D4RL's layout."""
    epochs: int = setting(100, above=0, at_most=1e9)
    """How often to draw as many transitions as there are."""
    evaluation_interval: int | None = setting(above=0)
    """Epochs between evaluations. Default: a tenth of all."""
    random_return: float | None = None
    """Return of random actions, 0 in the normalised score. Default: what the dataset says."""
    expert_return: float | None = None
    """Return that is 100 in the normalised score. Default: what the dataset says."""
    transitions: int | None = None
    """Transitions in the dataset; found out."""

    def normalized_score(self, episode_return: Any) -> Any:
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

    task: str = setting("", is_place=True)
    """Task id; `python train.py --list-tasks` shows them. Default: dmc/cheetah-run, offline the
    environment of the dataset."""
    physics: str = "auto"
    """mujoco (C engine, on the host), mjx (in the compiled program), warp (the same on GPUs; warp:2
    has twice the room for contacts), auto (mujoco or mjx, the faster by calculation), or for some
    tasks official (the original, in worker processes)."""
    num_seeds: int = setting(4, above=0)
    """Seeds trained at once."""
    seed: int = 0
    """First seed; the others follow it."""
    total_env_steps: int | None = setting(above=0, at_most=1e13)
    """Environment steps per seed (interactions x action repeat x environments)."""
    evaluation_interval: int | None = setting(above=0)
    """Environment steps between evaluations. Default: a tenth of the run, or what divides it best,
    and 100,000 of each environment at most."""
    num_evaluation_episodes: int | None = setting(above=0)
    """Deterministic episodes per evaluation. Default: 10, offline 100; flash_sac's paper 50."""
    num_environments: int | None = setting(above=0)
    """Environments per seed. Default: 1, with --recipe parallel the paper's."""
    stagger_episodes: bool = False
    """Truncate the first episode of every environment at a random step, so that not all end
    together ever after."""
    devices_per_run: int = setting(1, above=0)
    """Devices among which the environments, replay and batches of each seed are divided."""
    action_repeat: int | None = None
    """Environment steps per action. Default: the suite's."""
    episode_length: int | None = None
    """Time limit in environment steps. Default: the task's."""
    host_time_limit: float = setting(300.0, above=0)
    """Seconds after which a gymnasium or EnvPool environment that does not answer has hung."""
    host_python: str = ""
    """Another Python interpreter, with its own packages, for environments in worker processes."""
    privileged_observations: tuple[str, ...] = ()
    """flash_sac: the entries of dictionary observations of gymnasium and EnvPool that critics see
    and the actor does not."""
    update_to_data_ratio: float | None = setting(above=0)
    """Updates per transition. simba_v2, simba: the action repeat."""
    learning_starts: int | None = setting(above=0)
    """Transitions with random actions before the first update. Default: 5,000, in a run of fewer
    than 10,000 half of it."""
    discount: float | None = setting(traced=True, at_least=0, below=1)
    """Per interaction. Default: 1 - 5 / interactions per episode, clipped to [0.95, 0.995]."""
    normalize_observations: Switch = None
    """Normalise observations by running statistics."""
    normalize_rewards: Switch = None
    """Scale rewards by running statistics of returns."""
    bound_returns: bool = setting(True, traced=True)
    """With normalize-rewards: scale rewards further, so that returns stay within value-range."""
    matmul_precision: Precision = "tensorfloat32"
    """Least precision of the operands of matrix products in networks: on NVIDIA GPUs bfloat16 and
    tensorfloat32 are the same, on CPUs all three. Everything else has float32 everywhere."""
    recipe: Literal["shared", "paper", "parallel"] = "shared"
    """Discount, action repeat, first update and the like: SimbaV2's for all agents, for comparisons
    with nothing else in the way, those of the agent's own paper, or what that has for thousands of
    environments."""
    schedule: str = ""
    """Hyperparameters that change while it trains, in a file like the schedule.json of a sweep with
    --pbt: at each of its env steps those that it names change."""
    agent: AgentSettings = field(default_factory=SimbaV2)
    temperature: TemperatureConfig = field(default_factory=TemperatureConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    offline: OfflineConfig = field(default_factory=OfflineConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    start: StartConfig = field(default_factory=StartConfig)
    diagnostics: Literal["none", "total", "module"] = "total"
    """Norms, ranks and the like at evaluations: none, of whole networks, or of every module too."""
    loggers: tuple[str, ...] = ()
    """Where results go besides the files, once a checkpoint holds them: tensorboard, wandb, or
    <module>:<class>."""
    log_seeds: Literal["apart", "together"] = "apart"
    """Whether seeds are runs of their own for loggers, or one with their means (of so many
    `seeds`: those that have not diverged)."""
    experiment: str = setting("", is_place=True)
    """Name of the experiment: `exp_name` in the result files. Default: the agent's name, with
    `_paper` or `_parallel` where that is the recipe."""
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
    def default_experiment(self) -> str:
        """Name of the experiment where none is given: of the agent, and whose recipe it follows."""
        return self.agent.name if self.recipe == "shared" else f"{self.agent.name}_{self.recipe}"

    @property
    def step_name(self) -> str:
        """What is counted while training."""
        return step_name(self.is_offline)

    @property
    def step_title(self) -> str:
        """The same as the title of an axis."""
        return step_title(self.is_offline)

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
        return known(self.action_repeat) * known(self.num_environments)

    def worlds(self, num_runs: int | None = None) -> int:
        """Environments of so many runs, by default all seeds; one of each while that is open."""
        return (num_runs or self.num_seeds) * (self.num_environments or 1)

    @property
    def interactions(self) -> int:
        """Interactions of a whole run."""
        if self.is_offline:
            return self.offline.epochs * self.updates_per_epoch
        return known(self.total_env_steps) // self.steps_per_interaction

    @property
    def interactions_before_updates(self) -> int:
        """Interactions of a run up to the one that is followed by the first update."""
        if self.is_offline:
            return 0
        filling = -(-known(self.learning_starts) // known(self.num_environments))
        return filling + self.replay.n_step - 1

    @property
    def interactions_per_evaluation(self) -> int:
        """Interactions between two evaluations."""
        if self.is_offline:
            return known(self.offline.evaluation_interval) * self.updates_per_epoch
        return known(self.evaluation_interval) // self.steps_per_interaction

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
        return getattr(self.agent, "critic_hidden_dim", None) or 0

    @property
    def stored_transitions(self) -> int:
        """Transitions that the replay keeps: one larger than the run fills would waste memory."""
        return min(known(self.replay.capacity), self.interactions * known(self.num_environments))

    @property
    def updates_per_interaction(self) -> Fraction:
        """Updates that follow one interaction of all environments, `FEWEST_UPDATES` or more."""
        if self.is_offline:
            return Fraction(1)
        wanted = Fraction(known(self.update_to_data_ratio)) * known(self.num_environments)
        return wanted.limit_denominator(round(1 / FEWEST_UPDATES))


@dataclass(frozen=True)
class ProcessOptions:
    """Training in several processes, one per machine or more."""

    distributed: bool = False
    """Join the other processes: on SLURM, Open MPI and Cloud TPU they find each other, elsewhere
    give the three below."""
    coordinator_address: str | None = None
    """<host>:<port> of the first process, reachable by all."""
    num_processes: int | None = None
    """How many there are."""
    process_id: int | None = None
    """Number of this one, from 0."""


_T = TypeVar("_T")


def known(value: _T | None) -> _T:
    """The value of a setting, which `resolve` has filled in."""
    if value is None:
        raise ConfigError("the configuration still has open defaults: call resolve(config) first")
    return value

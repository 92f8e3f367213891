"""The numbers that agents choose for themselves, and how each agent names its own."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

AgentName = Literal["simba_v2", "simba", "sac", "redq", "droq", "crossq", "bro", "td3", "random"]


@dataclass(frozen=True)
class AgentConfig:
    """The agent. What is not given is as in the paper of the chosen one."""

    name: AgentName = "simba_v2"
    """Which agent: the others are there to be compared with SimbaV2."""
    actor_hidden_dim: int | None = None
    """Width of the actor."""
    actor_num_blocks: int | None = None
    """Residual blocks of the actor; hidden layers where it has no blocks."""
    critic_hidden_dim: int | None = None
    """Width of each critic."""
    critic_num_blocks: int | None = None
    """Residual blocks of each critic; hidden layers where it has no blocks."""
    num_critics: int | None = None
    """Critics; the smallest value counts. simba_v2, simba: as published for the suite, 2 for mujoco
    and humanoid_bench and offline, 1 for dmc and myosuite; beyond these suites 2 where episodes can
    terminate, else 1."""
    critic_loss: Literal["cross_entropy", "squared_error"] | None = None
    """Whether critics represent a distribution of values or their mean only."""
    num_bins: int | None = None
    """Bins of the value distribution; bro: quantiles."""
    value_range: float | None = None
    """g_max: values live on [-g_max, g_max] and rewards are scaled to fit."""
    input_projection: Literal["shift", "normalize", "hypercube", "raw"] | None = None
    """How the input comes to the unit sphere before the first layer: normalised with a constant
    appended to it, normalised alone, clipped and lifted onto it, or not at all."""
    shift: float | None = None
    """With input-projection shift: the constant appended to the input."""
    scaler_init: float | None = None
    """Start value of scalers. simba_v2: sqrt(2 / width)."""
    scaler_scale: float | None = None
    """Scale of scalers. simba_v2: sqrt(2 / width)."""
    block_scaler_init: float | None = None
    """Start value of the scalers in blocks. simba_v2: half of scaler-init."""
    block_scaler_scale: float | None = None
    """Scale of the scalers in blocks. simba_v2: half of scaler-scale."""
    alpha_init: float | None = None
    """Start value of the blocks' step sizes. simba_v2: 1 / (blocks + 1)."""
    alpha_scale: float | None = None
    """Scale of the blocks' step sizes. simba_v2: 1 / sqrt(width)."""
    learning_rate: float | None = None
    """Learning rate of the first update."""
    learning_rate_end: float | None = None
    """Learning rate of the last update, towards which it goes linearly. All but simba_v2: the
    first one."""
    learning_rate_decay: float | None = None
    """Part of all updates over which it does so. Default: 1, offline 0.5."""
    dropout_rate: float | None = None
    """Share of the critics' hidden units that every update leaves out."""
    weight_decay: float | None = None
    """Decoupled weight decay, as in AdamW."""
    tau: float | None = None
    """Weight of the new network in the target network's moving average."""
    target_update_interval: int | None = None
    """Updates between two steps of that moving average."""
    policy_delay: int | None = None
    """Updates of the critics per update of the policy."""
    exploration_noise: float | None = None
    """Standard deviation of the noise on actions while training."""
    target_noise: float | None = None
    """Standard deviation of the noise on actions in the critics' target."""
    target_noise_clip: float | None = None
    """Where that noise is cut off."""
    behaviour_cloning_weight: float | None = None
    """Weight of the pull towards actions in the replay. Default: 0, offline 0.1."""
    reset_env_steps: tuple[int, ...] | None = None
    """Environment steps at which networks and optimisers begin anew; the replay stays."""
    reset_updates: tuple[int, ...] | None = None
    """The same, by the number of updates done."""


@dataclass(frozen=True)
class TemperatureConfig:
    """The entropy coefficient, tuned towards a target entropy."""

    initial: float | None = None
    """Value before the first update."""
    target_entropy_coefficient: float | None = None
    """Target entropy in nats per action dimension."""


# The published setting with a dataset in place of an environment (arXiv 2502.15280); the learning
# rate falls to a tenth there.
OFFLINE = AgentConfig(learning_rate_decay=0.5, behaviour_cloning_weight=0.1)

# What every agent with a policy and target networks has, unless it says otherwise.
LEARNING = AgentConfig(
    value_range=5.0,
    learning_rate_decay=1.0,
    tau=0.005,
    target_update_interval=1,
    policy_delay=1,
    behaviour_cloning_weight=0.0,
    reset_env_steps=(),
    reset_updates=(),
)


@dataclass(frozen=True)
class Recipe:
    """What an agent's own paper has where the loop around it is SimbaV2's by default.

    Names are those of the configuration, dotted.

    Attributes:
      settings: name -> value, whatever the task.
      tasks: the same for single tasks, by their names without suite and version: `Hopper`.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Defaults:
    """An agent's own settings: its paper's.

    A setting of `agent` and `temperature` that is None here and not in `open` is one that the
    agent does not use; the user is told so when giving it.

    Attributes:
      agent: sizes and numbers.
      temperature: where it has one.
      open: settings of `agent` whose default follows from others or from the task.
      update_to_data_ratio: updates per transition; None for the action repeat.
      normalize_observations, normalize_rewards: by running statistics.
      batch_size: transitions per update.
      paper: what else the agent's paper says, for those who ask for its recipe; None if there is
        no paper.
    """

    agent: AgentConfig
    temperature: TemperatureConfig = field(default_factory=TemperatureConfig)
    open: tuple[str, ...] = ("learning_rate_end",)
    update_to_data_ratio: float | None = 1.0
    normalize_observations: bool = False
    normalize_rewards: bool = False
    batch_size: int = 256
    paper: Recipe | None = None


def fill(given: Any, defaults: Any) -> Any:
    """`given` with the values of `defaults` where it has none."""
    values = {
        name: value
        for name, value in _values(defaults).items()
        if getattr(given, name) is None and value is not None
    }
    return dataclasses.replace(given, **values)


def unused(given: Any, defaults: Any, open: tuple[str, ...] = ()) -> dict[str, Any]:
    """The values of `given` that are of no use to the agent whose defaults these are."""
    known = _values(defaults)
    return {
        name: value
        for name, value in _values(given).items()
        if value is not None and known[name] is None and name not in open
    }


def _values(settings: Any) -> dict[str, Any]:
    return {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}

"""What the settings of agents have in common; each has a class of its own beside its algorithm."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from purejax_simba.errors import ConfigError
from purejax_simba.settings import Settings, setting, traced_numbers


@dataclass(frozen=True)
class Recipe:
    """What an agent's paper says of everything around the agent.

    Names are those of the configuration, dotted.

    Attributes:
      settings: name -> value, whatever the task.
      tasks: the same for single tasks, by their names without suite and version: `Hopper`.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class AgentSettings(Settings):
    """The agent. What is not given is as in the paper of the chosen one.

    Attributes:
      shared: what it has around it whatever recipe is chosen. An agent has a temperature if its
        numbers are there.
      paper: what its own paper has besides, for those who ask for its recipe; None if there is no
        paper.
      parallel: what that has for thousands of environments in place of `paper`, if it has.
      repeated_prior: whether scales of rewards count their prior at every step, see `RewardScale`,
        and a reward before the updates of its own step: as FlashSAC's code has it.
      sees_terminals: whether what follows a termination makes a difference, though its value is
        zero: so it does to statistics of batches that have successors in them.
      longest_policy_delay: where the policy is updated after the updates of an interaction, after
        how many of them at the latest.
      one_delay: whether target networks move with the policy, where `target_update_interval` is not
        given.
    """

    name: str = ""
    """Which agent: the others are there to be compared with SimbaV2."""

    shared: ClassVar[Recipe] = Recipe()
    paper: ClassVar[Recipe | None] = None
    parallel: ClassVar[Recipe | None] = None
    repeated_prior: ClassVar[bool] = False
    sees_terminals: ClassVar[bool] = False
    longest_policy_delay: ClassVar[int | None] = None
    one_delay: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuses the name of another agent, which has other settings."""
        if self.name != type(self).name:
            raise ConfigError(f"these are settings of {type(self).name}, not of {self.name}")

    def numbers(self) -> dict[str, Any]:
        """What is traced, by name; what is computed from settings stands in their place."""
        return traced_numbers(self)


class Learner(AgentSettings):
    """An agent with an actor and critics."""

    actor_hidden_dim: int = setting(above=0)
    """Width of the actor."""
    actor_num_blocks: int = setting(above=0)
    """Residual blocks of the actor; hidden layers where it has no blocks."""
    critic_hidden_dim: int = setting(above=0)
    """Width of each critic."""
    critic_num_blocks: int = setting(above=0)
    """Residual blocks of each critic; hidden layers where it has no blocks."""
    num_critics: int = setting(above=0)
    """Critics; the smallest value counts. bro takes the mean, redq the smaller of a random pair;
    policies of redq and droq follow the mean, td3's the first critic. simba_v2, simba: as published
    for the suite, 2 for mujoco and humanoid_bench and offline, 1 for dmc and myosuite; beyond these
    suites 2 where episodes can terminate, else 1."""
    value_range: float = setting(5.0, traced=True, above=0, is_lasting=True)
    """g_max: where critics give distributions, their values live on [-g_max, g_max]; where rewards
    are normalised, they are scaled to fit. Of no effect elsewhere."""
    learning_rate: float = setting(traced=True, above=0)
    """Learning rate of the first update."""
    learning_rate_end: float = setting(traced=True, at_least=0)
    """Learning rate of the last update, towards which it goes linearly, with flash_sac along half a
    cosine. Default: the first one; simba_v2 5e-5, flash_sac 1.5e-4, or the first one if that is
    less."""
    learning_rate_decay: float = setting(1.0, traced=True, above=0)
    """Part of all updates over which it does so. Default: 1, offline 0.5."""
    policy_delay: int = setting(1, above=0)
    """Updates of the critics per update of the policy. redq, droq: those that follow an
    interaction, 20 at most, and 20 offline."""
    behaviour_cloning_weight: float = setting(0.0, traced=True, at_least=0)
    """Weight of the pull towards actions in the replay. Default: 0, offline 0.1."""
    reset_env_steps: tuple[int, ...] = setting((), at_least=1)
    """Environment steps at which networks and optimisers begin anew; the replay stays."""
    reset_updates: tuple[int, ...] = setting((), at_least=1)
    """The same, by the number of updates done."""


class TargetNetworks(AgentSettings):
    """Networks that follow others."""

    tau: float = setting(0.005, traced=True, above=0, at_most=1)
    """Weight of the new network in the target network's moving average."""
    target_update_interval: int = setting(1, traced=True, above=0)
    """Updates between two steps of that moving average. Default: 1; td3 as many as between two of
    the policy."""


class WeightDecay(AgentSettings):
    """AdamW in place of Adam."""

    weight_decay: float = setting(traced=True, at_least=0)
    """Decoupled weight decay, as in AdamW."""

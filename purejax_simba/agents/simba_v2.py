"""SimbaV2: hyperspherical networks and a categorical critic (arXiv 2502.15280).

Numbers are those of its appendix; there are as many updates per transition as an action is
repeated. The loop around it, which all agents share by default, is its paper's.
"""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp

from purejax_simba.agents.hyperparameters import SphereScales
from purejax_simba.agents.modules import as_functions
from purejax_simba.agents.networks import simba_v2 as networks
from purejax_simba.agents.settings import Learner, Recipe, TargetNetworks
from purejax_simba.agents.soft_actor_critic import SoftActorCritic
from purejax_simba.agents.values import CategoricalValue, ScalarValue
from purejax_simba.settings import setting

# The scales of each network; settings have the same names.
SPHERE = tuple(field.name for field in dataclasses.fields(SphereScales))


class SimbaV2(TargetNetworks, Learner):
    """SimbaV2 (arXiv 2502.15280), appendix."""

    name = "simba_v2"
    actor_hidden_dim = 128
    actor_num_blocks = 1
    critic_hidden_dim = 512
    critic_num_blocks = 2
    learning_rate = 1e-4
    learning_rate_end = 5e-5
    critic_loss: Literal["cross_entropy", "squared_error"] = setting("cross_entropy")
    """Whether critics represent a distribution of values or their mean only."""
    num_bins: int = setting(101, at_least=2)
    """Bins of the value distribution."""
    input_projection: Literal["shift", "normalize", "hypercube", "raw"] = setting("shift")
    """How the input comes to the unit sphere before the first layer: normalised with a constant
    appended to it, normalised alone, clipped and lifted onto it, or not at all."""
    shift: float = setting(3.0, traced=True)
    """With input-projection shift: the constant appended to the input."""
    scaler_init: float = setting(traced=True)
    """Start value of scalers. Default: sqrt(2 / width)."""
    scaler_scale: float = setting(traced=True)
    """Scale of scalers. Default: sqrt(2 / width)."""
    block_scaler_init: float = setting(traced=True)
    """Start value of the scalers in blocks. Default: half of scaler-init."""
    block_scaler_scale: float = setting(traced=True)
    """Scale of the scalers in blocks. Default: half of scaler-scale."""
    alpha_init: float = setting(traced=True)
    """Start value of the blocks' step sizes. Default: 1 / (blocks + 1)."""
    alpha_scale: float = setting(traced=True)
    """Scale of the blocks' step sizes. Default: 1 / sqrt(width)."""

    shared = Recipe(
        {
            "normalize_observations": True,
            "normalize_rewards": True,
            "temperature.initial": 0.01,
            "temperature.target_entropy_coefficient": -0.5,
        }
    )
    paper = Recipe()

    def numbers(self) -> dict[str, Any]:
        """What is traced; start values and scales as those of the two networks."""
        own = {name: value for name, value in super().numbers().items() if name not in SPHERE}
        return own | {
            "actor": self._scales(self.actor_hidden_dim, self.actor_num_blocks),
            "critic": self._scales(self.critic_hidden_dim, self.critic_num_blocks),
        }

    def _scales(self, width: int, num_blocks: int) -> SphereScales:
        """As published for a network of these sizes, but for what is given."""
        given = self.given()
        scaler = (2.0 / width) ** 0.5
        init, scale = given.get("scaler_init", scaler), given.get("scaler_scale", scaler)
        published = {
            "scaler_init": init,
            "scaler_scale": scale,
            "block_scaler_init": init / networks.EXPANSION**0.5,
            "block_scaler_scale": scale / networks.EXPANSION**0.5,
            "alpha_init": 1.0 / (num_blocks + 1),
            "alpha_scale": width**-0.5,
        }
        return SphereScales(**{name: float((published | given)[name]) for name in SPHERE})


def make(observation_size: int, action_size: int, settings: SimbaV2) -> SoftActorCritic:
    """The agent for flat observations and actions of the given sizes."""
    is_categorical = settings.critic_loss == "cross_entropy"
    value = CategoricalValue(settings.num_bins) if is_categorical else ScalarValue()
    actor = networks.Actor(
        action_size, settings.actor_hidden_dim, settings.actor_num_blocks, settings.input_projection
    )
    critic = networks.Critic(
        value.outputs,
        settings.critic_hidden_dim,
        settings.critic_num_blocks,
        settings.input_projection,
    )
    observation, action = jnp.zeros((1, observation_size)), jnp.zeros((1, action_size))

    init_actor, apply_actor = as_functions(
        actor, observation, numbers=lambda hyperparameters: (hyperparameters.actor,)
    )
    init_critic, apply_critic = as_functions(
        critic, observation, action, numbers=lambda hyperparameters: (hyperparameters.critic,)
    )
    return SoftActorCritic(
        init_actor=init_actor,
        init_critic=init_critic,
        actor=apply_actor,
        critic=apply_critic,
        value=value,
        num_critics=settings.num_critics,
        policy_delay=settings.policy_delay,
        project=networks.project_kernels,
    )

"""What replays of all kinds of traces have in common."""

import jax
import jax.numpy as jnp
import numpy as np

from purejax_simba.agents import sac
from purejax_simba.agents.agent import ActorCritic, AgentState, Batch, HyperParameters, Noise

# Compilation takes most of a replay's time; unoptimised code rounds no worse.
FAST_COMPILATION = {"xla_backend_optimization_level": 0}

# What was compared, the relative error, and how large it may be.
Check = tuple[str, float, float]


def relative_error(ours: jax.Array, theirs: np.ndarray) -> float:
    """||ours - theirs|| / ||theirs||, in l2."""
    theirs = np.asarray(theirs, np.float64)
    difference = np.linalg.norm((np.asarray(ours, np.float64) - theirs).ravel())
    return float(difference / max(np.linalg.norm(theirs.ravel()), 1e-30))


def recorded_batch(trace: dict, index: int, config: dict) -> tuple[Batch, Noise]:
    """What update number `index` took; noise of the actor is anything where it was not updated."""

    def read(name: str) -> jax.Array:
        return jnp.asarray(trace[f"batch{index}/{name}"])

    discount = config["gamma"] ** config["n_step"] * (1.0 - read("terminated"))
    batch = Batch(
        read("observation"), read("action"), read("reward"), discount, read("next_observation")
    )
    next_noise = read("next_actor_noise")
    is_due = f"batch{index}/actor_noise" in trace
    return batch, Noise(read("actor_noise") if is_due else next_noise, next_noise)


def forward(
    networks: ActorCritic,
    state: AgentState,
    batch: Batch,
    noise: Noise,
    hyperparameters: HyperParameters,
) -> dict[str, jax.Array]:
    """What networks make of a batch, under the names of `forward/*` in a trace."""
    mean, log_std = networks.actor(state.actor, batch.observation, hyperparameters)
    action, log_density = sac.sample(mean, log_std, noise.action)
    inputs = (batch.observation, batch.action, hyperparameters)
    outputs = sac.all_critics(networks.critic, state.critic, *inputs)
    return {
        "actor_mean": mean,
        "actor_std": jnp.exp(log_std),
        "actor_action": action,
        "actor_log_prob": log_density,
        "critic_q": networks.value.mean(outputs, hyperparameters.value_range),
        "critic_log_prob": jax.nn.log_softmax(outputs),
    }

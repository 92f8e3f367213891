"""FlashSAC (arXiv 2604.04539): batch normalisation of current and next rows, weights of unit norm.

Numbers and formulas are those of the authors' code (Holiday-Robot/FlashSAC). Every batch norm has
its scale and bias normalised together; the target critic normalises with statistics of its own
batch, so that predictions and targets see the same kind of rows. The actor is updated before the
critics and only every other time; each optimiser counts its own steps for its learning rate.
Exploration holds its noise for as many steps as a power law says, in all environments at once.

The paper's recipe is that for CPU simulators: one environment, one update per step, no action
repeat, discount 0.99 (0.95 on MyoSuite). Its recipe for GPU simulators, `parallel`, has 1024
environments and two updates of 2048 transitions per interaction, and discount 0.97 on Playground's
humanoids.
"""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from purejax_simba.agents import sac
from purejax_simba.agents.agent import ActorCritic, Agent, AgentState, HyperParameters, Params
from purejax_simba.agents.layers import Actor, Critic, Dense, orthogonal
from purejax_simba.agents.observed import observe
from purejax_simba.agents.settings import Learner, Recipe, TargetNetworks
from purejax_simba.agents.values import CategoricalValue
from purejax_simba.errors import ConfigError
from purejax_simba.settings import setting

EXPANSION = 4
EPSILON = 1e-8
# Entropy per action of a Gaussian with a standard deviation of 0.15, what the policy is held to.
TARGET_ENTROPY = 0.5 * math.log(2.0 * math.pi * math.e * 0.15**2)
LONGEST_REPEAT = 16
ENVIRONMENTS = 1024  # of the recipe for many
MYOSUITE = [
    f"myo-{task}{hard}"
    for task in ("reach", "pose", "obj-hold", "key-turn", "pen-twirl")
    for hard in ("", "-hard")
]
PLAYGROUND = [
    f"{robot}Joystick{terrain}Terrain{models}"
    for robot in ("G1", "T1")
    for terrain in ("Flat", "Rough")
    for models in ("", "-randomized")
]


class FlashSAC(TargetNetworks, Learner):
    """FlashSAC (arXiv 2604.04539), the authors' code."""

    name = "flash_sac"
    actor_hidden_dim = 128
    actor_num_blocks = 2
    critic_hidden_dim = 256
    critic_num_blocks = 2
    num_critics = 2
    learning_rate = 3e-4
    learning_rate_end = 1.5e-4
    policy_delay = 2
    tau = 0.01
    learning_rate_start: float = setting(traced=True, at_least=0)
    """Learning rate from which it rises linearly during the warm-up. Default: learning-rate."""
    learning_rate_warmup: int = setting(0, traced=True, at_least=0)
    """Updates of the warm-up. From there it falls along half a cosine."""
    actor_observation_size: int = setting(above=0)
    """Entries of an observation, the first ones, that the actor sees; critics see all. Default: all
    that the environment does not keep for critics."""
    num_bins: int = setting(101, at_least=2)
    """Bins of the value distribution."""
    repeat_exponent: float = setting(2.0, traced=True, at_least=0)
    """Exploration noise is held for k steps, 16 at most, with probability proportional to k to the
    minus this."""

    repeated_prior = True
    sees_terminals = True
    shared = Recipe(
        {
            "update_to_data_ratio": 1.0,
            "replay.batch_size": 512,
            "normalize_rewards": True,
            "temperature.initial": 0.01,
            "temperature.target_entropy_coefficient": TARGET_ENTROPY,
        }
    )
    paper = Recipe(
        {
            "action_repeat": 1,
            "discount": 0.99,
            "learning_starts": 10_000,
            "num_evaluation_episodes": 50,
        },
        {task: {"discount": 0.95} for task in MYOSUITE},
    )
    parallel = Recipe(
        {
            "num_environments": ENVIRONMENTS,
            "update_to_data_ratio": 2 / ENVIRONMENTS,
            "replay.batch_size": 2048,
            "replay.capacity": 10_000 * ENVIRONMENTS,  # a multiple that is nearly 10 million
            "learning_starts": 100_000,
            "total_env_steps": 48_829 * ENVIRONMENTS,
            "action_repeat": 1,
            "discount": 0.99,
        },
        {task: {"discount": 0.97} for task in PLAYGROUND},
    )

    def numbers(self) -> dict[str, Any]:
        """What is traced; without a warm-up of its own the learning rate starts at its peak."""
        numbers = super().numbers()
        return {"learning_rate_start": numbers["learning_rate"]} | numbers


class BatchNorm(nn.Module):
    """Batch normalisation (arXiv 1502.03167) with unbiased running variances, as torch has it.

    Running statistics are in the collection `batch_stats`; they move by `pace` towards those of a
    batch in training, where `train` is, and take their place otherwise.
    """

    train: bool
    pace: float = 0.01
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x `(..., features)`; all axes but the last are the batch."""
        shape = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_variance = self.variable("batch_stats", "variance", jnp.ones, shape)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean, variance = running_mean.value, running_variance.value
        if self.train:
            axes = tuple(range(x.ndim - 1))
            mean, variance = x.mean(axes), x.var(axes)
            rows = x.size // x.shape[-1]
            unbiased = variance * (rows / (rows - 1))
            running_mean.value += self.pace * (mean - running_mean.value)
            running_variance.value += self.pace * (unbiased - running_variance.value)
        return (x - mean) * (scale * jax.lax.rsqrt(variance + self.epsilon)) + bias


def _dense(name: str, features: int, use_bias: bool = False) -> Dense:
    return Dense(features, orthogonal(column_axis=0), use_bias, name=name)


_head = partial(_dense, use_bias=True)


class Block(nn.Module):
    """x + relu(BatchNorm(linear(relu(BatchNorm(linear(x)))))); `train` as in `BatchNorm`."""

    hidden_dim: int
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = _dense("dense_in", self.hidden_dim * EXPANSION)(x)
        h = nn.relu(BatchNorm(self.train, name="norm_in")(h))
        observe(self, h, "activation")
        h = _dense("dense_out", self.hidden_dim)(h)
        return observe(self, x + nn.relu(BatchNorm(self.train, name="norm_out")(h)), "feature")


class Encoder(nn.Module):
    """`(..., n)` to `(..., hidden_dim)`: batch norm, linear, blocks, and an RMS norm at the end."""

    hidden_dim: int
    num_blocks: int
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = BatchNorm(self.train, name="norm_input")(x)
        x = _dense("embedder", self.hidden_dim)(x)
        observe(self, x, "feature", of="embedder")
        for index in range(self.num_blocks):
            x = Block(self.hidden_dim, self.train, name=f"block_{index}")(x)
        return nn.RMSNorm(epsilon=1e-6, name="norm")(x)


def normalise_parameters(params: Params) -> Params:
    """Gives what is learned the norm that its initial value has; biases of heads stay.

    The weights of each output of a kernel have norm 1; scale and bias of a batch norm together,
    and the scale of the RMS norm, that of a vector of ones.
    """

    result = {
        name: normalise_parameters(node) if isinstance(node, dict) else node
        for name, node in params.items()
    }
    if "kernel" in params:
        # Or XLA copies kernels on GPUs, see `simba_v2.project_kernels`.
        kernel = jax.lax.optimization_barrier(params["kernel"])
        norm = jnp.sqrt(jnp.sum(kernel**2, -2, keepdims=True))
        result["kernel"] = kernel / jnp.maximum(norm, EPSILON)
    if "scale" in params:
        vectors = {name: params[name] for name in ("scale", "bias") if name in params}
        squares = sum(jnp.sum(vector**2, -1, keepdims=True) for vector in vectors.values())
        factor = jnp.sqrt(params["scale"].shape[-1] / (squares + EPSILON))
        result |= {name: vector * factor for name, vector in vectors.items()}
    return result


def learning_rate(steps: jax.Array, hyperparameters: HyperParameters) -> jax.Array:
    """Learning rate of the step of an optimiser that follows `steps` earlier ones of its own.

    It rises linearly from `learning_rate_start` over `learning_rate_warmup` steps, falls along half
    a cosine to `learning_rate_end` at `learning_rate_decay_updates`, and stays there.
    """
    numbers = hyperparameters
    peak, end = numbers.learning_rate, numbers.learning_rate_end
    warmup = numbers.learning_rate_warmup
    risen = jnp.minimum(steps / jnp.maximum(warmup, 1), 1.0)
    rising = numbers.learning_rate_start + (peak - numbers.learning_rate_start) * risen
    falling_steps = jnp.maximum(numbers.learning_rate_decay_updates - warmup, 1)
    fallen = ((steps - warmup) / falling_steps).clip(0.0, 1.0)
    falling = end + (peak - end) * 0.5 * (1.0 + jnp.cos(jnp.pi * fallen))
    return jnp.where(steps < warmup, rising, falling)


@struct.dataclass
class HeldNoise:
    """Noise of exploration that is held for several steps.

    Attributes:
      key: from which it is drawn.
      steps: `()` int32, for how many steps it has been held.
      length: `()` int32, for how many it is to be.
    """

    key: jax.Array
    steps: jax.Array
    length: jax.Array

    @classmethod
    def create(cls, key: jax.Array) -> "HeldNoise":
        """Before the first step."""
        return cls(key, jnp.int32(0), jnp.int32(0))

    def step(self, key: jax.Array, uniform: jax.Array, exponent: jax.Array) -> "HeldNoise":
        """The noise of the next step.

        Args:
          key: from which noise is drawn if the time of the old one is over.
          uniform: `()` in [0, 1), which says for how long.
          exponent: `()`, see `FlashSAC.repeat_exponent`.
        """
        weights = jnp.arange(1, LONGEST_REPEAT + 1, dtype=jnp.float32) ** -exponent
        below = jnp.cumsum(weights) / weights.sum()
        length = 1 + jnp.sum(uniform >= below[:-1], dtype=jnp.int32)
        fresh = HeldNoise(key, jnp.int32(0), length)
        is_over = self.steps >= self.length
        held = jax.tree.map(lambda new, old: jnp.where(is_over, new, old), fresh, self)
        return held.replace(steps=held.steps + 1)


@struct.dataclass
class State(sac.State):
    """With the noise that is held; networks are dictionaries of `params` and `batch_stats`."""

    exploration: HeldNoise


def make(observation_size: int, action_size: int, settings: FlashSAC) -> Agent:
    """The agent for flat observations and actions of the given sizes.

    Raises:
      ConfigError: if the actor is to see more of an observation than there is.
    """
    actor_sizes = settings.actor_hidden_dim, settings.actor_num_blocks
    critic_sizes = settings.critic_hidden_dim, settings.critic_num_blocks
    value = CategoricalValue(settings.num_bins)
    # In training, and as they act and are judged.
    actor_in_training, actor_network = (
        Actor(action_size, Encoder(*actor_sizes, train), _head) for train in (True, False)
    )
    critic_in_training, critic_network = (
        Critic(value.outputs, Encoder(*critic_sizes, train), _head) for train in (True, False)
    )
    seen = settings.actor_observation_size or observation_size
    if seen > observation_size:
        raise ConfigError(
            f"--agent.actor-observation-size is {seen}: an observation has {observation_size} "
            "entries, give fewer or drop it"
        )

    def init(key: jax.Array, hyperparameters: HyperParameters) -> State:
        observation, action = jnp.zeros((1, observation_size)), jnp.zeros((1, action_size))

        def normalised(variables: Any) -> Params:
            return dict(variables) | {"params": normalise_parameters(variables["params"])}

        actor, critic = sac.init_networks(
            key,
            lambda key: normalised(actor_network.init(key, observation[:, :seen])),
            lambda key: normalised(critic_network.init(key, observation, action)),
            settings.num_critics,
        )
        held = HeldNoise.create(jax.random.fold_in(key, 2))
        own = {"target_critic": sac.copy(critic), "exploration": held}
        return State.create(actor, critic, hyperparameters, **own)

    def actor(params, observation, hyperparameters):
        return actor_network.apply(params, observation[..., :seen])

    def critic(params, observation, action, hyperparameters):
        return critic_network.apply(params, observation, action)

    def hold_noise(state: AgentState, key: jax.Array, hyperparameters: HyperParameters):
        noise_key, length_key = jax.random.split(key)
        uniform = jax.random.uniform(length_key)
        held = state.exploration.step(noise_key, uniform, hyperparameters.repeat_exponent)
        return state.replace(exploration=held), held.key

    def actor_loss(params, state, batch, noise, hyperparameters):
        """Next observations are there for the statistics alone."""
        rows = jnp.concatenate([batch.observation, batch.next_observation])[:, :seen]
        outputs, statistics = actor_in_training.apply(params, rows, mutable="batch_stats")
        mean, log_std = (output[: len(batch.observation)] for output in outputs)
        action, log_density = sac.sample(mean, log_std, noise.action)
        values = sac.values(value, critic, state.critic, batch.observation, action, hyperparameters)
        loss, figures = sac.policy_loss(
            action, log_density, values.min(0), state, batch, hyperparameters
        )
        return loss, (figures, dict(statistics))

    def train_critics(params: Params, observations: jax.Array, actions: jax.Array) -> Any:
        """Outputs of all critics for current and for next rows, and their statistics."""

        def train(params: Params) -> Any:
            inputs = (observations, actions)
            return critic_in_training.apply(params, *inputs, mutable="batch_stats")

        outputs, statistics = jax.vmap(train)(params)
        return *jnp.split(outputs, 2, axis=1), dict(statistics)

    def critic_loss(params, state, batch, noise, hyperparameters):
        """The mean over critics, which see the same rows as their targets."""
        mean, log_std = actor(state.actor, batch.next_observation, hyperparameters)
        next_action, log_density = sac.sample(mean, log_std, noise.next_action)
        observations = jnp.concatenate([batch.observation, batch.next_observation])
        actions = jnp.concatenate([batch.action, next_action])
        _, next_outputs, target_statistics = train_critics(
            state.target_critic, observations, actions
        )
        output = sac.smallest(value, next_outputs, hyperparameters)
        target = sac.soft_target(value, output, log_density, state, batch, hyperparameters)
        outputs, _, statistics = train_critics(params, observations, actions)
        loss, errors = sac.value_loss(value, outputs, target, batch)
        return loss / len(outputs), (errors, statistics, target_statistics)

    def step_network(name: str, loss: sac.Loss, state: AgentState, *data: Any) -> Any:
        batch, noise, hyperparameters = data
        rate = learning_rate(getattr(state, f"{name}_optimizer").count, hyperparameters)
        return sac.update_network(name, loss, sac.ADAM, state, batch, noise, hyperparameters, rate)

    def normalised(network: Params, statistics: Params) -> Params:
        return {"params": normalise_parameters(network["params"])} | statistics

    def update(state, batch, noise, hyperparameters, number):
        data = (batch, noise, hyperparameters)

        def update_policy(state: AgentState) -> tuple[AgentState, sac.PolicyMetrics]:
            state, loss, (figures, statistics) = step_network("actor", actor_loss, state, *data)
            state = state.replace(actor=normalised(state.actor, statistics))
            rate = learning_rate(state.temperature_optimizer.count, hyperparameters)
            return sac.update_temperature(sac.ADAM, state, loss, figures, hyperparameters, rate)

        # The first update is one of the policy, which comes before the critics.
        state, policy = sac.when_due(update_policy, state, number - 1, settings.policy_delay)
        state, loss, (errors, statistics, target_statistics) = step_network(
            "critic", critic_loss, state, *data
        )
        state = state.replace(critic=normalised(state.critic, statistics))
        state = sac.finish(state, hyperparameters)
        # Parameters of target critics follow; their running statistics are their own.
        state = state.replace(target_critic=state.target_critic | target_statistics)
        return state, sac.report(policy, loss, batch), errors

    networks = ActorCritic(actor, critic, value, actor_loss, critic_loss)
    return Agent(init, *sac.acting(actor), update, networks, hold_noise)

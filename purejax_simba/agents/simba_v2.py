"""SimbaV2: hyperspherical networks and a categorical critic (arXiv 2502.15280).

Numbers are those of its appendix; there are as many updates per transition as an action is
repeated. The loop around it, which all agents share by default, is its paper's.
"""

import dataclasses
import math
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from purejax_simba.agents import sac
from purejax_simba.agents.agent import ActorCritic, Agent, AgentState, HyperParameters
from purejax_simba.agents.layers import bound_log_std, matmul, orthogonal
from purejax_simba.agents.observed import observe
from purejax_simba.agents.settings import Learner, Recipe, TargetNetworks
from purejax_simba.agents.values import CategoricalValue, ScalarValue
from purejax_simba.settings import setting

EPSILON = 1e-8
EXPANSION = 4
# What `hypercube` clips inputs to; normalised observations are rarely beyond it.
LARGEST_INPUT = 3.0


@struct.dataclass
class SphereScales:
    """Start values and scales of the learnable vectors of a hyperspherical network.

    A vector with start `init` and scale `scale` is stored as `scale` in every component and used as
    `vector * init / scale`, so that `scale` sets how fast it moves under Adam (section 4.1).
    Scalers of the embedder and those of the blocks have numbers of their own. All are `()` float32.
    """

    shift: Any
    scaler_init: Any
    scaler_scale: Any
    block_scaler_init: Any
    block_scaler_scale: Any
    alpha_init: Any
    alpha_scale: Any


# Settings have the same names.
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
    input_projection: Literal["shift", "normalize", "hypercube", "raw"] = setting(
        "shift", is_lasting=True
    )
    """How the input comes to the unit sphere before the first layer: normalised with a constant
    appended to it, normalised alone, clipped and lifted onto it, or not at all."""
    shift: float = setting(3.0, traced=True, is_lasting=True)
    """With input-projection shift: the constant appended to the input."""
    scaler_init: float = setting(traced=True, is_lasting=True)
    """Start value of scalers. Default: sqrt(2 / width)."""
    scaler_scale: float = setting(traced=True, is_lasting=True)
    """Scale of scalers. Default: sqrt(2 / width)."""
    block_scaler_init: float = setting(traced=True, is_lasting=True)
    """Start value of the scalers in blocks. Default: half of scaler-init."""
    block_scaler_scale: float = setting(traced=True, is_lasting=True)
    """Scale of the scalers in blocks. Default: half of scaler-scale."""
    alpha_init: float = setting(traced=True, is_lasting=True)
    """Start value of the blocks' step sizes. Default: 1 / (blocks + 1)."""
    alpha_scale: float = setting(traced=True, is_lasting=True)
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
            "block_scaler_init": init / EXPANSION**0.5,
            "block_scaler_scale": scale / EXPANSION**0.5,
            "alpha_init": 1.0 / (num_blocks + 1),
            "alpha_scale": width**-0.5,
        }
        return SphereScales(**{name: float((published | given)[name]) for name in SPHERE})


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def l2_normalise(x: jax.Array, axis: int = -1) -> jax.Array:
    """x / max(||x||, 1e-8) along `axis`."""
    return _normalise_forward(x, axis)[0]


def _normalise_forward(x: jax.Array, axis: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    norm = jnp.sqrt(jnp.sum(x * x, axis=axis, keepdims=True))
    unit = x / jnp.maximum(norm, EPSILON)
    return unit, (unit, norm)


def _normalise_backward(
    axis: int, residuals: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array]:
    # The part of the gradient along the sphere; below the threshold the division is by a constant.
    # Written out because it takes a third of the operations that differentiating the quotient does.
    unit, norm = residuals
    along = jnp.sum(gradient * unit, axis=axis, keepdims=True)
    along = jnp.where(norm > EPSILON, along, 0.0)
    return ((gradient - unit * along) / jnp.maximum(norm, EPSILON),)


l2_normalise.defvjp(_normalise_forward, _normalise_backward)


def project_kernels(params: Any) -> Any:
    """Gives every kernel unit norm along its input axis; leaves all else alone."""

    def project(path: tuple, leaf: jax.Array) -> jax.Array:
        if not path[-1].key.startswith("kernel"):
            return leaf
        # For GPUs XLA would join the norms of kernels of one shape with the optimiser's step before
        # them, in an operation that cannot write its results in place: it copies them.
        return l2_normalise(jax.lax.optimization_barrier(leaf), axis=-2)

    return jax.tree_util.tree_map_with_path(project, params)


class _Layer(nn.Module):
    def kernel(self, name: str, inputs: int, features: int) -> jax.Array:
        return self.param(name, orthogonal(column_axis=0), (inputs, features))

    def vector(
        self, name: Literal["scaler", "alpha"], features: int, init: Any, scale: Any
    ) -> jax.Array:
        """A learnable scaling that starts at `init` and moves at the pace of `scale`."""

        def initialiser(_: jax.Array) -> jax.Array:
            return jnp.full((features,), scale, jnp.float32)

        return observe(self, self.param(name, initialiser) * (init / scale), name)

    def scaled_linear(
        self, kernel: str, x: jax.Array, features: int, init: Any, scale: Any
    ) -> jax.Array:
        """Linear and scaler, which goes to the kernel or to its output: the one with fewer rows."""
        weights = self.kernel(kernel, x.shape[-1], features)
        scaler = self.vector("scaler", features, init, scale)
        if x.shape[-1] < math.prod(x.shape[:-1]):
            return matmul(x, weights * scaler)
        return matmul(x, weights) * scaler


def project_input(x: jax.Array, projection: str, shift: jax.Array) -> jax.Array:
    """Brings an input `(..., n)` to the unit sphere, or leaves it as it is.

    Args:
      x: the input.
      projection: with `shift` the constant `shift` is appended first, so that the direction of the
        result `(..., n + 1)` still tells how large the input was. The others are ablations:
        `normalize` goes without the constant, `raw` leaves the input alone, and `hypercube` clips
        it, shrinks the cube of all that are left into the unit ball, and appends what is missing to
        unit length.
      shift: `()`.
    """
    if projection == "shift":
        constant = jnp.broadcast_to(shift, (*x.shape[:-1], 1))
        return l2_normalise(jnp.concatenate([x, constant], axis=-1))
    if projection == "normalize":
        return l2_normalise(x)
    if projection == "hypercube":
        x = x.clip(-LARGEST_INPUT, LARGEST_INPUT) / (LARGEST_INPUT * x.shape[-1] ** 0.5)
        missing = 1.0 - jnp.sum(x * x, axis=-1, keepdims=True)
        return jnp.concatenate([x, jnp.sqrt(jnp.maximum(missing, EPSILON**2))], axis=-1)
    return x


class Embedder(_Layer):
    """Input `(..., n)`, projected as `project_input` says, to the unit sphere in `hidden_dim`."""

    hidden_dim: int
    projection: str = "shift"

    @nn.compact
    def __call__(self, x: jax.Array, scales: SphereScales) -> jax.Array:
        x = self.scaled_linear(
            "kernel",
            project_input(x, self.projection, scales.shift),
            self.hidden_dim,
            scales.scaler_init,
            scales.scaler_scale,
        )
        return observe(self, l2_normalise(x), "feature")


class Block(_Layer):
    """Moves x along the sphere towards the output of an inverted-bottleneck MLP."""

    hidden_dim: int

    @nn.compact
    def __call__(self, x: jax.Array, scales: SphereScales) -> jax.Array:
        wide = self.hidden_dim * EXPANSION
        h = self.scaled_linear(
            "kernel_in", x, wide, scales.block_scaler_init, scales.block_scaler_scale
        )
        h = nn.relu(h) + EPSILON  # the constant keeps the vector from being zero
        observe(self, h, "activation")
        h = l2_normalise(matmul(h, self.kernel("kernel_out", wide, self.hidden_dim)))
        alpha = self.vector("alpha", self.hidden_dim, scales.alpha_init, scales.alpha_scale)
        return observe(self, l2_normalise(x + (h - x) * alpha), "feature")


class Head(_Layer):
    """Linear, scaler, linear, bias."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.scaled_linear("kernel_in", x, x.shape[-1], 1.0, 1.0)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return matmul(h, self.kernel("kernel_out", h.shape[-1], self.features)) + bias


class Encoder(nn.Module):
    """Embedder and blocks: `(..., n)` to `(..., hidden_dim)` on the unit sphere."""

    hidden_dim: int
    num_blocks: int
    projection: str = "shift"

    @nn.compact
    def __call__(self, x: jax.Array, scales: SphereScales) -> jax.Array:
        x = Embedder(self.hidden_dim, self.projection, name="embedder")(x, scales)
        for index in range(self.num_blocks):
            x = Block(self.hidden_dim, name=f"block_{index}")(x, scales)
        return x


class Actor(nn.Module):
    """Observation `(..., O)` to mean and log std `(..., A)` of the Gaussian before the tanh."""

    action_size: int
    hidden_dim: int
    num_blocks: int
    projection: str = "shift"

    @nn.compact
    def __call__(self, observation: jax.Array, scales: SphereScales) -> tuple[jax.Array, jax.Array]:
        encoder = Encoder(self.hidden_dim, self.num_blocks, self.projection, name="encoder")
        x = encoder(observation, scales)
        mean = Head(self.action_size, name="mean")(x)
        return mean, bound_log_std(Head(self.action_size, name="log_std")(x))


class Critic(nn.Module):
    """Observation and action to `(..., outputs)`: logits of the value distribution."""

    outputs: int
    hidden_dim: int
    num_blocks: int
    projection: str = "shift"

    @nn.compact
    def __call__(
        self, observation: jax.Array, action: jax.Array, scales: SphereScales
    ) -> jax.Array:
        x = jnp.concatenate([observation, action], axis=-1)
        encoder = Encoder(self.hidden_dim, self.num_blocks, self.projection, name="encoder")
        x = encoder(x, scales)
        return Head(self.outputs, name="value")(x)


def make(observation_size: int, action_size: int, settings: SimbaV2) -> Agent:
    """The agent for flat observations and actions of the given sizes."""
    is_categorical = settings.critic_loss == "cross_entropy"
    value = CategoricalValue(settings.num_bins) if is_categorical else ScalarValue()
    projection = settings.input_projection
    actor_sizes = settings.actor_hidden_dim, settings.actor_num_blocks
    critic_sizes = settings.critic_hidden_dim, settings.critic_num_blocks
    actor_network = Actor(action_size, *actor_sizes, projection)
    critic_network = Critic(value.outputs, *critic_sizes, projection)

    def actor(params, observation, hyperparameters):
        return actor_network.apply({"params": params}, observation, hyperparameters.actor)

    def critic(params, observation, action, hyperparameters):
        return critic_network.apply({"params": params}, observation, action, hyperparameters.critic)

    def init(key: jax.Array, hyperparameters: HyperParameters) -> sac.State:
        inputs = jnp.zeros((1, observation_size)), jnp.zeros((1, action_size))
        actor, critic = sac.init_networks(
            key,
            lambda key: actor_network.init(key, inputs[0], hyperparameters.actor)["params"],
            lambda key: critic_network.init(key, *inputs, hyperparameters.critic)["params"],
            settings.num_critics,
        )
        actor, critic = project_kernels(actor), project_kernels(critic)
        return sac.State.create(actor, critic, hyperparameters, target_critic=sac.copy(critic))

    actor_loss = sac.actor_loss(actor, critic, value, jnp.min)
    critic_loss = sac.critic_loss(actor, critic, value, sac.smallest)

    def update(state, batch, noise, hyperparameters, number):
        data = (batch, noise, hyperparameters)

        def update_policy(state: AgentState) -> tuple[AgentState, sac.PolicyMetrics]:
            state, metrics = sac.update_policy(actor_loss, sac.ADAM, state, *data)
            return state.replace(actor=project_kernels(state.actor)), metrics

        state, policy = sac.when_due(update_policy, state, number, settings.policy_delay)
        state, loss, errors = sac.update_network("critic", critic_loss, sac.ADAM, state, *data)
        state = state.replace(critic=project_kernels(state.critic))
        return sac.finish(state, hyperparameters), sac.report(policy, loss, batch), errors

    networks = ActorCritic(actor, critic, value, actor_loss, critic_loss)
    return Agent(init, *sac.acting(actor), update, networks)

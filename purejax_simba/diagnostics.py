"""Diagnostics of an agent, from its state and one minibatch.

Norms and effective learning rate are those of SimbaV2 (arXiv 2502.15280, figure 4 (b) to (e), and
the metrics of its published code). For `actor` and `critic`, the latter averaged over critics:

| metric | definition |
| --- | --- |
| `feature_norm` | sum over features of the batch mean of their l2 norms |
| `weighted_feature_norm` | root of the mean of the features' squared l2 norms, weighted by width |
| `parameter_norm`, `gradient_norm` | l2 norm of all tensors together |
| `weighted_parameter_norm`, `weighted_gradient_norm` | root of the mean of the tensors' squared l2
norms, weighted by their numbers of parameters |
| `effective_learning_rate` | gradient norm over parameter norm of a tensor; mean over tensors,
weighted by their numbers of parameters |
| `dormant_ratio` | share of neurons whose mean absolute activation is at most 0.1 times the mean of
their layer (arXiv 2302.12902, section 3) |
| `effective_rank` | exp of the entropy of the normalised singular values of the last feature over
the batch (Roy & Vetterli 2007) |
| `srank` | how many of these singular values make up 99% of their sum (arXiv 2010.14498) |
| `scaler_mean`, `scaler_std`, `alpha_mean`, `alpha_std` | of SimbaV2's learnable vectors, as they
are multiplied with |
| `value_entropy` | of the value distribution in nats, batch mean (categorical critics) |
| `value_mass_low`, `value_mass_high` | its probability of the first and last bin, batch mean |

Features are what the networks' `observe` calls so. Gradients are those of both losses at the state
as it is.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap

from purejax_simba.agents.agent import Agent, AgentState, Batch, HyperParameters, Noise, Params
from purejax_simba.agents.observed import Observed, look
from purejax_simba.agents.values import CategoricalValue

DORMANT_THRESHOLD = 0.1
SRANK_SHARE = 0.99
STATISTICS = "batch_stats"  # beside the parameters where there is batch normalisation

Metrics = dict[str, jax.Array]


def diagnose(
    agent: Agent,
    state: AgentState,
    batch: Batch,
    noise: Noise,
    hyperparameters: HyperParameters,
    per_module: bool = False,
) -> Metrics:
    """The metrics above as `<network>/<metric>`, `()` each, for a minibatch and noise of an update.

    With `per_module` there is `<network>/<module>/<metric>` for every module that has its own.
    """
    networks = agent.actor_critic
    if networks is None:
        return {}
    data = (state, batch, noise, hyperparameters)
    actor_gradient, _ = jax.grad(networks.actor_loss, has_aux=True)(state.actor, *data)
    critic_gradients, _ = jax.grad(networks.critic_loss, has_aux=True)(state.critic, *data)

    def of_critic(params: Params, gradient: Params) -> Metrics:
        inputs = (batch.observation, batch.action, hyperparameters)
        output, observed = look(networks.critic, params, *inputs)
        metrics = network_metrics(params, gradient, observed, per_module)
        if isinstance(networks.value, CategoricalValue):
            metrics |= value_metrics(output)
        return metrics

    _, observed = look(networks.actor, state.actor, batch.observation, hyperparameters)
    actor = network_metrics(state.actor, actor_gradient, observed, per_module)
    critics = jax.vmap(of_critic)(state.critic, critic_gradients)
    return {f"actor/{name}": x for name, x in actor.items()} | {
        f"critic/{name}": x.mean() for name, x in critics.items()
    }


def network_metrics(
    params: Params, gradient: Params, observed: Sequence[Observed], per_module: bool
) -> Metrics:
    """Metrics of one network: nested dictionaries of tensors, their gradients, what `look` saw."""
    tensors = _tensors(params, gradient)
    metrics = _tensor_metrics(tensors) | _observed_metrics(observed)
    features = [x.value for x in observed if x.kind == "feature"]
    if features:
        metrics |= rank_metrics(features[-1])
    if per_module:
        modules = [x.module for x in tensors] + [x.module for x in observed]
        for module in filter(None, dict.fromkeys(modules)):
            own = _tensor_metrics([x for x in tensors if x.module == module])
            own |= _observed_metrics([x for x in observed if x.module == module])
            metrics |= {f"{module}/{name}": value for name, value in own.items()}
    return metrics


class _Tensor(NamedTuple):
    module: str
    size: int
    norm: jax.Array
    gradient_norm: jax.Array


def _tensors(params: Params, gradient: Params) -> list[_Tensor]:
    if isinstance(params, dict) and STATISTICS in params:
        params, gradient = params["params"], gradient["params"]
    leaves = jax.tree_util.tree_leaves_with_path(params)
    name = functools.partial(jax.tree_util.keystr, simple=True, separator="/")
    return [
        _Tensor(name(path[:-1]), leaf.size, _norm(leaf), _norm(slope))
        for (path, leaf), slope in zip(leaves, jax.tree.leaves(gradient), strict=True)
    ]


def _norm(x: jax.Array, axis: int | None = None) -> jax.Array:
    return jnp.sqrt(jnp.sum(x * x, axis=axis))


def _tensor_metrics(tensors: Sequence[_Tensor]) -> Metrics:
    if not tensors:
        return {}
    sizes = jnp.array([float(tensor.size) for tensor in tensors])
    norms = jnp.stack([tensor.norm for tensor in tensors])
    slopes = jnp.stack([tensor.gradient_norm for tensor in tensors])
    # A tensor of zeros, a bias before the first update, has no direction to turn.
    known = norms > 0.0
    rates = jnp.where(known, slopes / jnp.where(known, norms, 1.0), 0.0)
    return {
        "parameter_norm": _norm(norms),
        "gradient_norm": _norm(slopes),
        "weighted_parameter_norm": jnp.sqrt(_mean(norms**2, sizes)),
        "weighted_gradient_norm": jnp.sqrt(_mean(slopes**2, sizes)),
        "effective_learning_rate": _mean(rates, sizes * known),
    }


def _mean(x: jax.Array, weights: jax.Array) -> jax.Array:
    return jnp.sum(x * weights) / jnp.sum(weights)


def _observed_metrics(observed: Sequence[Observed]) -> Metrics:
    def of(kind: str) -> list[jax.Array]:
        return [x.value for x in observed if x.kind == kind]

    metrics: Metrics = {}
    features, activations = of("feature"), of("activation")
    if features:
        widths = jnp.array([float(x.shape[-1]) for x in features])
        squares = jnp.stack([jnp.sum(x * x, axis=-1).mean() for x in features])
        metrics["feature_norm"] = sum((_norm(x, -1).mean() for x in features), jnp.zeros(()))
        metrics["weighted_feature_norm"] = jnp.sqrt(_mean(squares, widths))
    if activations:
        sizes = [jnp.abs(x).mean(0) for x in activations]
        are_dormant = [size <= DORMANT_THRESHOLD * size.mean() for size in sizes]
        metrics["dormant_ratio"] = jnp.concatenate(are_dormant).mean()
    vectors = {"scaler": of("scaler"), "alpha": of("alpha")}
    for name, values in vectors.items():
        if values:
            together = jnp.concatenate(values)
            metrics |= {f"{name}_mean": together.mean(), f"{name}_std": together.std()}
    return metrics


def rank_metrics(feature: jax.Array) -> Metrics:
    """Ranks of a feature `(B, n)` over a batch; NaN if it is zero or not finite."""
    # What the library makes of numbers that are not finite is anybody's guess.
    is_known = jnp.isfinite(feature).all() & (feature != 0.0).any()
    values = _singular_values(jnp.where(is_known, feature, 1.0))
    share = values / values.sum()
    ranks = {
        "effective_rank": jnp.exp(jax.scipy.special.entr(share).sum()),
        "srank": 1.0 + jnp.sum(jnp.cumsum(share) < SRANK_SHARE).astype(jnp.float32),
    }
    return {name: jnp.where(is_known, rank, jnp.nan) for name, rank in ranks.items()}


# One after another when batched: on a CPU, batched decompositions can block the thread pool.
_singular_values: Callable[[jax.Array], jax.Array] = sequential_vmap(
    lambda matrix: jnp.linalg.svd(matrix, compute_uv=False)
)


def value_metrics(logits: jax.Array) -> Metrics:
    """Of categorical value distributions, `(B, bins)`."""
    log_probability = jax.nn.log_softmax(logits)
    probability = jnp.exp(log_probability)
    return {
        "value_entropy": -jnp.sum(probability * log_probability, axis=-1).mean(),
        "value_mass_low": probability[:, 0].mean(),
        "value_mass_high": probability[:, -1].mean(),
    }

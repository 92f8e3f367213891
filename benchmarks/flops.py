"""Floating-point operations of the matrix products of one update of any agent."""

import math
from collections.abc import Iterator
from typing import Any

import jax
from jax.interpreters import partial_eval

from purejax_simba.agents.hyperparameters import HyperParameters
from purejax_simba.agents.soft_actor_critic import Batch, Noise, SoftActorCritic


def flops_per_update(
    agent: SoftActorCritic,
    hyperparameters: HyperParameters,
    observation_size: int,
    action_size: int,
    batch_size: int,
) -> float:
    """Multiplications and additions of all linear layers in one update of one run.

    They are counted in the trace of the update: 2 n m k for every product of a matrix `(n, m)` with
    one `(m, k)` whose result is used. What is not a product of two matrices does not count:
    normalisations, activations, the optimiser and the moving average. An update of the policy
    that comes only every d-th time counts as a d-th.
    """
    key = jax.random.key(0)
    state = jax.eval_shape(agent.init, key, hyperparameters)

    def zeros(*features: int) -> jax.Array:
        return jax.numpy.zeros((batch_size, *features))

    observation, action = zeros(observation_size), zeros(action_size)
    batch = Batch(observation, action, zeros(), zeros(), observation)
    closed = jax.make_jaxpr(agent.update)(state, batch, Noise(action, action, key), hyperparameters)
    # A trace may hold products whose results nobody uses; no compiler keeps them.
    used, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return sum(_flops(used, 1.0 / agent.policy_delay))


def _flops(jaxpr: Any, share: float) -> Iterator[float]:
    """Of all equations of a jaxpr and of those inside; `share` is how often a branch is taken."""
    for equation in jaxpr.eqns:
        yield _matmul_flops(equation)
        weight = share if equation.primitive.name == "cond" else 1.0
        for inner in jax.tree.leaves(tuple(equation.params.values())):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield weight * sum(_flops(getattr(inner, "jaxpr", inner), share))


def _matmul_flops(equation: Any) -> int:
    """Operations of a product of two (batches of) matrices; 0 for every other equation."""
    if equation.primitive.name != "dot_general":
        return 0
    (contracted, _), (batched, _) = equation.params["dimension_numbers"]
    left, right = (variable.aval.shape for variable in equation.invars)
    if min(len(left), len(right)) < len(batched) + 2:
        return 0
    outputs = math.prod(equation.outvars[0].aval.shape)
    return 2 * outputs * math.prod(left[axis] for axis in contracted)

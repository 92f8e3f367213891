"""Floating-point operations of the matrix products of one update of any agent."""

import math
from collections.abc import Iterator
from typing import Any

import jax
from jax.interpreters import partial_eval

from benchmarks.common import Learner
from purejax_simba.agents.agent import Batch, Noise


def flops_per_update(learner: Learner) -> float:
    """Multiplications and additions of all linear layers in one update of one run.

    They are counted in the trace of the update: 2 n m k for every product of a matrix `(n, m)` with
    one `(m, k)` whose result is used. What is not a product of two matrices does not count:
    normalisations, activations, the optimiser and the moving average. An update of the policy
    that comes only every d-th time counts as a d-th.
    """
    key = jax.random.key(0)
    state = jax.eval_shape(learner.agent.init, key, learner.hyperparameters)

    def zeros(*features: int) -> jax.Array:
        return jax.numpy.zeros((learner.batch_size, *features))

    observation, action = zeros(learner.observation_size), zeros(learner.action_size)
    batch = Batch(observation, action, zeros(), zeros(), observation)
    inputs = (batch, Noise(action, action, key), learner.hyperparameters, jax.numpy.int32(0))
    update: Any = learner.agent.update
    closed = jax.make_jaxpr(update)(state, *inputs)
    # A trace may hold products whose results nobody uses; no compiler keeps them.
    used, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return sum(_flops(used, 1.0 / learner.policy_delay))


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

"""The counted operations against those that JAX traces, and small measurements end to end."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import pytest
from jax.interpreters import partial_eval

from benchmarks import envs as environments
from benchmarks import train, update
from benchmarks.common import Learner, Updates, measure_update, print_json
from benchmarks.table import Table
from purejax_simba.agents.soft_actor_critic import Batch, Noise
from purejax_simba.flops import flops_per_update
from purejax_simba.parallel import make_mesh

TINY = update.Arguments(
    runs=2,
    critic_hidden_dim=8,
    actor_hidden_dim=6,
    batch_size=5,
    observation_size=3,
    action_size=2,
    seconds=0.1,
)


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a jaxpr and of those inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(tuple(equation.params.values())):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield from equations(getattr(inner, "jaxpr", inner))


def matmul_flops(equation: Any) -> int:
    """Operations of a product of two (batches of) matrices; 0 for every other equation."""
    if equation.primitive.name != "dot_general":
        return 0
    (contracted, _), (batched, _) = equation.params["dimension_numbers"]
    left, right = (variable.aval.shape for variable in equation.invars)
    if min(len(left), len(right)) < len(batched) + 2:
        return 0
    outputs = math.prod(equation.outvars[0].aval.shape)
    return 2 * outputs * math.prod(left[axis] for axis in contracted)


def traced_flops(learner: Learner) -> int:
    """Operations of the matrix products in the trace of one update."""
    key, hyperparameters = jax.random.key(0), learner.hyperparameters
    state = jax.eval_shape(learner.agent.init, key, hyperparameters)

    def zeros(*features: int) -> jax.Array:
        return jax.numpy.zeros((learner.batch_size, *features))

    observation, action = zeros(learner.observation_size), zeros(learner.action_size)
    batch = Batch(observation, action, zeros(), zeros(), observation)
    closed = jax.make_jaxpr(learner.agent.update)(
        state, batch, Noise(action, action), hyperparameters
    )
    # A trace may hold products whose results nobody uses; no compiler keeps them.
    used, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return sum(map(matmul_flops, equations(used)))


@pytest.mark.parametrize("num_critics", [1, 2])
def test_counted_operations_are_those_of_the_trace(num_critics):
    arguments = replace(TINY, num_critics=num_critics)
    counted = flops_per_update(
        update.agent_config(arguments),
        arguments.observation_size,
        arguments.action_size,
        arguments.batch_size,
    )
    assert counted == traced_flops(update.make_learner(arguments))


def test_open_number_of_critics_is_refused():
    agent = replace(update.agent_config(TINY), num_critics=None)
    with pytest.raises(ValueError, match="num_critics"):
        flops_per_update(agent, 3, 2, 5)


@pytest.mark.slow
def test_every_run_is_updated_as_often_as_asked():
    updates = Updates(update.make_learner(TINY), TINY.runs, make_mesh(TINY.runs))
    updates(2)
    (state,) = updates(3)
    assert state.updates.tolist() == [5, 5]
    assert all(bool(jax.numpy.isfinite(leaf).all()) for leaf in jax.tree.leaves(state.actor))


@pytest.mark.slow
def test_update_is_measured():
    measured = measure_update(update.make_learner(TINY), TINY.runs, TINY.seconds)
    assert 0.0 < measured.seconds.best <= measured.seconds.median
    assert 0.0 < measured.matmul_seconds.best <= measured.matmul_seconds.median
    assert measured.compile_seconds > 0.0
    assert all(size >= 0 for size in measured.program_bytes.values())


@pytest.mark.slow
def test_training_is_measured_and_printed_as_one_line(capsys):
    arguments = train.Arguments(
        task="gymnax/Pendulum-v1",
        runs=1,
        critic_hidden_dim=8,
        actor_hidden_dim=8,
        random_interactions=300,
        seconds=0.2,
    )
    results = train.run(arguments)
    assert results["updates_per_interaction"] == 1.0
    assert results["training_overhead"] > 0.0
    print_json({"task": arguments.task}, results)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line).keys() >= {"task", "jax_version", *results}


def test_a_table_keeps_its_rows_unless_something_else_made_it(tmp_path):
    path = tmp_path / "of" / "tables.md"

    def open_table(made_by: str) -> Table:
        return Table(path, "Speeds", made_by, [], {"slow": "how slow", "fast": "how fast"})

    open_table("by us").add("b", {"fast": "2"})
    open_table("by us").add("a", {"slow": "1"})
    open_table("by us").add("b", {"slow": "3"})
    rows = [line for line in path.read_text().splitlines() if line.startswith("| `")]
    assert [[cell.strip() for cell in row.split("|")[1:4]] for row in rows] == [
        ["`a`", "1", ""],
        ["`b`", "3", "2"],
    ]
    wider = {"new": "added later", "slow": "how slow", "fast": "how fast"}
    Table(path, "Speeds", "by us", [], wider).add("a", {"new": "5"})
    assert "| `a` | 5 | 1 |  |" in path.read_text() and "| `b` |  | 3 | 2 |" in path.read_text()
    open_table("by others").add("c", {"slow": "4"})
    assert "`a`" not in path.read_text() and "`c`" in path.read_text()


def test_ratios_of_environment_rates():
    rates = {
        "mujoco": environments.Rate(30_000.0, 31_000.0, 2.0),
        "mjx": environments.Rate(100.0, 110.0, 12.34),
        environments.LOOP: environments.Rate(10_000.0, 11_000.0),
    }
    cells = environments.cells(rates)
    assert cells == {
        "C engine": "30,000",
        "MJX": "100",
        "loop": "10,000",
        "C / loop": "3",
        "MJX, s": "12.3",
    }

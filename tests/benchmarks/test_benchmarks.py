"""The counted operations against those that JAX traces, and small measurements end to end."""

import json
from dataclasses import replace
from typing import NamedTuple

import jax
import pytest

from benchmarks import envs as environments
from benchmarks import train, update
from benchmarks.common import Updates, measure_update, print_json
from benchmarks.flops import flops_per_update
from benchmarks.table import Table
from purejax_simba.agents import registry
from purejax_simba.agents.simba_v2 import EXPANSION
from purejax_simba.config import ConfigError, known
from purejax_simba.runs.devices import make_mesh

TINY = update.Arguments(
    runs=2,
    critic_hidden_dim=8,
    actor_hidden_dim=6,
    batch_size=5,
    observation_size=3,
    action_size=2,
    seconds=0.1,
)


class Network(NamedTuple):
    """Weights in the kernels of an encoder with one head per output, by its sizes."""

    inputs: int
    hidden_dim: int
    num_blocks: int
    outputs: tuple[int, ...]

    @property
    def first_weights(self) -> int:
        return self.inputs * self.hidden_dim

    @property
    def weights(self) -> int:
        block = 2 * EXPANSION * self.hidden_dim**2
        heads = sum(self.hidden_dim**2 + self.hidden_dim * features for features in self.outputs)
        return self.first_weights + self.num_blocks * block + heads


def expected_flops(arguments: update.Arguments) -> int:
    """Of an update of SimbaV2, written down layer by layer.

    A layer from n to m features costs 2 B n m for its output, the same for the gradient with
    respect to its kernel, and the same for the gradient with respect to its input. There are:

    - actor loss: actor forward; every critic forward and backward, with respect to the input
      alone, because the gradient passes through the action; actor backward;
    - target: actor forward, every target critic forward;
    - critic loss: every critic forward and backward.

    Backward passes with respect to the kernels leave out the input of the first layer.
    """
    sizes = update.make_config(arguments).agent
    observation_size, action_size = arguments.observation_size, arguments.action_size
    # The shift is appended to the input; mean and log std are heads of the actor.
    actor = Network(
        observation_size + 1,
        known(sizes.actor_hidden_dim),
        known(sizes.actor_num_blocks),
        (action_size, action_size),
    )
    critic = Network(
        observation_size + action_size + 1,
        known(sizes.critic_hidden_dim),
        known(sizes.critic_num_blocks),
        (known(sizes.num_bins),),
    )
    # The actor goes forward twice; its backward costs two products a layer.
    actor_products = 4 * actor.weights - actor.first_weights
    # Forward in the actor loss, the target and the critic loss; backward to the input; backward.
    critic_products = 6 * critic.weights - critic.first_weights
    products = actor_products + known(sizes.num_critics) * critic_products
    return 2 * known(arguments.batch_size) * products


def counted_flops(arguments: update.Arguments) -> float:
    """Of an update of any agent, from its trace."""
    return flops_per_update(update.make_learner(arguments))


@pytest.mark.parametrize("num_critics", [1, 2])
def test_counted_operations_are_those_of_the_layers(num_critics):
    arguments = replace(TINY, num_critics=num_critics)
    assert counted_flops(arguments) == expected_flops(arguments)


def test_a_delayed_policy_counts_in_part():
    config = update.make_config(replace(TINY, agent="td3"))
    learner = update.make_learner(replace(TINY, agent="td3"))

    def count(delay: int) -> float:
        settings = replace(config.agent, policy_delay=delay)
        agent = registry.make(TINY.observation_size, TINY.action_size, settings)
        return flops_per_update(learner._replace(agent=agent, policy_delay=delay))

    policy = count(1) - count(2)
    assert policy > 0
    assert count(4) == pytest.approx(count(1) - 1.5 * policy)


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


def test_a_table_keeps_its_rows(tmp_path):
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
    before = path.read_text()
    with pytest.raises(ConfigError, match="give another file") as refused:
        open_table("by others")
    assert "\n" not in str(refused.value)
    assert path.read_text() == before


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

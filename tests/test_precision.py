"""Matrix products of networks are computed as asked for, all others in full float32."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from purejax_simba.agents import registry
from purejax_simba.config import Config, ReplayConfig
from purejax_simba.program import Program
from purejax_simba.run_state import Counters
from purejax_simba.training import make_program
from tests.helpers.examples import mark_others

WIDTH = 37  # of every hidden layer, and of nothing else
ASKED = {"float32": "HIGHEST", "tensorfloat32": "HIGH", "bfloat16": "DEFAULT"}


def products(program: Program, platform: str) -> Iterator[tuple[bool, str]]:
    """Of all its functions, as for a platform: whether a product is a network's; its precision."""
    state, numbers, counters = program.state_shapes, program.hyperparameters(), Counters.create()
    for function, arguments in (
        (program.init, (jax.random.key(0), numbers)),
        (program.advance, (counters, state, numbers, jnp.int32(1))),
        (program.evaluate, (counters, state, numbers)),
        (program.begin_episodes, (counters, state)),
    ):
        lowered = jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,))
        for line in lowered.as_text().splitlines():
            if "stablehlo.dot_general" in line:
                precision = re.search(r"precision = \[(\w+), (\w+)\]", line)
                assert precision is not None, line
                assert precision[1] == precision[2]
                shapes = line.rpartition(" : ")[2]
                yield str(WIDTH) in re.findall(r"\d+", shapes), precision[1]


def check(config: Config, platform: str) -> None:
    """That networks have what is asked for, and what is no network's has float32."""
    found = set(products(make_program(config), platform))
    assert (True, ASKED[config.matmul_precision]) in found
    assert found <= {(True, ASKED[config.matmul_precision]), (False, "HIGHEST")}


def small(agent: str, **options: Any) -> Config:
    widths = {"actor_hidden_dim": WIDTH, "critic_hidden_dim": WIDTH}
    settings = replace(registry.agent_settings(agent), **widths)
    return Config(agent=settings, **options)


@pytest.mark.parametrize("precision", mark_others(pytest.mark.slow, ["tensorfloat32"], ASKED))
def test_networks_are_computed_as_asked_for(precision):
    check(small("simba_v2", task="gymnax/Pendulum-v1", matmul_precision=precision), "tpu")


@pytest.mark.parametrize(
    "agent",
    mark_others(
        pytest.mark.slow, ("simba_v2",), [name for name in registry.AGENTS if name != "random"]
    ),
)
def test_it_holds_for_every_agent(agent):
    replay = ReplayConfig(prioritized=True, n_step=2)
    check(small(agent, task="gymnax/Pendulum-v1", replay=replay), "cuda")


@pytest.mark.slow
def test_physics_has_float32():
    config = small("simba_v2", task="dmc/hopper-hop", physics="mjx", matmul_precision="bfloat16")
    check(config, "tpu")

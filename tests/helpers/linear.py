"""Soft actor-critics of networks that a test writes down, and one of two matrices."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from purejax_simba import training
from purejax_simba.agents import sac
from purejax_simba.agents.agent import ActorCritic, Agent
from purejax_simba.agents.values import ScalarValue
from purejax_simba.runs import compiling
from purejax_simba.sweep.grouping import static_part


def soft_actor_critic(
    init_actor: Callable[[jax.Array], Any],
    init_critic: Callable[[jax.Array], Any],
    actor: Callable[..., Any],
    critic: Callable[..., jax.Array],
    num_critics: int,
) -> Agent:
    """SAC with other networks; `actor` and `critic` are those of `ActorCritic`."""
    value = ScalarValue()
    losses = (
        sac.actor_loss(actor, critic, value, jnp.min),
        sac.critic_loss(actor, critic, value, sac.smallest),
    )

    def init(key: jax.Array, hyperparameters: Any) -> Any:
        params = sac.init_networks(key, init_actor, init_critic, num_critics)
        return sac.State.create(*params, hyperparameters, target_critic=sac.copy(params[1]))

    return Agent(
        init,
        *sac.acting(actor),
        partial(sac.update, *losses, 1),
        ActorCritic(actor, critic, value, *losses),
    )


def make_agent(config: Any, environment: Any) -> Agent:
    """An agent of two matrices, for what does not depend on networks: it compiles in no time."""
    inputs, actions = environment.observation_size, environment.action_size

    def critic(params: Any, observation: jax.Array, action: jax.Array, _: Any) -> jax.Array:
        return jnp.concatenate([observation, action], axis=-1) @ params

    return soft_actor_critic(
        init_actor=lambda key: 0.1 * jax.random.normal(key, (inputs, actions)),
        init_critic=lambda key: 0.1 * jax.random.normal(key, (inputs + actions, 1)),
        actor=lambda params, x, _: (x @ params, jnp.full((*x.shape[:-1], actions), -1.0)),
        critic=critic,
        num_critics=1,
    )


@contextlib.contextmanager
def agents() -> Iterator[None]:
    """Programs made inside have the agent of two matrices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "make_agent", make_agent)
        yield


_compiled: dict[Any, Any] = {}


@contextlib.contextmanager
def compiled_once() -> Iterator[list[int]]:
    """The same with a compiled program for each number of runs, which is what takes time.

    Gives the numbers of runs for which a program was asked for, one after the other.
    """
    compile_program, asked = compiling.compile_program, []

    def compile_or_find(program: Any, mesh: Any, num_runs: int) -> Any:
        asked.append(num_runs)
        plain = dataclasses.replace(static_part(program.config), schedule="")
        key = (plain, mesh, num_runs)
        if key not in _compiled:
            _compiled[key] = compile_program(program, mesh, num_runs)
        return _compiled[key]

    with agents(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "compile_program", compile_or_find)
        yield asked

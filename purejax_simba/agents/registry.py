"""The agents by name.

An agent is a module with `DEFAULTS`, its settings, and `make(observation_size, action_size, ...)`,
whose keyword arguments are the settings of `AgentConfig` that shape its networks. Numbers that may
differ between the runs of a program come with `HyperParameters` instead.
"""

import dataclasses
import inspect
from types import ModuleType
from typing import Any

from purejax_simba.agents import bro, crossq, droq, random, redq, sac, simba, simba_v2, td3
from purejax_simba.agents.settings import AgentConfig, Defaults
from purejax_simba.agents.soft_actor_critic import SoftActorCritic

_MODULES: dict[str, ModuleType] = {
    "simba_v2": simba_v2,
    "simba": simba,
    "sac": sac,
    "redq": redq,
    "droq": droq,
    "crossq": crossq,
    "bro": bro,
    "td3": td3,
    "random": random,
}
NAMES = tuple(_MODULES)


def defaults(name: str) -> Defaults:
    """The settings that the agent of this name has in its paper."""
    return _MODULES[name].DEFAULTS


def make(observation_size: int, action_size: int, settings: AgentConfig) -> SoftActorCritic:
    """The agent for flat observations and actions of the given sizes, settings all known."""
    make_one = _MODULES[settings.name].make
    chosen: dict[str, Any] = {
        name: getattr(settings, name)
        for name, parameter in inspect.signature(make_one).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    agent = make_one(observation_size, action_size, **chosen)
    if settings.policy_delay is not None:
        agent = dataclasses.replace(agent, policy_delay=settings.policy_delay)
    return agent

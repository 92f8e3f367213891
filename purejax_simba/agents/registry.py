"""The agents by name.

An agent is a module with `DEFAULTS`, its settings, and `make(observation_size, action_size,
settings) -> Agent`. Settings shape networks; numbers that may differ between the runs of a program
come with `HyperParameters` instead.
"""

from types import ModuleType

from purejax_simba.agents import bro, crossq, droq, random_actions, redq, sac, simba, simba_v2, td3
from purejax_simba.agents.agent import Agent
from purejax_simba.agents.settings import AgentConfig, Defaults

_MODULES: dict[str, ModuleType] = {
    "simba_v2": simba_v2,
    "simba": simba,
    "sac": sac,
    "redq": redq,
    "droq": droq,
    "crossq": crossq,
    "bro": bro,
    "td3": td3,
    "random": random_actions,
}
NAMES = tuple(_MODULES)


def defaults(name: str) -> Defaults:
    """The settings that the agent of this name has in its paper."""
    return _MODULES[name].DEFAULTS


def make(observation_size: int, action_size: int, settings: AgentConfig) -> Agent:
    """The agent for flat observations and actions of the given sizes, settings all known."""
    return _MODULES[settings.name].make(observation_size, action_size, settings)

"""The agents by name.

An agent is a subclass of `AgentSettings`, with its name, all that it can be told and the numbers of
its paper, and `make(observation_size, action_size, settings)`. One of your own is in a module that
has its name and registers it: `load` imports the module, at the user's word alone.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from purejax_simba.agents import (
    bro,
    crossq,
    droq,
    flash_sac,
    random_actions,
    redq,
    sac,
    simba,
    simba_v2,
    td3,
)
from purejax_simba.agents.agent import Agent
from purejax_simba.agents.settings import AgentSettings
from purejax_simba.errors import ConfigError
from purejax_simba.settings import flag


class _Agent(NamedTuple):
    settings: type[AgentSettings]
    make: Callable[[int, int, Any], Agent]


AGENTS: dict[str, _Agent] = {}


def register(settings: type[AgentSettings], make: Callable[[int, int, Any], Agent]) -> None:
    """Makes an agent known under the name of its settings."""
    AGENTS[settings.name] = _Agent(settings, make)


register(simba_v2.SimbaV2, simba_v2.make)
register(simba.Simba, simba.make)
register(sac.SAC, sac.make)
register(redq.REDQ, redq.make)
register(droq.DroQ, droq.make)
register(crossq.CrossQ, crossq.make)
register(bro.BRO, bro.make)
register(td3.TD3, td3.make)
register(flash_sac.FlashSAC, flash_sac.make)
register(random_actions.Random, random_actions.make)


def agent_settings(name: str, **given: Any) -> AgentSettings:
    """Settings of the agent of this name; what is not given is as in its paper.

    Raises:
      ConfigError: for an unknown agent, or a setting that it does not have.
    """
    load(name)
    return _fill(_settings_of(name), given)


def load(name: str) -> None:
    """Imports the module that has the name of an agent, unless the agent is known already.

    Raises:
      ConfigError: if the module would end the program.
    """
    if name in AGENTS or not name.isidentifier():
        return
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise  # what it imports is missing
    except SystemExit as error:
        message = f"--agent.name {name}: importing {name} raised SystemExit: {error}"
        raise ConfigError(message) from error


def _settings_of(name: str) -> type[AgentSettings]:
    if name not in AGENTS:
        raise ConfigError(f"--agent.name is {name!r}: choose from {', '.join(AGENTS)}")
    return AGENTS[name].settings


def change(settings: AgentSettings, values: Mapping[str, Any]) -> AgentSettings:
    """The settings with other values, of another known agent where `name` is among them.

    What was given stays given; None takes it away.

    Raises:
      ConfigError: as `agent_settings`.
    """
    given = {**settings.given(), **values}
    name = given.pop("name")
    return _fill(type(settings) if name == settings.name else _settings_of(name), given)


def _fill(kind: type[AgentSettings], given: Mapping[str, Any]) -> AgentSettings:
    own = {}
    for setting, value in given.items():
        if setting in kind.__dataclass_fields__:
            own[setting] = value
        elif value is not None:
            refuse(kind.name, f"agent.{setting}", value)
    return kind(**own)


def refuse(agent: str, name: str, value: Any) -> None:
    """Raises the `ConfigError` for a setting, by dotted name, that the agent does not have."""
    raise ConfigError(f"{flag(name)} {value} is of no use to --agent.name {agent}: drop it")


def make(observation_size: int, action_size: int, settings: AgentSettings) -> Agent:
    """The agent for flat observations and actions of the given sizes, settings all known."""
    return AGENTS[settings.name].make(observation_size, action_size, settings)

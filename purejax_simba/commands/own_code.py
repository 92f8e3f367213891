"""What only the user's own command line may name, for commands that read a run."""

from dataclasses import dataclass
from typing import Annotated

import tyro


@dataclass(frozen=True)
class OwnCode:
    """Code of yours that a run needs."""

    task: str = ""
    """The task of the run, where it is your own: <module>:<id>."""
    agent: Annotated[str, tyro.conf.arg(name="agent.name")] = ""
    """The agent of the run, where it is your own."""
    host_python: str = ""
    """The interpreter for environments in worker processes, where the run had one."""

    def given(self) -> dict[str, str]:
        """As `load_policy` takes it."""
        named = {"task": self.task, "agent.name": self.agent, "host_python": self.host_python}
        return {name: value for name, value in named.items() if value}

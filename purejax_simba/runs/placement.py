"""Which runs there are, and which devices of which process compute each."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purejax_simba.agents.agent import HyperParameters
from purejax_simba.config import Config
from purejax_simba.defaults import hyperparameters
from purejax_simba.program import Program
from purejax_simba.runs import processes
from purejax_simba.runs.devices import (
    PER_RUN,
    join_runs,
    make_mesh,
    runs_at_a_time,
    spans_processes,
    split_runs,
)


class Inputs(NamedTuple):
    """What makes runs different from each other, with a leading axis of runs."""

    keys: jax.Array
    hyperparameters: HyperParameters


def make_inputs(configs: Sequence[Config], action_size: int) -> Inputs:
    """Keys and hyperparameters of the seeds of all configurations, one after the other."""
    keys = [jax.random.key(seed) for config in configs for seed in config.seeds]
    numbers: list[HyperParameters] = []
    for config in configs:
        numbers += [hyperparameters(config, action_size)] * config.num_seeds
    return Inputs(jnp.stack(keys), jax.tree.map(lambda *leaves: jnp.stack(leaves), *numbers))


@dataclasses.dataclass(frozen=True, eq=False)
class Placement:
    """The runs of a program, of one configuration or more, in groups that take turns.

    There is one group, except where `runs_at_a_time` says that a device is faster with one run.

    Attributes:
      inputs: of all runs.
      own: which of them are this process's, as indices.
      num_processes: among which the runs are shared: 1 if all of them compute all runs together.
      mesh: the devices of this process, or of all if they do.
      at_a_time: the size of a group.
    """

    inputs: Inputs
    own: np.ndarray
    num_processes: int
    mesh: jax.sharding.Mesh
    at_a_time: int

    @classmethod
    def choose(cls, program: Program, configs: Sequence[Config] = ()) -> "Placement":
        """Spreads runs over the devices that there are.

        Args:
          program: what all runs do.
          configs: resolved, and equal to the program's own but for hyperparameters, seeds and
            names; by default that one.
        """
        config = program.config
        inputs = make_inputs(configs or [config], program.environment.action_size)
        count = len(inputs.keys)
        together = spans_processes(config.devices_per_run)
        own = np.arange(count) if together else processes.share(count)
        mesh = make_mesh(len(own), config.devices_per_run)
        at_a_time = runs_at_a_time(len(own), mesh, config.batch_size, config.critic_width)
        return cls(inputs, own, 1 if together else jax.process_count(), mesh, at_a_time)

    @property
    def count(self) -> int:
        """The number of runs, in all processes together."""
        return len(self.inputs.keys)

    @functools.cached_property
    def groups(self) -> list[Inputs]:
        """The inputs of this process's runs, on their devices."""
        return self.split(self.inputs)

    def split(self, tree: Any, specs: Any = PER_RUN) -> list[Any]:
        """Groups, on their devices, of arrays with a leading axis of all runs."""
        own = jax.tree.map(lambda leaf: leaf[self.own], tree)
        return split_runs(own, self.at_a_time, self.mesh, specs)

    def join(self, groups: Sequence[Any]) -> Any:
        """The opposite of `split`: arrays of all runs, from numpy arrays of each group."""
        own = join_runs(groups, len(self.own))
        return own if self.num_processes == 1 else processes.gather(own, self.count)

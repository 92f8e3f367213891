"""What is known of a training before anything is compiled: that it can be, and where."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from purejax_simba import loggers
from purejax_simba.config import Config
from purejax_simba.runs import processes
from purejax_simba.runs.compiling import Compiler
from purejax_simba.runs.jobs import Job
from purejax_simba.runs.memory import check_memory
from purejax_simba.runs.placement import Placement
from purejax_simba.waiting import still


class Setup(NamedTuple):
    """What to train, and where it is computed.

    Attributes:
      compiler: of what all runs do.
      jobs: whose seeds are the runs.
      placement: of the runs.
      memory: bytes that they need in this process.
      end: interactions after which all of them end.
    """

    compiler: Compiler
    jobs: Sequence[Job]
    placement: Placement
    memory: int
    end: int

    @property
    def config(self) -> Config:
        """That of the program, in all that is not a job's own."""
        return self.compiler.program.config


@still("finding the memory that it takes", processes.say)
def set_up(compiler: Compiler, jobs: Sequence[Job], until: int | None = None) -> Setup:
    """Chooses devices and refuses what cannot be trained on them.

    Args:
      compiler: of the program of any of the jobs.
      jobs: with configurations that are equal but for hyperparameters, seeds and names.
      until: environment steps after which to stop; default: those of the configurations.

    Raises:
      ConfigError: if there is not enough memory, or a logger is missing, or the processes that
        train together have different configurations.
    """
    program, config = compiler.program, compiler.program.config
    processes.check_agreement(dataclasses.asdict(config))
    loggers.check(config)
    placement = Placement.choose(program, [job.config for job in jobs])
    memory = check_memory(
        program,
        placement.mesh.size,
        placement.at_a_time,
        placement.count,
        placement.num_processes,
    )
    end = (config.steps if until is None else until) // config.steps_per_interaction
    return Setup(compiler, jobs, placement, memory, end)

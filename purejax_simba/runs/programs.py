"""From a configuration to its program: with an environment, or with a dataset in its place."""

from purejax_simba import offline, training
from purejax_simba.config import Config
from purejax_simba.data.transitions import Transitions
from purejax_simba.datasets.dataset import check_spaces
from purejax_simba.datasets.loading import fill_in, load
from purejax_simba.program import Program
from purejax_simba.runs import processes
from purejax_simba.waiting import still


@still("making the environment", processes.say)
def make_program(config: Config) -> Program:
    """The program that a configuration asks for; reads its dataset, if it has one.

    Raises:
      ConfigError, envs.TaskError: for a configuration that cannot be run.
    """
    if not config.is_offline:
        return training.make_program(config)
    config = fill_in(config)
    dataset = load(config.offline.dataset)
    transitions = Transitions.create(
        observation=dataset.observation,
        action=dataset.action,
        reward=dataset.reward,
        terminated=dataset.terminated,
        ended=dataset.ended,
        next_observation=dataset.next_observation,
    )
    # Another copy in the memory of the host is of no more use.
    load.cache_clear()
    program = offline.make_program(config, transitions)
    check_spaces(dataset, program.environment, program.config.task)
    return program

"""Saving and restoring the trained policies of a run."""

from pathlib import Path
from typing import NamedTuple

import jax
import orbax.checkpoint as ocp

from purejax_simba.agents.soft_actor_critic import Params
from purejax_simba.config import ConfigError
from purejax_simba.hyperparameters import HyperParameters
from purejax_simba.normalisation import RunningMoments
from purejax_simba.training import Program

POLICY_DIRECTORY = Path("checkpoints") / "policy"


class Policy(NamedTuple):
    """What it takes to act; all leaves with a leading axis of runs."""

    actor: Params
    observation_moments: RunningMoments
    hyperparameters: HyperParameters


def save_policy(directory: Path, policy: Policy) -> None:
    """Writes the final policies of all runs under a run directory."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((directory / POLICY_DIRECTORY).absolute(), jax.device_get(policy))


def load_policy(directory: Path, program: Program) -> Policy:
    """Reads the policies that `save_policy` wrote.

    Raises:
      ConfigError: if there are none, or they do not fit the configuration.
    """
    path = (directory / POLICY_DIRECTORY).absolute()
    if not path.exists():
        raise ConfigError(f"{directory} holds no trained policy: its run did not finish")
    state = jax.eval_shape(program.init, jax.random.key(0), program.hyperparameters())
    one = Policy(state.agent.actor, state.observation_moments, program.hyperparameters())
    runs = program.config.num_seeds
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((runs, *x.shape), x.dtype), one)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(path, shapes)
    except (ValueError, KeyError) as error:
        message = str(error).splitlines()[0]
        raise ConfigError(f"{path} does not fit {directory}/config.json: {message}") from error

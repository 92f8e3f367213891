"""The trained policies of a run: saving, restoring and playing them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

import envs
from purejax_simba.agents.hyperparameters import HyperParameters
from purejax_simba.agents.soft_actor_critic import Params
from purejax_simba.config import Config, ConfigError, known
from purejax_simba.data.normalisation import RunningMoments
from purejax_simba.evaluation import EvaluationMetrics, evaluate, evaluation_policy
from purejax_simba.program import Program
from purejax_simba.runs.checkpoint import named_leaves, own_process_only, tree_of
from purejax_simba.runs.devices import PER_RUN, join_runs, make_mesh, map_runs, split_runs
from purejax_simba.runs.result_files import read_config
from purejax_simba.training import make_program

POLICY_DIRECTORY = Path("checkpoints") / "policy"


class Policy(NamedTuple):
    """What it takes to act; all leaves with a leading axis of runs."""

    actor: Params
    observation_moments: RunningMoments
    hyperparameters: HyperParameters


def save_policy(directory: Path, policy: Policy, slots: Sequence[int] | None = None) -> None:
    """Writes the final policies of all runs under a run directory.

    Args:
      directory: of the run.
      policy: of the runs.
      slots: where these belong among those that are there; default: in place of all.
    """
    policy = jax.device_get(policy)
    path = (directory / POLICY_DIRECTORY).absolute()
    with ocp.StandardCheckpointer(multiprocessing_options=own_process_only()) as checkpointer:
        if slots is not None and path.exists():
            count = len(jax.tree.leaves(checkpointer.restore(path))[0])
            known = checkpointer.restore(path, _shapes(policy, count))
            policy = jax.tree.map(lambda old, new: _with_rows(old, slots, new), known, policy)
        checkpointer.save(path, policy, force=True)


def _shapes(policy: Policy, count: int) -> Policy:
    """Shapes of so many policies like these."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype), policy)


def _with_rows(array: jax.Array, rows: Sequence[int], values: np.ndarray) -> np.ndarray:
    """The array, longer if need be, with other rows."""
    changed = np.zeros((max(len(array), *(row + 1 for row in rows)), *array.shape[1:]), array.dtype)
    changed[: len(array)] = array
    changed[list(rows)] = values
    return changed


def load_policy(directory: Path, program: Program) -> Policy:
    """Reads the policies that `save_policy` wrote.

    Raises:
      ConfigError: if there are none, or they do not fit the configuration.
    """
    path = (directory / POLICY_DIRECTORY).absolute()
    if not path.exists():
        raise ConfigError(
            f"{directory} holds no trained policy: its run did not finish (--resume goes on)"
        )
    state = jax.eval_shape(program.init, jax.random.key(0), program.hyperparameters())
    numbers = program.hyperparameters()
    one = Policy(state.agent.actor, state.observation_moments, numbers)
    runs = program.config.num_seeds
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((runs, *x.shape), x.dtype), one)
    known = {f"hyperparameters.{name}": x for name, x in named_leaves(numbers).items()}

    def fit(name: str, array: np.ndarray | None, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        if array is None and name in known:
            # A number that agents did not have when the policy was saved.
            return np.full(shape.shape, known[name], shape.dtype)
        found = "nothing" if array is None else f"{array.dtype}{array.shape}"
        raise ConfigError(
            f"{path} does not fit {directory}/config.json: {name} is {found}, and "
            f"{shape.dtype}{shape.shape} is needed"
        )

    with ocp.StandardCheckpointer() as checkpointer:
        saved = checkpointer.restore(path)
    return tree_of(named_leaves(saved), shapes, fit)


def evaluate_run(directory: Path, num_episodes: int | None = None) -> dict[int, dict[str, float]]:
    """Plays the trained policies of a run directory; seed -> metrics over new episodes.

    Raises:
      ConfigError: if the directory holds no finished run.
      envs.HostEnvironmentError: if an environment fails.
    """
    config = replace(read_config(directory), devices_per_run=1)
    if num_episodes is not None:
        config = replace(config, num_evaluation_episodes=num_episodes)
    program = make_program(config)
    policy = load_policy(directory, program)
    episodes = known(program.config.num_evaluation_episodes)

    def play(key: jax.Array, policy: Policy) -> EvaluationMetrics:
        act = evaluation_policy(program.config, program.agent, *policy)
        return evaluate(program.environment, act, key, episodes)

    # Other episodes than those of training.
    seeds = config.seeds
    keys = jnp.stack([jax.random.fold_in(jax.random.key(seed), 1) for seed in seeds])
    mesh = make_mesh(config.num_seeds)
    play_all = map_runs(play, mesh, (PER_RUN, PER_RUN))
    with envs.clear_errors():
        groups = split_runs((keys, policy), mesh.size, mesh)
        played = [jax.device_get(play_all(*group)) for group in groups]
    metrics = join_runs(played, config.num_seeds)
    return {
        seed: {name: float(value[index]) for name, value in metrics._asdict().items()}
        for index, seed in enumerate(seeds)
    }


def load_act(directory: Path) -> tuple[Config, Callable[[jax.Array], jax.Array]]:
    """The configuration of a finished run, and the policy of its first seed.

    Returns:
      The configuration, and the function from an observation `(O,)` to an action `(A,)`.

    Raises:
      ConfigError: if the directory holds no finished run.
    """
    config = read_config(directory)
    program = make_program(config)
    policies = load_policy(directory, program)
    first = jax.tree.map(lambda leaf: leaf[0], policies)
    policy = evaluation_policy(program.config, program.agent, *first)
    return config, lambda observation: policy(observation, jax.random.key(config.seed))

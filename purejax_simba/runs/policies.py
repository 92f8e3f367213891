"""The trained policies of a run: saving, reading, playing, and giving them to users."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import envs
from purejax_simba import trust
from purejax_simba.agents.agent import HyperParameters, Params
from purejax_simba.config import Config, ConfigError, known
from purejax_simba.data.normalisation import RunningMoments
from purejax_simba.defaults import actor_observation_size
from purejax_simba.evaluation import EvaluationMetrics, evaluation_policy
from purejax_simba.evaluation import evaluate as play_episodes
from purejax_simba.precision import Precision
from purejax_simba.program import Program
from purejax_simba.runs.checkpoint import named_leaves, read_arrays, tree_of, write_arrays
from purejax_simba.runs.compiling import without_alarms
from purejax_simba.runs.devices import PER_RUN, make_mesh, map_runs, shapes_of_runs, split_runs
from purejax_simba.runs.result_files import read_config
from purejax_simba.training import make_program
from purejax_simba.waiting import count_of, still

POLICY_DIRECTORY = Path("checkpoints") / "policy"


class Policy(NamedTuple):
    """What it takes to act; of several runs, all leaves with a leading axis of runs."""

    actor: Params
    observation_moments: RunningMoments
    hyperparameters: HyperParameters


def save_policies(directory: Path, policy: Policy, places: Sequence[int] | None = None) -> None:
    """Writes the final policies of all runs under a run directory.

    `places` says where these belong among those that are there; default: in place of all.

    Raises:
      CheckpointError: if they cannot be written.
    """
    policy = jax.device_get(policy)
    path = directory / POLICY_DIRECTORY
    if places is not None and path.exists():
        known = tree_of(read_arrays(path), policy, lambda _, array, __: array)
        policy = jax.tree.map(lambda old, new: _with_rows(old, places, new), known, policy)
    write_arrays(path, named_leaves(policy))


def _with_rows(array: np.ndarray, rows: Sequence[int], values: np.ndarray) -> np.ndarray:
    """The array, longer if need be, with other rows."""
    changed = np.zeros((max(len(array), *(row + 1 for row in rows)), *array.shape[1:]), array.dtype)
    changed[: len(array)] = array
    changed[list(rows)] = values
    return changed


@still("loading the policies")
def load_policies(directory: Path, config: Config) -> tuple[Program, Policy]:
    """The program of a configuration, and the policies of a run directory that fit it.

    Raises:
      ConfigError, envs.TaskError: if there are none, or the program cannot be made here.
    """
    program = make_program(config)
    return program, read_policies(directory, program)


def read_policies(directory: Path, program: Program) -> Policy:
    """The policies of all seeds that `save_policies` wrote; refuses what does not fit."""
    path = directory / POLICY_DIRECTORY
    if not path.exists():
        raise ConfigError(
            f"{directory} holds no trained policy: its run did not finish (--resume goes on)"
        )

    def of_one() -> Policy:
        numbers = program.hyperparameters()
        agent = program.agent.init(jax.random.key(0), numbers)
        moments = RunningMoments.create(program.environment.observation_size)
        return Policy(agent.actor, moments, numbers)

    def refuse(name: str, array: np.ndarray | None, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        found = "nothing" if array is None else f"{array.dtype}{array.shape}"
        raise ConfigError(
            f"{path} does not fit {directory}/config.json: {name} is {found}, and "
            f"{shape.dtype}{shape.shape} is needed"
        )

    shapes = shapes_of_runs(jax.eval_shape(of_one), program.config.num_seeds)
    command = trust.train_command(f"--resume {shlex.quote(str(directory))}", program.config)
    advice = f"restore it from a copy, or write it anew: {command}"
    return tree_of(read_arrays(path, advice), shapes, refuse)


def finished_run(directory: Path, given: Mapping[str, Any] | None = None) -> Config:
    """The configuration of a run whose policies are to be played; as `load_policy`."""
    given = given or {}
    config = read_config(directory, {"loggers": (), **given})
    if not trust.is_same_task(given.get("task", config.task), config.task):
        raise ConfigError(f"{directory} was trained on {config.task}: give that, or no other task")
    name = config.agent.name
    if given.get("agent.name", name) != name:
        raise ConfigError(f"{directory} was trained with {name}: give that, or no other agent")
    return replace(config, devices_per_run=1)


def evaluate(
    directory: Path | str, num_episodes: int | None = None, given: Mapping[str, Any] | None = None
) -> dict[int, dict[str, float]]:
    """Plays the trained policies of a run directory in new episodes.

    Args:
      directory: of a finished run.
      num_episodes: of each seed; default: as many as in an evaluation of the run.
      given: see `load_policy`.

    Returns:
      Seed -> means over its episodes: `avg_return`, `avg_length` (in interactions) and
      `avg_success`.

    Raises:
      ConfigError: if the directory holds no finished run, or names code that is not here.
      envs.HostEnvironmentError: if an environment fails.
    """
    return dict(evaluate_in_turn(directory, num_episodes, given))


def evaluate_in_turn(
    directory: Path | str, num_episodes: int | None = None, given: Mapping[str, Any] | None = None
) -> Iterator[tuple[int, dict[str, float]]]:
    """What `evaluate` returns, seed by seed as they are played, as many at a time as devices."""
    directory = Path(directory)
    config = finished_run(directory, given)
    if num_episodes is not None:
        config = replace(config, num_evaluation_episodes=num_episodes)
    program, policy = load_policies(directory, config)
    episodes = known(program.config.num_evaluation_episodes)

    def play(key: jax.Array, policy: Policy) -> EvaluationMetrics:
        act = evaluation_policy(program.config, program.agent, *policy)
        return play_episodes(program.environment, act, key, episodes)

    # Other episodes than those of training.
    seeds = config.seeds
    keys = jnp.stack([jax.random.fold_in(jax.random.key(seed), 1) for seed in seeds])
    mesh = make_mesh(config.num_seeds)
    groups = split_runs((keys, policy), mesh.size, mesh)
    with still("compiling the evaluation"), without_alarms():
        play_all = map_runs(play, mesh, (PER_RUN, PER_RUN)).lower(*groups[0]).compile()
    for number, group in enumerate(groups):
        first = number * mesh.size
        with envs.clear_errors(), still("playing") as note:
            note(f"{first} of {count_of(len(seeds), 'seed')}, {count_of(episodes, 'episode')} each")
            metrics = jax.device_get(play_all(*group))._asdict()
        for index, seed in enumerate(seeds[first : first + mesh.size]):
            yield seed, {name: float(value[index]) for name, value in metrics.items()}


class TrainedPolicy:
    """The policy of one seed, as evaluations play it: a function from observation to action.

    It takes raw observations `(..., O)`, normalises them as in training, and returns actions
    `(..., A)` in [-1, 1], the range of every task here. An environment with bounds of its own
    takes `low + (action + 1) / 2 * (high - low)`.

    From numpy arrays it computes numpy arrays, compiled once for every shape; from JAX arrays JAX
    arrays, inside `jax.jit` and `jax.vmap` too.

    Attributes:
      config: of its run, resolved.
      seed: that it was trained with.
      environment: of its task, without automatic reset.
      observation_size, action_size: O and A.
      actor_observation_size: how many entries of an observation, the first ones, it looks at.
    """

    def __init__(self, program: Program, policy: Policy, seed: int):
        """`policy` is that of this seed alone."""
        self.config, self.seed = program.config, seed
        self.environment = program.environment
        self.observation_size = self.environment.observation_size
        self.action_size = self.environment.action_size
        self.actor_observation_size = actor_observation_size(self.config, self.environment)
        self._key = jax.random.key(seed)
        self._act = jax.jit(evaluation_policy(program.config, program.agent, *policy))

    def __call__(self, observation: Any, key: jax.Array | None = None) -> Any:
        """The actions for these observations.

        Args:
          observation: `(..., O)`.
          key: for an agent that draws its actions in evaluations too, as `random` does; the same
            in every call by default.

        Raises:
          ConfigError: if observations are of another size.
        """
        shape = np.shape(observation)
        if shape[-1:] != (self.observation_size,):
            raise ConfigError(
                f"an observation of {self.config.task} is {self.observation_size} numbers, and "
                f"{shape} was given: the last axis has to be that of the observation"
            )
        key = self._key if key is None else key
        if isinstance(observation, jax.Array):
            return self._act(observation, key)
        return np.asarray(self._act(np.asarray(observation, np.float32), key))


def load_policy(
    directory: Path | str,
    seed: int | None = None,
    given: Mapping[str, Any] | None = None,
    precision: Precision | None = None,
) -> TrainedPolicy:
    """The policy that a finished run has trained.

    A task or an agent of your own has to be known: import its module first.

    Args:
      directory: of the run.
      seed: which; default: the first.
      given: what files may not say themselves, such as `{"host_python": path}`, the interpreter
        for environments in worker processes.
      precision: of matrix products, see `Config.matmul_precision`; default: that of the run.

    Raises:
      ConfigError: if the directory holds no finished run, none of this seed, or names code that
        is not here.
      envs.TaskError: if its task is not installed here.
    """
    directory = Path(directory)
    config = finished_run(directory, given)
    config = replace(config, matmul_precision=precision or config.matmul_precision)
    seed = config.seed if seed is None else seed
    if seed not in config.seeds:
        raise ConfigError(
            f"no seed {seed}: {directory} has seeds {config.seed} to {config.seeds[-1]}"
        )
    program, policies = load_policies(directory, config)
    own = jax.tree.map(lambda leaf: leaf[seed - config.seed], policies)
    return TrainedPolicy(program, own, seed)

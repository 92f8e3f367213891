"""A whole experiment: compile, train in chunks, evaluate, write files."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import envs
from purejax_simba import checkpoint, logging
from purejax_simba.config import Config, ConfigError
from purejax_simba.evaluation import EvaluationMetrics, evaluate
from purejax_simba.interruption import StopRequest, stop_requests
from purejax_simba.parallel import make_mesh, map_runs
from purejax_simba.preflight import GIB, check_memory
from purejax_simba.progress import ProgressDisplay, spread
from purejax_simba.runs import Runs
from purejax_simba.training import evaluation_policy, make_program

CHUNK_SECONDS = 1.0
FIRST_CHUNK = 8


def run(config: Config) -> Path:
    """Trains all seeds of a configuration and writes their results.

    SIGINT (Ctrl-C) and SIGTERM end the training after the chunk under way, at most seconds later.
    What was trained until then is kept: the policies, the curve and all evaluations.

    Returns:
      The run directory.

    Raises:
      ConfigError, envs.TaskError: before anything is compiled, for what cannot work.
      SystemExit: after a signal, with the status that shells give it (130, 143).
      envs.HostEnvironmentError: if an environment fails; the results so far are in the files.
    """
    program = make_program(config)
    runs = Runs(program)
    memory = check_memory(program, runs.mesh.size, runs.at_a_time)
    directory = logging.create_run_directory(program.config)
    with envs.clear_errors():
        return _Experiment(program.config, runs, memory, directory).run()


class _Experiment:
    def __init__(self, config: Config, runs: Runs, memory: int, directory: Path):
        self.config = config
        self.runs = runs
        self.memory = memory
        self.directory = directory
        self.seeds = range(config.seed, config.seed + config.num_seeds)
        self.metrics = logging.MetricsFile(directory, config)
        self.display = ProgressDisplay(config.total_env_steps)
        self.interactions = 0
        self.reported_divergence: set[int] = set()

    def run(self) -> Path:
        try:
            self._announce()
            begin = time.monotonic()
            self.runs.compile()
            self.display.say(f"compiled in {time.monotonic() - begin:.1f} s")
            begin = time.monotonic()
            with stop_requests() as request:
                self._train(request)
            seconds = time.monotonic() - begin
        finally:
            self.display.close()
        actor, moments = self.runs.get(lambda state: (state.agent.actor, state.observation_moments))
        policy = checkpoint.Policy(actor, moments, self.runs.inputs.hyperparameters)
        checkpoint.save_policy(self.directory, policy)
        logging.draw_curve(self.directory, self.config)
        ended = "trained"
        if request.signal is not None:
            ended = f"stopped at env step {self._env_step():,} by {request.signal.name}, trained"
        self.display.say(f"{ended} in {seconds:.1f} s; results are in {self.directory}")
        if request.signal is not None:
            raise SystemExit(128 + request.signal)
        return self.directory

    def _announce(self) -> None:
        config = self.config
        self.display.say(
            f"{config.task}: {config.num_seeds} seeds on {self.runs.mesh.size} "
            f"{jax.default_backend()} device(s), {self.memory / GIB:.2f} GiB; compiling ..."
        )

    def _train(self, request: StopRequest) -> None:
        self.runs.start()
        self._evaluate()
        chunk = FIRST_CHUNK
        while self.interactions < self.config.interactions and request.signal is None:
            size = min(chunk, self._next_boundary() - self.interactions)
            updates = self._updates()
            begin = time.monotonic()
            self.runs.advance(size)
            seconds = time.monotonic() - begin
            self.interactions += size
            self._show(size, self._updates() - updates, seconds)
            chunk = max(1, min(2 * chunk, int(size * CHUNK_SECONDS / seconds)))
            if self.interactions == self._first_update():
                chunk = FIRST_CHUNK  # with updates an interaction takes far longer
            if self.interactions % self.config.interactions_per_evaluation == 0:
                self._evaluate()

    def _next_boundary(self) -> int:
        """The interaction at which a chunk must end: an evaluation, or the first update."""
        interval = self.config.interactions_per_evaluation
        boundary = (self.interactions // interval + 1) * interval
        start = self._first_update()
        return start if self.interactions < start < boundary else boundary

    def _first_update(self) -> int:
        return self.config.learning_starts // self.config.num_environments

    def _env_step(self) -> int:
        """Environment steps taken so far, per seed."""
        return self.interactions * self.config.steps_per_interaction

    def _updates(self) -> int:
        return int(self.runs.get(lambda state: state.agent.updates).sum())

    def _show(self, interactions: int, updates: int, seconds: float) -> None:
        env_steps = interactions * self.config.steps_per_interaction * self.config.num_seeds
        self.display.update(
            self._env_step(),
            env_steps / seconds,
            updates / seconds,
            self.runs.get(lambda state: state.progress.last_return),
        )

    def _evaluate(self) -> None:
        metrics = self.runs.evaluate()
        progress = self.runs.get(lambda state: state.progress)
        env_step = self._env_step()
        rows: dict[int, dict[str, float]] = {}
        for index, seed in enumerate(self.seeds):
            if progress.diverged_at[index] >= 0:
                self._report_divergence(seed, int(progress.diverged_at[index]))
                continue
            rows[seed] = _row(index, metrics, progress)
        self.metrics.write(env_step, rows)
        returns = np.array([row["avg_return"] for row in rows.values()])
        self.display.say(f"{env_step:>9,} env steps: evaluation return {spread(returns)}")
        if not rows:
            raise ConfigError(
                "every run diverged: lower --agent.learning-rate, or check the task's rewards"
            )

    def _report_divergence(self, seed: int, interaction: int) -> None:
        if seed not in self.reported_divergence:
            self.reported_divergence.add(seed)
            env_step = interaction * self.config.steps_per_interaction
            self.display.say(
                f"seed {seed} diverged at env step {env_step:,}: its results end there"
            )


def _row(index: int, metrics: EvaluationMetrics, progress: Any) -> dict[str, float]:
    row = {name: float(value[index]) for name, value in metrics._asdict().items()}
    updates = int(progress.updates[index])
    if updates:
        sums = progress.update_sums._asdict()
        row |= {name: float(total[index]) / updates for name, total in sums.items()}
    return row


def evaluate_run(directory: Path, num_episodes: int | None = None) -> dict[int, dict[str, float]]:
    """Plays the trained policies of a run directory; seed -> metrics over new episodes.

    Raises:
      ConfigError: if the directory holds no finished run.
      envs.HostEnvironmentError: if an environment fails.
    """
    config = logging.read_config(directory)
    if num_episodes is not None:
        config = replace(config, num_evaluation_episodes=num_episodes)
    program = make_program(config)
    policy = checkpoint.load_policy(directory, program)

    def play(key: jax.Array, policy: checkpoint.Policy) -> EvaluationMetrics:
        act = evaluation_policy(config, program.agent, *policy)
        return evaluate(program.environment, act, key, config.num_evaluation_episodes)

    seeds = range(config.seed, config.seed + config.num_seeds)
    # Other episodes than those of training.
    keys = jnp.stack([jax.random.fold_in(jax.random.key(seed), 1) for seed in seeds])
    play_all = map_runs(play, make_mesh(config.num_seeds), (0, 0))
    with envs.clear_errors():
        metrics = jax.device_get(play_all(keys, policy))
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
    config = logging.read_config(directory)
    program = make_program(config)
    policies = checkpoint.load_policy(directory, program)
    first = jax.tree.map(lambda leaf: leaf[0], policies)
    return config, evaluation_policy(program.config, program.agent, *first)

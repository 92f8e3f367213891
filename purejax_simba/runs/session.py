"""Training jobs from where they start: compile, train in chunks, evaluate, write files."""

import contextlib
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import envs
from purejax_simba.config import Config, ConfigError
from purejax_simba.defaults import not_in_recipe
from purejax_simba.diagnostics import Metrics
from purejax_simba.runs import processes
from purejax_simba.runs.checkpoint import STATE_DIRECTORY, CheckpointWriter, Notes
from purejax_simba.runs.compiling import Compiler
from purejax_simba.runs.devices import Placement, spans_processes
from purejax_simba.runs.jobs import Job, JobFiles, open_files
from purejax_simba.runs.memory import GIB, clear_memory_errors
from purejax_simba.runs.policies import Policy
from purejax_simba.runs.runs import Runs
from purejax_simba.runs.schedule import Plan
from purejax_simba.runs.session_record import SessionRecord
from purejax_simba.runs.starting import Start
from purejax_simba.stopping import StopRequest, stop_requests
from purejax_simba.training import WITHHELD, Report
from purejax_simba.trust import modules
from purejax_simba.waiting import ProgressDisplay, count_of, spread, still

CHUNK_SECONDS = 1.0
FIRST_CHUNK = 8


class AllDivergedError(ConfigError):
    """No run is left to train."""


def first_configs(jobs: Sequence[Job], plan: Plan | None) -> Sequence[Config]:
    """The configurations with which jobs begin, one each."""
    return plan.first if plan else [job.config for job in jobs]


class Setup(NamedTuple):
    """What to train, and where it is computed.

    Attributes:
      compiler: of what all runs do.
      jobs: whose seeds are the runs.
      placement: of the runs.
      memory: bytes that they need in this process.
      end: interactions after which all of them end.
      plan: says when hyperparameters change; None: never.
    """

    compiler: Compiler
    jobs: Sequence[Job]
    placement: Placement
    memory: int
    end: int
    plan: Plan | None = None

    @property
    def config(self) -> Config:
        """That of the program, in all that is not a job's own."""
        return self.compiler.program.config

    @property
    def first(self) -> Sequence[Config]:
        """With which the jobs begin to train."""
        return first_configs(self.jobs, self.plan)


def train_jobs(setup: Setup, start: Start, directory: Path, advice: str) -> None:
    """Trains all jobs to their end, or until a signal, and writes their files.

    Args:
      setup: what to train.
      start: from where.
      directory: for the checkpoints.
      advice: how to go on after an interruption.

    Raises:
      SystemExit: after a signal, with the status that shells give it.
      And what `experiment.train` raises.
    """
    config, num_runs = setup.config, setup.placement.count
    steps = setup.end * config.steps_per_interaction
    display = ProgressDisplay(steps, config.step_name, processes.is_first())
    with still("opening files and loggers", processes.say):
        files = open_files(setup.jobs, start.metrics_bytes)
    directories = [job.directory for job in setup.jobs]
    first_step = start.interactions * config.steps_per_interaction
    with (
        SessionRecord(
            directories,
            num_runs,
            first_step,
            config.matmul_precision,
            modules(config),
            setup.compiler.program.environment.engine,
        ) as record,
        processes.clear_errors(spans_processes(config.devices_per_run)),
        envs.clear_errors(),
        clear_memory_errors(setup.compiler.program, num_runs),
        CheckpointWriter(directory / STATE_DIRECTORY, config.checkpoint.keep) as checkpoints,
        contextlib.ExitStack() as in_order,
    ):
        with contextlib.ExitStack() as closing:
            closing.callback(display.close)
            for each in files:
                closing.callback(each.close)
            if start.interactions < setup.end:
                compile_program(setup, display)
            begin = time.monotonic()
            request = in_order.enter_context(stop_requests("the chunk under way"))
            runs = start.begin(setup.compiler, setup.placement, display.say)
            if setup.plan is not None:
                setup.plan.begin(runs, start)
            session = Session(setup, runs, files, checkpoints, record, display)
            try:
                session.run(request, is_new=start.checkpoint is None)
            except AllDivergedError:
                session.complete()
                _save_policies(runs, files)  # as of seeds that diverged beside others
                raise
            seconds = time.monotonic() - begin
            session.complete()
        _save_policies(runs, files)
        _, stopped_by = _agree(0.0, request)
        how_far = "trained"
        if stopped_by and session.interactions < setup.end:
            how_far = f"stopped after {session.count().strip()} by {stopped_by.name}, trained"
        where = f"results are in {directories[0]}"
        if len(directories) > 1:
            where += f" ... {directories[-1]}"
        display.say(f"{how_far} in {seconds:.1f} s; {where}")
        if stopped_by:
            if config.interactions_per_checkpoint:
                display.say(f"to go on: {advice}")
            raise SystemExit(128 + stopped_by)


def compile_program(setup: Setup, display: ProgressDisplay) -> None:
    """Compiles the program, and says so before and after."""
    placement, task = setup.placement, setup.config.task
    of_several = f" of {len(setup.jobs)} configurations" if len(setup.jobs) > 1 else ""
    is_known = setup.compiler.has_compiled(placement)
    devices = count_of(placement.mesh.size, f"{jax.default_backend()} device")
    display.say(
        f"{task}: {count_of(placement.count, 'run')}{of_several} on {devices}, "
        f"{setup.memory / GIB:.2f} GiB; {setup.compiler.expectation(placement)}"
    )
    if missing := not_in_recipe(setup.config):
        display.say(missing)
    for remark in envs.remarks(task, setup.compiler.program.environment.engine):
        display.say(remark)
    begin = time.monotonic()
    with still(f"compiling {task}", processes.say):
        setup.compiler.compile(placement)
    if not is_known:
        display.say(f"compiled in {time.monotonic() - begin:.1f} s")


@still("writing the results", processes.say)
def _save_policies(runs: Runs, files: Sequence[JobFiles]) -> None:
    actor, moments = runs.get(lambda state: (state.agent.actor, state.observation_moments))
    policy = Policy(actor, moments, jax.device_get(runs.hyperparameters))
    for each in files:
        each.finish(policy)


class Session:
    """The loop over chunks, and what comes between them: evaluations and checkpoints.

    Attributes:
      runs: which it advances.
      interactions: taken by each of them.
    """

    def __init__(
        self,
        setup: Setup,
        runs: Runs,
        files: Sequence[JobFiles],
        checkpoints: CheckpointWriter,
        record: SessionRecord,
        display: ProgressDisplay,
    ):
        """Begins where the runs are."""
        self.config, self.end, self.plan = setup.config, setup.end, setup.plan
        self.runs, self.files, self.checkpoints = runs, files, checkpoints
        self.record, self.display = record, display
        self.interactions = int(runs.counters.interactions)
        self._has_reported_withheld = self._has_saved = False

    def run(self, request: StopRequest, is_new: bool) -> None:
        """Trains to the end, or until a signal; what is new is evaluated before."""
        chunk, updates = FIRST_CHUNK, self._updates()
        self.record.training_begins(updates)
        if is_new:
            self._change(self._evaluate())
        _, stopped_by = _agree(0.0, request)
        while self.interactions < self.end and stopped_by is None:
            size = min(chunk, self._next_boundary() - self.interactions)
            begin = time.monotonic()
            with still("training", processes.say):
                self.runs.advance(size)
            seconds = time.monotonic() - begin
            self.interactions += size
            before, updates = updates, self._updates()
            self._show(size, updates - before, seconds)
            returns = None
            if self.interactions % self.config.interactions_per_evaluation == 0:
                returns = self._evaluate()
            self._change(returns)
            seconds, stopped_by = _agree(seconds, request)
            if self._is_checkpoint(stopped_by is not None):
                self._save()
            self._hand_over()
            chunk = max(1, min(2 * chunk, int(size * CHUNK_SECONDS / seconds)))
            if self.interactions == self.config.interactions_before_updates:
                chunk = FIRST_CHUNK  # with updates an interaction takes far longer
        if stopped_by and not self._has_saved and self.config.interactions_per_checkpoint:
            self._save()

    @still("writing the results", processes.say)
    def complete(self) -> None:
        """Gives the files and the loggers all that there is so far."""
        self.record.update(self._env_step(), self._updates())
        # Two writers at once have been seen to wait for each other in orbax.
        self.checkpoints.wait()
        self._hand_over()

    def count(self) -> str:
        """How far it is, in words."""
        return f"{self._env_step():>9,} {self.config.step_name}"

    def _env_step(self) -> int:
        """Environment steps taken so far, per seed."""
        return self.interactions * self.config.steps_per_interaction

    def _updates(self) -> int:
        return int(self.runs.get(lambda state: state.agent.updates).sum())

    def _next_boundary(self) -> int:
        """The interaction at which a chunk must end."""
        config = self.config
        intervals = (config.interactions_per_evaluation, config.interactions_per_checkpoint)
        ends = [(self.interactions // i + 1) * i for i in intervals if i]
        if self.plan is not None:
            ends.append(self.plan.next_change(self.interactions))
        start = self.config.interactions_before_updates
        return min([*ends, self.end, *([start] if self.interactions < start else [])])

    def _change(self, returns: np.ndarray | None) -> None:
        """Makes the change of hyperparameters that is due here, if one is."""
        plan = self.plan
        if plan is not None and plan.next_change(self.interactions - 1) == self.interactions:
            self.display.say(
                f"{self.count()}: {plan.change(self.runs, self.interactions, returns)}"
            )

    def _is_checkpoint(self, is_stopped: bool) -> bool:
        interval = self.config.interactions_per_checkpoint
        last = self.interactions == self.end or is_stopped
        return interval > 0 and (last or self.interactions % interval == 0)

    @still("writing a checkpoint", processes.say)
    def _save(self) -> None:
        self._has_saved = True
        # Where a run goes on from here, what it took so far must be known.
        self.record.update(self._env_step(), self._updates())
        with_replay = self.config.checkpoint.replay
        snapshot = self.runs.snapshot(with_replay)
        if not processes.is_first():
            return
        notes: Notes = {
            "interactions": self.interactions,
            "replay": with_replay,
            "metrics_bytes": [each.metrics_bytes() for each in self.files],
            "num_seeds": [each.job.config.num_seeds for each in self.files],
        }
        arrays = snapshot.named() | (self.plan.arrays() if self.plan is not None else {})
        self.checkpoints.save(self._env_step(), arrays, notes)

    @still("telling the loggers", processes.say)
    def _hand_over(self) -> None:
        """Gives loggers what cannot change any more; what never goes on, at once."""
        has_checkpoints = self.config.interactions_per_checkpoint > 0
        final = self.checkpoints.newest if has_checkpoints else self._env_step()
        for each in self.files:
            each.hand_over(final)

    def _show(self, interactions: int, updates: int, seconds: float) -> None:
        env_steps = interactions * self.config.steps_per_interaction * self.runs.placement.count
        self.display.update(
            self._env_step(),
            env_steps / seconds,
            updates / seconds,
            self.runs.get(lambda state: state.progress.last_return),
        )

    @still("evaluating", processes.say)
    def _evaluate(self) -> np.ndarray:
        """Returns of all runs, `(runs,)`, NaN of those that have diverged."""
        progress = self.runs.get(lambda state: state.progress)
        report = Report(self.runs.evaluate(), progress, self.runs.diagnose())
        env_step = self._env_step()
        returns: list[float] = []
        for each in self.files:
            returns += each.write(env_step, report).values()
            name = f"{each.job.config.experiment}, " if len(self.files) > 1 else ""
            for trouble in each.troubles(env_step, report):
                self.display.say(name + trouble)
        self._report_withheld(report.diagnostics)
        self.record.update(env_step, self._updates())
        self._hand_over()
        line = f"{self.count()}: evaluation return {spread(np.array(returns))}"
        known = int(np.isfinite(returns).sum())
        if 0 < known < self.runs.placement.count:
            line += f" ({known} of {self.runs.placement.count} runs)"
        self.display.say(line)
        if not returns:
            raise AllDivergedError(
                "every run diverged: lower --agent.learning-rate, or check the task's rewards"
            )
        return np.where(progress.diverged_at < 0, report.evaluation.avg_return, np.nan)

    def _report_withheld(self, diagnostics: Metrics) -> None:
        most = int(np.max(diagnostics.get(WITHHELD, 0)))
        if most and not self._has_reported_withheld:
            self._has_reported_withheld = True
            interval = self.config.replay.truncation_interval
            self.display.say(
                f"{count_of(most, 'transition')} of a seed are in the replay and are not drawn: "
                f"episodes are truncated more often than every {interval} steps; give a smaller "
                "--replay.truncation-interval"
            )


def _agree(seconds: float, request: StopRequest) -> tuple[float, signal.Signals | None]:
    """The longest time and the signal of all processes, which then go on or stop together."""
    longest, number = processes.largest(seconds, request.signal or 0)
    return longest, signal.Signals(int(number)) if number else None

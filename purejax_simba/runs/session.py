"""Training runs from where they are: compile, train in chunks, evaluate, write files."""

import dataclasses
import math
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

import envs
from purejax_simba import loggers
from purejax_simba.config import Config, ConfigError, Part, known
from purejax_simba.defaults import not_in_recipe
from purejax_simba.diagnostics import Metrics
from purejax_simba.runs import processes, resuming, starting
from purejax_simba.runs.checkpoint import STATE_DIRECTORY, Checkpoint, CheckpointWriter
from purejax_simba.runs.devices import spans_processes
from purejax_simba.runs.interruption import StopRequest, stop_requests
from purejax_simba.runs.members import Entry, make_members
from purejax_simba.runs.memory import GIB, check_memory, clear_memory_errors
from purejax_simba.runs.policies import Policy
from purejax_simba.runs.progress import ProgressDisplay, spread
from purejax_simba.runs.runs import Compiler, Runs
from purejax_simba.runs.session_record import SessionRecord
from purejax_simba.training import WITHHELD
from purejax_simba.waiting import still

CHUNK_SECONDS = 1.0
FIRST_CHUNK = 8


class AllDivergedError(ConfigError):
    """No run is left to train."""


class Session:
    """From compilation to the last file, or until a signal.

    Attributes:
      config: resolved.
      runs: all of them.
      end: interactions after which it ends.
      reset: parts of the agent that begin anew after a checkpoint.
      beginning: arrays that the state begins with, by name.
    """

    @still("finding the memory that it takes", processes.say)
    def __init__(
        self,
        compiler: Compiler,
        configs: Sequence[Config] = (),
        until: int | None = None,
    ):
        """Refuses what does not fit the memory.

        Args:
          compiler: of what all runs do.
          configs: see `Runs`.
          until: environment steps after which to stop.
        """
        self.compiler = compiler
        program = compiler.program
        self.program, self.config = program, program.config
        processes.check_agreement(dataclasses.asdict(self.config))
        loggers.check(self.config)
        steps = self.config.steps if until is None else until
        self.end = steps // self.config.steps_per_interaction
        self.runs = Runs(program, configs, compiler)
        self.memory = check_memory(
            program,
            self.runs.mesh.size,
            self.runs.at_a_time,
            self.runs.count,
            self.runs.num_processes,
        )
        self.display = ProgressDisplay(steps, self.config.step_name, processes.is_first())
        self.interactions = 0
        self.reset: Sequence[Part] = ()
        self.beginning: dict[str, np.ndarray] = {}
        self.reported_divergence: set[int] = set()
        self.has_reported_withheld = False

    def run(
        self,
        entries: Sequence[Entry],
        directory: Path,
        advice: str,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Trains all seeds.

        Args:
          entries: what the runs belong to.
          directory: for the checkpoints.
          advice: how to go on after an interruption.
          checkpoint: where to go on.
        """
        self.advice = advice
        with still("opening files and loggers", processes.say):
            self.members = make_members(entries)
        keep = self.config.checkpoint.keep
        writer = CheckpointWriter(directory / STATE_DIRECTORY, keep)
        memory_errors = clear_memory_errors(self.program, self.runs.count)
        taken = 0 if checkpoint is None else checkpoint.notes["interactions"]
        record = SessionRecord(
            [member.directory for member in self.members],
            self.runs.count,
            taken * self.config.steps_per_interaction,
        )
        with (
            record as self.record,
            processes.clear_errors(spans_processes(self.config.devices_per_run)),
            envs.clear_errors(),
            memory_errors,
            writer as self.checkpoints,
        ):
            try:
                if taken < self.end:
                    self._compile()
                begin = time.monotonic()
                with stop_requests() as request:
                    stopped_by = self._train(request, checkpoint)
                self._finish(stopped_by, time.monotonic() - begin)
            finally:
                self._close()

    def _close(self) -> None:
        self.display.close()
        for member in self.members:
            member.close()

    @still("writing the results", processes.say)
    def _finish(self, stopped_by: signal.Signals | None, seconds: float) -> None:
        actor, moments = self.runs.get(lambda state: (state.agent.actor, state.observation_moments))
        policy = Policy(actor, moments, jax.device_get(self.runs.inputs.hyperparameters))
        self.record.update(self._env_step(), self._updates())
        # Two writers at once have been seen to wait for each other in orbax.
        self.checkpoints.wait()
        self._hand_over()
        self._close()
        for member in self.members:
            member.finish(policy)
        where = f"results are in {self.members[0].directory}"
        if len(self.members) > 1:
            where += f" ... {self.members[-1].directory}"
        if stopped_by is None:
            self.display.say(f"trained in {seconds:.1f} s; {where}")
            return
        self.display.say(
            f"stopped after {self._count().strip()} by {stopped_by.name}, trained in "
            f"{seconds:.1f} s; {where}"
        )
        if self.config.interactions_per_checkpoint:
            self.display.say(f"to go on: {self.advice}")
        raise SystemExit(128 + stopped_by)

    def _compile(self) -> None:
        several = len(self.members)
        of_several = f" of {several} configurations" if several > 1 else ""
        is_known = self.compiler.has_compiled(self.runs.mesh, self.runs.at_a_time)
        self.display.say(
            f"{self.config.task}: {self.runs.count} runs{of_several} on {self.runs.mesh.size} "
            f"{jax.default_backend()} device(s), {self.memory / GIB:.2f} GiB; "
            + ("compiled before" if is_known else "compiling ...")
        )
        if missing := not_in_recipe(self.config):
            self.display.say(missing)
        begin = time.monotonic()
        with still(f"compiling {self.config.task}", processes.say):
            self.runs.compile()
        if not is_known:
            self.display.say(f"compiled in {time.monotonic() - begin:.1f} s")

    def _train(self, request: StopRequest, checkpoint: Checkpoint | None) -> signal.Signals | None:
        """Trains to the end, or until a signal, which is returned."""
        if checkpoint is None:
            self.runs.start()
            self.runs.replace(self.beginning)
            self.record.training_begins(0)
            self._evaluate()
        else:
            self._go_on(checkpoint)
            self.record.training_begins(self._updates())
        chunk, updates = FIRST_CHUNK, self._updates()
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
            if self.interactions % self.config.interactions_per_evaluation == 0:
                self._evaluate()
            seconds, stopped_by = _agree(seconds, request)
            if self._is_checkpoint(stopped_by is not None):
                self._save()
            self._hand_over()
            chunk = max(1, min(2 * chunk, int(size * CHUNK_SECONDS / seconds)))
            if self.interactions == self._first_update():
                chunk = FIRST_CHUNK  # with updates an interaction takes far longer
        return stopped_by

    def _next_boundary(self) -> int:
        """The interaction at which a chunk must end."""
        config = self.config
        intervals = (config.interactions_per_evaluation, config.interactions_per_checkpoint)
        ends = [(self.interactions // i + 1) * i for i in intervals if i]
        start = self._first_update()
        return min([*ends, self.end, *([start] if self.interactions < start else [])])

    def _first_update(self) -> int:
        if self.config.is_offline:
            return 0
        return known(self.config.learning_starts) // self.config.num_environments

    def _env_step(self) -> int:
        """Environment steps taken so far, per seed."""
        return self.interactions * self.config.steps_per_interaction

    def _count(self) -> str:
        return f"{self._env_step():>9,} {self.config.step_name}"

    def _updates(self) -> int:
        return int(self.runs.get(lambda state: state.agent.updates).sum())

    def _is_checkpoint(self, is_stopped: bool) -> bool:
        interval = self.config.interactions_per_checkpoint
        last = self.interactions == self.end or is_stopped
        return interval > 0 and (last or self.interactions % interval == 0)

    @still("writing a checkpoint", processes.say)
    def _save(self) -> None:
        with_replay = self.config.checkpoint.replay
        snapshot = self.runs.snapshot(with_replay)
        if not processes.is_first():
            return
        notes = {
            "interactions": self.interactions,
            "replay": with_replay,
            "metrics_bytes": [member.metrics.size() for member in self.members if member.metrics],
            "num_seeds": [member.config.num_seeds for member in self.members],
        }
        self.checkpoints.save(self._env_step(), resuming.arrays_of(snapshot), notes)

    @still("telling the loggers", processes.say)
    def _hand_over(self) -> None:
        """Gives loggers what cannot change any more; what never goes on, at once."""
        has_checkpoints = self.config.interactions_per_checkpoint > 0
        final = self.checkpoints.newest if has_checkpoints else self._env_step()
        for member in self.members:
            member.hand_over(final)

    @still("going on from the checkpoint", processes.say)
    def _go_on(self, checkpoint: Checkpoint) -> None:
        for message in checkpoint.damaged:
            self.display.say(message)
        begins_episodes = resuming.restore(self.runs, checkpoint)
        self.interactions = checkpoint.notes["interactions"]
        line = f"{self._count()}: resumed"
        if begins_episodes:
            line += ", with new episodes"
        if self.reset:
            starting.begin_anew(self.runs, self.reset, self.interactions)
            line += f", with a new {' and '.join(self.reset)}"
        self.display.say(line)
        diverged = self.runs.get(lambda state: state.progress.diverged_at) >= 0
        self.reported_divergence = set(np.flatnonzero(diverged).tolist())

    def _show(self, interactions: int, updates: int, seconds: float) -> None:
        env_steps = interactions * self.config.steps_per_interaction * self.runs.count
        self.display.update(
            self._env_step(),
            env_steps / seconds,
            updates / seconds,
            self.runs.get(lambda state: state.progress.last_return),
        )

    @still("evaluating", processes.say)
    def _evaluate(self) -> None:
        evaluation, diagnostics = self.runs.evaluate(), self.runs.diagnose()
        progress = self.runs.get(lambda state: state.progress)
        env_step = self._env_step()
        returns: list[float] = []
        for member in self.members:
            of_seeds = member.write(env_step, evaluation, progress, diagnostics)
            returns += of_seeds.values()
            for index, seed in member.numbered_seeds():
                name = f"{member.config.experiment}, " if len(self.members) > 1 else ""
                run = f"{name}seed {seed}"
                if seed not in of_seeds:
                    self._report_divergence(index, run, int(progress.diverged_at[index]))
                elif not math.isfinite(of_seeds[seed]):
                    self._report_no_return(run, of_seeds[seed])
        self._report_withheld(diagnostics)
        self.record.update(env_step, self._updates())
        self._hand_over()
        together = np.array(returns)
        line = f"{self._count()}: evaluation return {spread(together)}"
        known = int(np.isfinite(together).sum())
        if 0 < known < self.runs.count:
            line += f" ({known} of {self.runs.count} runs)"
        self.display.say(line)
        if not together.size:
            raise AllDivergedError(
                "every run diverged: lower --agent.learning-rate, or check the task's rewards"
            )

    def _report_no_return(self, run: str, value: float) -> None:
        self.display.say(
            f"{run} at {self._count().strip()}: the return over "
            f"{self.config.num_evaluation_episodes} episodes is {value}: a reward was not finite"
        )

    def _report_divergence(self, index: int, run: str, interaction: int) -> None:
        if index not in self.reported_divergence:
            self.reported_divergence.add(index)
            env_step = interaction * self.config.steps_per_interaction
            step = self.config.step_name.removesuffix("s")
            self.display.say(f"{run} diverged at {step} {env_step:,}: its results end there")

    def _report_withheld(self, diagnostics: Metrics) -> None:
        most = int(np.max(diagnostics.get(WITHHELD, 0)))
        if most and not self.has_reported_withheld:
            self.has_reported_withheld = True
            self.display.say(
                f"{most:,} transitions of a seed are in the replay and are not drawn: episodes are "
                f"truncated more often than every {self.config.replay.truncation_interval} steps; "
                "give a smaller --replay.truncation-interval"
            )


def _agree(seconds: float, request: StopRequest) -> tuple[float, signal.Signals | None]:
    """The longest time and the signal of all processes, which then go on or stop together."""
    longest, number = processes.largest(seconds, request.signal or 0)
    return longest, signal.Signals(int(number)) if number else None

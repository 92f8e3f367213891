"""Optuna chooses what is tried next: studies, and the trials of a process in them."""

import contextlib
import math
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purejax_simba.config import ConfigError
from purejax_simba.errors import require
from purejax_simba.files import checked, read_json, write_json
from purejax_simba.sweep.axes import Axis
from purejax_simba.sweep.definition import Description, Sweep, check_same
from purejax_simba.sweep.results import Score

STUDY_FILE = "study.db"
_SAMPLES_FILE = "samples.json"
# Where databases listen unless the URL says so.
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}
_SECONDS_TO_ANSWER = 10.0
# Name of what is kept with studies.
_SWEEP = "sweep"


class Sample(NamedTuple):
    """What Optuna wants to know.

    Attributes:
      number: of the trial in its study, among those of all processes.
      values: dotted name -> value, of the axes that are sampled.
    """

    number: int
    values: dict[str, Any]


class Storage:
    """Where the studies are.

    Attributes:
      name: without its password.
      is_shared: whether other processes may have trials in it too.
      optuna: Optuna's own.
    """

    def __init__(self, url: str, is_shared: bool):
        """Opens it.

        Raises:
          ConfigError: if it cannot be used, or Optuna is not there.
        """
        optuna, sqlalchemy = require("optuna", "optuna"), require("sqlalchemy", "optuna")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.is_shared = is_shared
        self.name = url
        # Drivers that are missing, URLs that are none, hosts that are not there, and the rest.
        with self.clear_errors(ImportError, ValueError, OSError):
            parsed = sqlalchemy.engine.make_url(url)
            self.name = parsed.render_as_string()
            port = parsed.port or _PORTS.get(parsed.get_backend_name())
            if parsed.host and port:
                # Drivers wait for minutes.
                socket.create_connection((parsed.host, port), _SECONDS_TO_ANSWER).close()
            self.optuna = optuna.storages.get_storage(url)

    @contextlib.contextmanager
    def clear_errors(self, *others: type[Exception]) -> Iterator[None]:
        """For what needs an answer.

        Args:
          *others: errors that mean that there is none, besides Optuna's.

        Raises:
          ConfigError: in place of all these, in one line.
        """
        import optuna
        import sqlalchemy

        expected: tuple[type[Exception], ...] = (
            *others,
            optuna.exceptions.OptunaError,
            sqlalchemy.exc.SQLAlchemyError,
        )
        try:
            yield
        except expected as error:
            # What went wrong in the database is the cause of what Optuna says.
            cause = error.__cause__ or error
            reason = (str(cause).strip().splitlines() or [repr(error)])[0]
            message = f"--storage {self.name} does not answer: {reason}"
            if isinstance(cause, ModuleNotFoundError):
                message = f"--storage {self.name} needs a driver: pip install {cause.name}"
            raise ConfigError(message) from error


def open_storage(sweep: Sweep) -> Storage:
    """That of a sweep: the one it names, or a file in its directory.

    Raises:
      ConfigError: if it cannot be used, or Optuna is not there.
    """
    if sweep.storage is not None:
        return Storage(sweep.storage, is_shared=True)
    return Storage(f"sqlite:///{sweep.directory.absolute() / STUDY_FILE}", is_shared=False)


def batch_directory(directory: Path, number: int) -> Path:
    """Where a batch is trained of a study below a directory."""
    return directory / f"batch-{number:03d}"


class Study:
    """A study of a sweep, and the trials in it that are trained below a directory.

    Several processes may take part; each asks for batches of its own. What it has asked for stands
    in the directory of the batch, so that it goes on on any machine.
    """

    def __init__(self, sweep: Sweep, fixed: dict[str, Any], directory: Path):
        """Opens or makes the study.

        Args:
          sweep: that it belongs to.
          fixed: values of the axes that are not sampled.
          directory: batches are trained in `<directory>/batch-000` and so on.

        Raises:
          ConfigError: if the study of this name is of another sweep, or the storage does not
            answer any more.
        """
        import optuna

        self._sweep, self._directory = sweep, directory
        self._storage = storage = open_storage(sweep)
        name = ", ".join([sweep.config.experiment, *(f"{n}={v}" for n, v in fixed.items())])
        with storage.clear_errors():
            self._study = optuna.create_study(
                storage=storage.optuna, study_name=name, direction="maximize", load_if_exists=True
            )
            before = self._study.user_attrs.get(_SWEEP)
            if before is None:
                self._study.set_user_attr(_SWEEP, sweep.description())
        if before is not None:
            before = checked(before, Description, f"the sweep in {storage.name}")
            check_same(sweep, before, storage.name, "--experiment or --storage")

    def batch(self, number: int) -> list[Sample]:
        """What the batch of this number tries: as it was asked for once, or a new one.

        It is smaller or empty where the study has all its samples.

        Raises:
          ConfigError: if it was trained for another study, or the storage does not answer any
            more.
        """
        file = batch_directory(self._directory, number) / _SAMPLES_FILE
        with self._storage.clear_errors():
            if not file.exists():
                samples = [self._suggest(trial) for trial in self._ask()]
                if samples:
                    write_json(file, samples)
                return samples
            known = {trial.number: trial.params for trial in self._study.get_trials(deepcopy=False)}
        samples = [Sample(*each) for each in read_json(file, list[tuple[int, dict[str, Any]]])]
        if any(known.get(sample.number) != sample.values for sample in samples):
            raise ConfigError(
                f"{file.parent} was trained for another study than {self._storage.name} holds: "
                "give the same --storage, or another --experiment"
            )
        return samples

    def _ask(self) -> list[Any]:
        """Trials for a new batch, fewer where there are enough."""
        import optuna

        running = self._study.get_trials(states=[optuna.trial.TrialState.RUNNING])
        # They were asked for by a process that was killed before it could say so.
        left = [] if self._storage.is_shared else running
        asked = [optuna.trial.Trial(self._study, trial._trial_id) for trial in left]
        while len(asked) < self._sweep.trials_per_batch:
            if len(self._study.get_trials(deepcopy=False)) >= self._sweep.samples:
                break
            asked.append(self._study.ask())
            if asked[-1].number >= self._sweep.samples:  # another process was faster
                self._study.tell(asked.pop(), state=optuna.trial.TrialState.FAIL)
                break
        return asked

    def _suggest(self, trial: Any) -> Sample:
        import optuna

        seeds = np.random.SeedSequence([self._sweep.sampler_seed, trial.number])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # The liar keeps trials of a batch, whose results are not known yet, apart.
            self._study.sampler = optuna.samplers.TPESampler(
                seed=int(seeds.generate_state(1)[0]), constant_liar=True
            )
        values = {axis.name: _choose(trial, axis) for axis in self._sweep.sampled_axes}
        return Sample(trial.number, values)

    def tell(self, sample: Sample, score: Score | None, steps: int) -> None:
        """Says what came of a sample, unless that was said before.

        What halving has stopped is pruned, with the return at that step; what has diverged, or has
        a return that is NaN, is as bad as can be.

        Args:
          sample: see there.
          score: of the run; None if it has no evaluation.
          steps: of a whole run.

        Raises:
          ConfigError: if the storage does not answer any more.
        """
        import optuna

        with self._storage.clear_errors():
            known = self._study.get_trials(deepcopy=False)[sample.number]
            if known.state.is_finished():
                return
            trial = optuna.trial.Trial(self._study, known._trial_id)
            if score is None or score.diverged or math.isnan(score.mean):
                self._study.tell(trial, -np.inf, skip_if_finished=True)
            elif score.env_step < steps:
                if score.env_step not in known.intermediate_values:
                    trial.report(score.mean, score.env_step)
                state = optuna.trial.TrialState.PRUNED
                self._study.tell(trial, state=state, skip_if_finished=True)
            else:
                self._study.tell(trial, score.mean, skip_if_finished=True)


def _choose(trial: Any, axis: Axis) -> Any:
    if axis.kind == "grid":
        return trial.suggest_categorical(axis.name, axis.values)
    return trial.suggest_float(axis.name, *axis.values, log=axis.kind == "log_uniform")

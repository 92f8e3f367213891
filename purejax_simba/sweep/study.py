"""Optuna chooses what is tried next: studies, and the trials of this machine in them."""

import contextlib
import math
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purejax_simba.config import ConfigError
from purejax_simba.files import checked
from purejax_simba.sweep.axes import Axis
from purejax_simba.sweep.definition import Description, Sweep, check_same
from purejax_simba.sweep.results import Score

STUDY_FILE = "study.db"
# Where databases listen unless the URL says so.
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}
_SECONDS_TO_ANSWER = 10.0
# Names of what is kept with studies and trials.
_SWEEP, _PLACE = "sweep", "trained in"


class Sample(NamedTuple):
    """What Optuna wants to know.

    Attributes:
      number: of the trial in its study, among those of all machines.
      values: dotted name -> value, of the axes that are sampled.
    """

    number: int
    values: dict[str, Any]


class Storage:
    """Where the studies are.

    Attributes:
      name: without its password.
      is_shared: whether other machines may have trials in it too.
      optuna: Optuna's own.
    """

    def __init__(self, url: str, is_shared: bool):
        """Opens it.

        Raises:
          ConfigError: if it cannot be used, or Optuna is not there.
        """
        try:
            import optuna
            import sqlalchemy
        except ImportError:
            raise ConfigError(
                "--sampler tpe needs Optuna: pip install 'purejax_simba[optuna]'"
            ) from None
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


def batch_directory(directory: Path, number: int) -> Path:
    """Where a batch is trained of a study below a directory."""
    return directory / f"batch-{number:03d}"


class Study:
    """A study of a sweep, and the trials in it that are trained below a directory.

    Several machines may take part; each asks for batches of its own. What it has asked for stands
    in the study with the place where it is trained, so that nothing else is needed to go on.
    """

    def __init__(self, sweep: Sweep, fixed: dict[str, Any], directory: Path, storage: Storage):
        """Opens or makes the study.

        Args:
          sweep: that it belongs to.
          fixed: values of the axes that are not sampled.
          directory: batches are trained in `<directory>/batch-000` and so on.
          storage: of the study.

        Raises:
          ConfigError: if the study of this name is of another sweep, or the storage does not
            answer any more.
        """
        import optuna

        self._sweep, self._directory, self._storage = sweep, directory, storage
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
        import optuna

        place = batch_directory(self._directory, number).absolute()
        begun = place.exists()
        label = f"{socket.gethostname()}:{place}"
        with self._storage.clear_errors():
            own = []
            for trial in self._study.get_trials(deepcopy=False):
                found = trial.user_attrs.get(_PLACE)
                if trial.state == optuna.trial.TrialState.RUNNING and found is None:
                    # It was asked for by a process that was killed before it could say so.
                    found = None if begun or self._storage.is_shared else label
                if found == label:
                    own.append(trial._trial_id)
            if begun and not own:
                raise ConfigError(
                    f"{place} was trained for another study than {self._storage.name} holds: give "
                    "the same --storage, or another --experiment"
                )
            while not begun and len(own) < self._sweep.trials_per_batch:
                trial_id = self._ask()
                if trial_id is None:
                    break
                own.append(trial_id)
            return [self._suggest(trial_id, label) for trial_id in own]

    def _ask(self) -> int | None:
        """A new trial; None if there are enough."""
        import optuna

        if len(self._study.get_trials(deepcopy=False)) >= self._sweep.samples:
            return None
        trial = self._study.ask()
        if trial.number >= self._sweep.samples:  # another machine was faster
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return None
        return trial._trial_id

    def _suggest(self, trial_id: int, label: str) -> Sample:
        import optuna

        trial = optuna.trial.Trial(self._study, trial_id)
        if _PLACE not in trial.user_attrs:
            trial.set_user_attr(_PLACE, label)
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

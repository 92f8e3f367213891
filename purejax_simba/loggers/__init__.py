"""Where results go besides the files: TensorBoard, Weights & Biases, or a logger of your own.

`metrics.csv` comes first and is complete whatever happens here. A logger receives what is in it,
every point once, also when a run is resumed. What it has cannot be taken back, and a run that is
killed goes on from its newest checkpoint, perhaps with other numbers than before. So points wait
until a checkpoint holds them.
"""

import functools
import importlib
import importlib.util
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from purejax_simba.config import Config, ConfigError
from purejax_simba.errors import first_line
from purejax_simba.files import read_json, write_json
from purejax_simba.runs.result_files import LOGGER_PROGRESS_FILE, METRICS_FILE, read_metrics
from purejax_simba.waiting import say

# Name -> module and class. The package that the module needs, and its extra, have the same name.
BUILT_IN = {
    "tensorboard": "purejax_simba.loggers.tensorboard:TensorBoardLogger",
    "wandb": "purejax_simba.loggers.wandb:WandbLogger",
}


class Logger(Protocol):
    """What follows a run. Made as `factory(directory, config)`: run directory, plain values.

    Any exception of a logger is reported once, and the logger is left out from then on.
    """

    def write(self, run: str, env_step: int, metrics: Mapping[str, float]) -> None:
        """Takes in one evaluation.

        Args:
          run: `seed-<number>`, or `seeds-<first>-<last>` where seeds are logged together: those of
            a configuration that train at once.
          env_step: environment steps taken; never one that this run has had before.
          metrics: numbers by name, as in the file. NaN where an evaluation has no number.
        """
        ...

    def close(self) -> None:
        """Ends all runs."""
        ...


Factory = Callable[[Path, dict[str, Any]], Logger]


def find(name: str) -> Factory:
    """The factory of `tensorboard`, `wandb`, or `<module>:<name>`.

    Raises:
      ConfigError: if there is none, or what it needs is not installed.
    """
    if name in BUILT_IN and importlib.util.find_spec(name) is None:
        raise ConfigError(f"--loggers {name}: not installed: pip install -e '.[{name}]'")
    module, colon, attribute = BUILT_IN.get(name, name).partition(":")
    if not colon:
        choices = ", ".join(BUILT_IN)
        raise ConfigError(f"no logger {name!r}: choose from {choices} or give <module>:<class>")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--loggers {name}: no module {error.name!r} here: install it, or put its directory on "
            "PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise ConfigError(f"--loggers {name}: {error}") from error


def check(config: Config) -> None:
    """Refuses loggers that are not there, before anything is compiled."""
    for name in config.loggers:
        find(name)


class Loggers:
    """The loggers of one configuration. None of them can stop the training."""

    def __init__(self, directory: Path, config: Config):
        """Opens them and passes on what `metrics.csv` in the directory holds and they do not."""
        self._directory = directory
        self._together = config.log_seeds == "together"
        self._seeds = config.seeds
        # Logger -> run -> the env step of the last point that it has.
        self._last = read_json(directory / LOGGER_PROGRESS_FILE, dict[str, dict[str, int]], {})
        self._waiting: list[tuple[int, dict[int, dict[str, float]]]] = []
        self._loggers: dict[str, Logger] = {}
        for name in config.loggers:
            self._attempt(name, lambda name=name: self._open(name, config))  # type: ignore[misc]

    def write(self, env_step: int, values: dict[int, dict[str, float]]) -> None:
        """Takes in seed -> metric -> value, for later."""
        self._waiting.append((env_step, values))

    def hand_over(self, env_step: int) -> None:
        """Passes on what was taken in up to this env step: nothing of it will change any more."""
        while self._waiting and self._waiting[0][0] <= env_step:
            point = self._waiting.pop(0)
            for name, logger in list(self._loggers.items()):
                self._attempt(name, functools.partial(self._pass_on, name, logger, *point))

    def close(self) -> None:
        """Ends all that have not failed."""
        for name, logger in list(self._loggers.items()):
            self._attempt(name, logger.close)
        self._loggers.clear()

    def _open(self, name: str, config: Config) -> None:
        logger = self._loggers[name] = find(name)(self._directory, asdict(config))
        last, own = -1, self._runs({seed: {} for seed in self._seeds})
        for env_step, values in read_metrics(self._directory):
            self._pass_on(name, logger, env_step, values)
            if values.keys() & set(self._seeds):
                last = env_step
        # Other seeds of the directory may be further than these.
        ahead = max(self._last.get(name, {}).get(run, -1) for run in own)
        if ahead > last:  # the checkpoint that held these points is damaged
            say(
                f"warning: logger {name} has points up to step {ahead:,}, and the run goes on from "
                f"{last:,}: between them {METRICS_FILE} is right"
            )

    def _pass_on(
        self, name: str, logger: Logger, env_step: int, values: dict[int, dict[str, float]]
    ) -> None:
        for run, metrics in self._runs(values).items():
            before = self._last.get(name, {}).get(run, -1)
            if env_step <= before:
                continue
            # Noted before it is done: a process that is killed in between leaves out a point. The
            # other way round there would be one twice.
            self._note(name, run, env_step)
            try:
                logger.write(run, env_step, metrics)
            except Exception:
                self._note(name, run, before)
                raise

    def _note(self, name: str, run: str, env_step: int) -> None:
        self._last.setdefault(name, {})[run] = env_step
        write_json(self._directory / LOGGER_PROGRESS_FILE, self._last)

    def _runs(self, values: dict[int, dict[str, float]]) -> dict[str, dict[str, float]]:
        if not self._together:
            return {f"seed-{seed}": metrics for seed, metrics in values.items()}
        metrics: dict[str, list[float]] = {}
        own = {seed: of_seed for seed, of_seed in values.items() if seed in self._seeds}
        row: dict[str, float] = {"seeds": len(own)}
        for seed, of_seed in own.items():
            for metric, value in of_seed.items():
                metrics.setdefault(metric, []).append(value)
                row[f"seed-{seed}/{metric}"] = value
        # Means are of all seeds that have not diverged, or there is none.
        means = {
            metric: statistics.fmean(found)
            for metric, found in metrics.items()
            if len(found) == len(own)
        }
        name = f"seeds-{self._seeds[0]}-{self._seeds[-1]}"
        return {name: means | row} if own else {}

    def _attempt(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # whatever a library or a network comes up with
            self._loggers.pop(name, None)
            say(
                f"warning: logger {name} failed and gets no more ({first_line(error)}); the files "
                "stay complete, and --resume hands in what is missing"
            )

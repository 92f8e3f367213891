"""Population-based training of jobs under way: a plan for the session that trains them."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from purejax_simba.config import Config, ConfigError
from purejax_simba.datasets.loading import fill_in
from purejax_simba.defaults import resolve
from purejax_simba.files import write_json
from purejax_simba.names import flatten, replace_values, settings_of
from purejax_simba.program import Program
from purejax_simba.runs import processes
from purejax_simba.runs.jobs import Job
from purejax_simba.runs.result_files import SCHEDULE_FILE
from purejax_simba.runs.runs import Runs
from purejax_simba.runs.schedule import NEVER, Entry, Plan, write_schedule
from purejax_simba.runs.starting import Start
from purejax_simba.sweep.definition import Sweep
from purejax_simba.sweep.lineage import LINEAGE_FILE, Lineage
from purejax_simba.sweep.pbt import PBT, evolve
from purejax_simba.sweep.results import BEST_FILE
from purejax_simba.waiting import count_of

_PREFIX = "lineage."
# Resolving takes a millisecond, and every generation writes the whole line of the best again.
_MOST_RESOLVED = 2**14


class Evolution(Plan):
    """Every seed of the jobs is a population, of which each job has a member.

    Attributes:
      first: see `Plan`.
      lineage: so far.
    """

    def __init__(self, sweep: Sweep, pbt: PBT, jobs: Sequence[Job], program: Program):
        """Before the first generation.

        Raises:
          ConfigError: if replays cannot pass from one to another.
        """
        if pbt.replay and (program.environment.elsewhere or jax.process_count() > 1):
            raise ConfigError(
                "--pbt-replay: replays and episodes do not pass between processes: drop it"
            )
        self._sweep, self._pbt, self._program = sweep, pbt, program
        self._axes = sweep.all_axes
        self._config, self.first = program.config, [job.config for job in jobs]
        self._steps = pbt.generations(self._config)
        members = [job.config.experiment.rpartition("/")[2] for job in jobs]
        names = [axis.name for axis in self._axes]
        self.lineage = Lineage.create(self._config.seeds, members, names)
        own = [[float(flatten(config)[name]) for name in names] for config in self.first]
        self._values = np.repeat(np.array(own)[:, None], self._config.num_seeds, axis=1)  # M, P, A
        common = fill_in(sweep.config)
        self._common = replace_values(common, {"task": self._config.task, "num_seeds": 1})
        self._config_of = functools.lru_cache(_MOST_RESOLVED)(self._resolve)

    def begin(self, runs: Runs, start: Start) -> None:
        """See `Plan`."""
        kept = start.checkpoint.arrays if start.checkpoint else {}
        arrays = {n: kept[_PREFIX + n] for n in self.lineage.arrays() if _PREFIX + n in kept}
        if start.checkpoint and len(arrays) < len(self.lineage.arrays()):
            raise ConfigError("the checkpoint is of a sweep without --pbt: begin it anew")
        if arrays:
            known = self.lineage
            self.lineage = Lineage(known.populations, known.members, known.axes, **arrays)
            self._values = self.lineage.values[-1].copy()
            runs.change(self._configs())
            self._write()

    def next_change(self, interactions: int) -> int:
        """See `Plan`."""
        each = self._config.steps_per_interaction
        return min((s // each for s in self._steps if s // each > interactions), default=NEVER)

    def change(self, runs: Runs, interactions: int, returns: np.ndarray | None) -> str:
        """See `Plan`."""
        assert returns is not None  # generations are at evaluations
        members, populations, _ = self._values.shape
        scores = np.asarray(returns, np.float64).reshape(members, populations)
        parents = np.repeat(np.arange(members)[:, None], populations, axis=1)
        env_step = interactions * self._config.steps_per_interaction
        if env_step not in (self._steps[0], self._steps[-1]):
            for place, seed in enumerate(self.lineage.populations):
                key = [self._sweep.sampler_seed, seed % 2**32, len(self.lineage.env_steps)]
                parents[:, place], self._values[:, place] = evolve(
                    self._pbt,
                    self._axes,
                    scores[:, place],
                    self._values[:, place],
                    np.random.default_rng(key),
                )
            places = parents * populations + np.arange(populations)
            runs.inherit(places.ravel().astype(np.int32), self._pbt.replay)
            runs.change(self._configs())
        self.lineage = self.lineage.with_generation(
            env_steps=env_step, returns=scores, parents=parents, values=self._values
        )
        self._write()
        replaced = int((parents != np.arange(members)[:, None]).sum())
        number = len(self.lineage.env_steps) - 1
        best = np.max(scores, initial=-np.inf, where=np.isfinite(scores))
        what = f"{count_of(replaced, 'member')} of {scores.size} go on from others"
        return f"generation {number}: best return {best:.1f}" + f", {what}" * bool(replaced)

    def arrays(self) -> dict[str, np.ndarray]:
        """See `Plan`."""
        return {_PREFIX + name: array for name, array in self.lineage.arrays().items()}

    def _configs(self) -> list[Config]:
        """Of every run."""
        rows = self._values.reshape(-1, len(self._axes)).tolist()
        return [self._config_of(*values) for values in rows]

    def _resolve(self, *values: float) -> Config:
        """The configuration of a run with these values on the axes."""
        known = settings_of(self._config)
        names = [axis.name for axis in self._axes]
        own = {n: known[n].kind(value) for n, value in zip(names, values, strict=True)}
        return resolve(replace_values(self._common, own), self._program.environment)

    def _write(self) -> None:
        """Writes what is known of the lineage, and the schedule of the best member so far."""
        if not processes.is_first():
            return
        directory = self._sweep.directory
        self.lineage.write(directory / LINEAGE_FILE)
        if len(self.lineage.env_steps) < 2:
            return
        known = settings_of(self._config)
        entries: list[Entry] = []
        # What all began with alike, but for the axes, is left to the configuration.
        first = [flatten(config) for config in self.first]
        on_axes = {axis.name for axis in self._axes}
        changing: dict[str, Any] = {
            name: value
            for name, value in first[0].items()
            if name not in on_axes and all(other[name] == value for other in first)
        }
        schedule = self.lineage.schedule(self.lineage.best_population)
        for env_step, values in zip(self.lineage.env_steps, schedule.tolist(), strict=False):
            numbers = flatten(self._config_of(*values))
            numbers = {n: v for n, v in numbers.items() if known[n].traced and v is not None}
            new = {n: v for n, v in numbers.items() if v != changing.get(n)}
            if new:
                entries.append(Entry(int(env_step), new))
            changing |= new
        write_schedule(directory / SCHEDULE_FILE, entries)
        best = {
            "task": self._sweep.tasks[0],
            "experiment": f"{self._sweep.config.experiment}-best",
            "schedule": str(directory / SCHEDULE_FILE),
        }
        write_json(
            directory / BEST_FILE, dataclasses.asdict(replace_values(self._sweep.config, best))
        )

"""A population in Python: all members train interval by interval, as their tuner tells them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from purejax_simba.agents.agent import HyperParameters
from purejax_simba.config import Config, ConfigError
from purejax_simba.datasets.loading import fill_in
from purejax_simba.defaults import resolve
from purejax_simba.diagnostics import Metrics
from purejax_simba.names import find_name, replace_values, settings_of
from purejax_simba.run_state import Counters, RunState, environment_axes, inherit
from purejax_simba.runs.compiling import make_program
from purejax_simba.runs.devices import (
    PER_RUN,
    SHARED,
    divided_runs,
    make_inputs,
    make_mesh,
    map_runs,
    shapes_of_runs,
    shard_runs,
    shardings,
)


class PopulationState(NamedTuple):
    """Everything of a population that changes.

    Attributes:
      counters: see `Counters`.
      members: `RunState` with a leading axis of members.
    """

    counters: Counters
    members: RunState


class Population:
    """The seeds of a configuration as members of a population, each with its hyperparameters.

        population = Population(config)
        state = population.reset()
        rates = {"agent.learning_rate": [1e-4, 3e-4, 1e-3, 3e-3]}  # of four members
        state, metrics = population.step(state, population.hyperparameters(rates))

    A step is one evaluation interval of all members in one compiled call. Nothing is compiled again
    when hyperparameters change. Members are spread over the devices as far as their number divides.

    Attributes:
      config: resolved; `num_seeds` is the number of members.
      program: of one member.
    """

    def __init__(self, config: Config):
        """Compiles nothing yet.

        Raises:
          ConfigError, envs.TaskError: for a configuration that cannot be run.
        """
        if config.schedule:
            raise ConfigError("a Population is told its hyperparameters: drop the schedule")
        if config.start.run:
            raise ConfigError("a Population begins with new networks: drop start.run")
        self._given = fill_in(config)
        self.program = make_program(config)
        self.config = self.program.config
        count, some = self.config.num_seeds, jax.local_devices()
        devices = math.gcd(count * self.config.devices_per_run, len(some))
        self._mesh = mesh = make_mesh(count, self.config.devices_per_run, some[:devices])
        axes = environment_axes(shapes_of_runs(self.program.state_shapes, count))
        specs = divided_runs(axes, mesh)
        data = shard_runs(self.program.data, mesh, SHARED)
        shared = (SHARED,) * len(data)
        self._data = data
        self._init = map_runs(self.program.init, mesh, (PER_RUN, PER_RUN, *shared), specs)
        self._step = map_runs(
            self._step_of_one,
            mesh,
            (SHARED, specs, PER_RUN, *shared),
            (SHARED, specs, PER_RUN),
            donate=(1,),
        )
        self._inherit = jax.jit(
            inherit,
            static_argnames="with_replay",
            out_shardings=shardings(specs, mesh),
            donate_argnames="state",
        )

    def hyperparameters(self, settings: Mapping[str, Any] | None = None) -> HyperParameters:
        """Numbers of all members, `(members,)` each.

        With those of `reset` networks begin. Where `step` has another range of values, or other
        start values and scales of SimbaV2, the networks are other functions; offline rewards stay
        scaled for the first discount.

        Args:
          settings: name as on the command line, `agent.learning_rate` -> value, or one for each
            member; the others are the configuration's.

        Raises:
          ConfigError: for a name that there is not or that is static, and for values that cannot
            be.
        """
        count, known = self.config.num_seeds, settings_of(self.config)
        columns: dict[str, np.ndarray] = {}
        for given, values in (settings or {}).items():
            name = find_name(given)
            if name not in known or not known[name].traced:
                raise ConfigError(f"{name} is no number that members can differ in")
            if np.shape(values) not in ((), (count,)):
                raise ConfigError(f"{name} has {np.size(values)} values: give one, or {count}")
            columns[name] = np.broadcast_to(values, count)
        configs = []
        for member in range(count):
            own = {n: known[n].parse(n, values[member].item()) for n, values in columns.items()}
            one = replace_values(self._given, own | {"num_seeds": 1})
            configs.append(resolve(one, self.program.environment))
        numbers = make_inputs(configs, self.program.environment.action_size).hyperparameters
        return shard_runs(numbers, self._mesh)

    def reset(
        self, seeds: Sequence[int] | None = None, hyperparameters: HyperParameters | None = None
    ) -> PopulationState:
        """All members before their first interaction.

        Args:
          seeds: of the members; default: the configuration's.
          hyperparameters: of the members; default: the configuration's.

        Raises:
          ConfigError: for another number of seeds.
        """
        seeds = self.config.seeds if seeds is None else seeds
        if len(seeds) != self.config.num_seeds:
            raise ConfigError(f"{len(seeds)} seeds are given: give num_seeds={len(seeds)} too")
        keys = shard_runs(jnp.stack([jax.random.key(seed) for seed in seeds]), self._mesh)
        members = self._init(keys, hyperparameters or self.hyperparameters(), *self._data)
        return PopulationState(shard_runs(Counters.create(), self._mesh, SHARED), members)

    def step(
        self, state: PopulationState, hyperparameters: HyperParameters
    ) -> tuple[PopulationState, Metrics]:
        """Trains all members for one evaluation interval, and evaluates them.

        Args:
          state: whose memory is used again: it is gone afterwards.
          hyperparameters: of the members.

        Returns:
          The new state, and `(members,)` each, the metrics of `metrics.csv` by name (losses are NaN
          where there was no update) and `diverged`, whether a member has.
        """
        counters, members, metrics = self._step(*state, hyperparameters, *self._data)
        return PopulationState(counters, members), metrics

    def inherit(
        self, state: PopulationState, parents: Sequence[int], with_replay: bool = False
    ) -> PopulationState:
        """Lets members go on from others; see `run_state.inherit`. `state` is gone afterwards.

        Raises:
          ConfigError: for parents that there are not, or `with_replay` where episodes live in
            worker processes.
        """
        if with_replay and self.program.environment.elsewhere:
            raise ConfigError("episodes in worker processes do not pass: drop with_replay")
        chosen = np.asarray(parents, np.int32)
        if chosen.shape != (self.config.num_seeds,) or not set(chosen) <= {*range(len(chosen))}:
            raise ConfigError(f"give a parent for each of {self.config.num_seeds} members")
        return state._replace(members=self._inherit(state.members, chosen, with_replay=with_replay))

    def _step_of_one(
        self, counters: Counters, state: RunState, hyperparameters: HyperParameters, *data: Any
    ) -> tuple[Counters, RunState, Metrics]:
        interval = jnp.int32(self.config.interactions_per_evaluation)
        counters, state = self.program.advance(counters, state, hyperparameters, interval, *data)
        progress = state.progress
        means = jax.tree.map(lambda total: total / progress.updates, progress.update_sums)
        evaluation = self.program.evaluate(counters, state, hyperparameters)
        score = self.config.offline.normalized_score(evaluation.avg_return)
        return (
            counters,
            state,
            evaluation._asdict()
            | ({} if score is None else {"avg_normalized_return": score})
            | means._asdict()
            | self.program.diagnose(counters, state, hyperparameters, *data)
            | {"diverged": progress.diverged_at >= 0},
        )

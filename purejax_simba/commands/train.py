"""Trains many seeds of SimbaV2 at once, or evaluates a finished run."""

import argparse
import dataclasses
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from purejax_simba import trust
from purejax_simba.agents.simba_v2 import SimbaV2
from purejax_simba.commands import command_line, one_line_errors
from purejax_simba.config import (
    DEFAULT_TASK,
    Config,
    ConfigError,
    Part,
    ProcessOptions,
    ReplayConfig,
)
from purejax_simba.names import flatten, replace_values
from purejax_simba.runs.result_files import (
    first_of_schedule,
    read_config,
    read_config_file,
    read_diverged,
)
from purejax_simba.settings import flag
from purejax_simba.waiting import count_of, say, still


def demonstration() -> Config:
    """A swing-up that small networks learn within minutes on two cores."""
    return Config(
        task="gymnax/Pendulum-v1",
        total_env_steps=8_000,
        evaluation_interval=1_000,
        learning_starts=500,
        agent=SimbaV2(
            actor_hidden_dim=32,
            critic_hidden_dim=64,
            critic_num_blocks=1,
            learning_rate=1e-3,
            learning_rate_end=5e-4,
        ),
        replay=ReplayConfig(batch_size=128),
        experiment=f"demonstration-{time.strftime('%Y%m%d-%H%M%S')}",
    )


@dataclass(frozen=True)
class Arguments:
    """Train many seeds of SimbaV2, or of another agent, at once as one compiled program.

    Without arguments: a demonstration of a few minutes on a laptop. Everything else has the
    published defaults, of SimbaV2 or, with --agent.name, of that agent: --help-all shows them.
    """

    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)
    resume: Path | None = None
    """Go on with the run in this directory. Flags need not be given again; more env steps and
    another output may be."""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config")] = None
    """Begin with the values in this file, a config.json or the best.json of a sweep, in place of
    the defaults. Other flags change them."""
    processes: Annotated[ProcessOptions, tyro.conf.arg(name="")] = field(
        default_factory=ProcessOptions
    )
    reset: tuple[Part, ...] = ()
    """With --resume: parts of the agent that begin anew, with new optimisers; the replay stays."""
    evaluate: Path | None = None
    """Play the trained policies of this run directory instead, and report their returns;
    --num-evaluation-episodes says in how many episodes. Code of your own that it names is given
    again: --task <module>:<id>, --agent.name, --host-python."""
    video: Path | None = None
    """Draw an episode with the trained policy of every seed of this run directory instead."""
    compile_for: str = ""
    """Only compile the run for devices that are not here, `h100`, `v5e:2x4` or a file that
    describes a GPU, and say whether it fits. Needs the extra `targets`."""
    list_tasks: bool = False
    """List the known tasks."""
    help_all: command_line.HelpAll = False
    """Show all settings; --help shows those that are changed first."""


def parse(words: list[str]) -> Arguments:
    """Reads the command line.

    Raises:
      ConfigError: if there is no run to resume, or no configuration in the file, or one of code
        that is not here.
    """
    if not words:
        return Arguments(config=demonstration())
    files = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    files.add_argument("--resume", type=Path)
    files.add_argument("--config", type=Path)
    file, given = files.parse_known_args(words)[0], command_line.code(words)
    config = Config()
    if file.config is not None:
        config = saved = read_config_file(file.config, given)
        agent = given.get("agent.name", saved.agent.name)
        _refuse(file.config, saved, {"agent.name": agent != saved.agent.name})
    elif file.resume is not None:
        # Flags that are not given again are as they were.
        config = read_config(file.resume, given)
    config = command_line.with_agent(config, words)
    arguments = command_line.read(Arguments, words, Arguments(config=config))
    if file.config is not None:
        changed = arguments.config
        other = {"recipe": changed.recipe != saved.recipe}
        other["offline"] = changed.is_offline != saved.is_offline
        _refuse(file.config, saved, other)
        _ask_for_what_followed(file.config, saved, changed, words)
        followed = _followed(config, arguments.config, words)
        arguments = dataclasses.replace(arguments, config=followed)
    if arguments.config.schedule:
        _refuse_scheduled(arguments.config, words)
    return arguments


def _is_given(words: list[str], name: str) -> bool:
    return any(word.replace("_", "-").partition("=")[0] == flag(name) for word in words)


def _ask_for_what_followed(file: Path, saved: Config, changed: Config, words: list[str]) -> None:
    """Refuses another task or action repeat without what followed from the one in the file.

    Raises:
      ConfigError: with all that is missing.
    """
    followed: dict[str, tuple[str, ...]] = {
        "task": ("action_repeat", "episode_length", "agent.num_critics"),
        "action_repeat": (),
    }
    before, now = flatten(saved), flatten(changed)
    # What the file leaves open, or an agent always has, follows from no task.
    settled = {name for name, value in before.items() if value is not None}
    settled -= {f"agent.{name}" for name in saved.agent.defaults()}
    for name, others in followed.items():
        if not before[name] or now[name] == before[name]:
            continue
        names = [n for n in (*others, "discount", "update_to_data_ratio") if n in settled]
        missing = [flag(n) for n in names if not _is_given(words, n)]
        if missing and not (name == "task" and trust.is_same_task(now[name], before[name])):
            raise ConfigError(
                f"{flag(name)} {now[name]} beside --config {file}, whose other values are for "
                f"{before[name]}: give {' '.join(missing)} too"
            )


def _refuse(file: Path, saved: Config, others: dict[str, bool]) -> None:
    """Refuses what would fill in other defaults where a file leaves nothing open.

    `others` says of the names of such settings whether they are given as the file has them not.

    Raises:
      ConfigError: for the first that is.
    """
    filled_in = ("discount", "learning_starts", "num_environments", "num_evaluation_episodes")
    if None in [getattr(saved, name) for name in filled_in]:
        return
    for name, is_other in others.items():
        if is_other:
            raise ConfigError(
                f"{flag(name)} fills in nothing beside --config {file}, which has every value "
                "already: drop one of the two"
            )


def _refuse_scheduled(config: Config, words: list[str]) -> None:
    """Refuses numbers in words that a schedule has otherwise from the start on.

    Raises:
      ConfigError: for the first.
    """
    given = flatten(config)
    for name, value in first_of_schedule(Path(config.schedule)).items():
        if _is_given(words, name) and given.get(name) != value:
            raise ConfigError(
                f"{flag(name)} {given.get(name)}: {config.schedule} has {value} from the start on; "
                "drop one of them"
            )


def _followed(saved: Config, changed: Config, words: list[str]) -> Config:
    """With what in `saved` only followed from a value that the words change, as it does now."""
    first, last = "agent.learning_rate", "agent.learning_rate_end"
    rate = flatten(changed).get(first)
    if rate is None or rate == flatten(saved)[first] or _is_given(words, last):
        return changed
    from purejax_simba.defaults import with_values  # which imports the environments

    return replace_values(changed, {last: flatten(with_values(saved, {first: rate}))[last]})


def train(arguments: Arguments) -> None:
    """Begins a run or goes on with one."""
    config = arguments.config
    if arguments.processes.process_id in (None, 0):
        what = config.offline.dataset or config.task or DEFAULT_TASK
        seeds = count_of(config.num_seeds, "seed")
        say(f"{what}: {seeds} of {config.agent.name}; loading ...")
    with still("loading"):
        from purejax_simba.runs.devices import use_all_cores, use_compilation_cache
        from purejax_simba.runs.processes import join

        use_all_cores(config.num_seeds, config.devices_per_run)
        use_compilation_cache()
        join(arguments.processes)
        from purejax_simba.runs import experiment

    if arguments.reset and arguments.resume is None:
        raise ConfigError("--reset is of no use without --resume: new runs are new")
    if arguments.resume is None:
        experiment.train(config)
    else:
        experiment.resume(arguments.resume, config, arguments.reset)


def _check_modes(arguments: Arguments) -> None:
    """Refuses two things to do in place of training.

    Raises:
      ConfigError: with the first two that are given.
    """
    modes = ("list_tasks", "evaluate", "video", "compile_for")
    given = [flag(name) for name in modes if getattr(arguments, name)]
    if len(given) > 1:
        raise ConfigError(f"{given[0]} and {given[1]} exclude each other: drop one")


def _check_use(arguments: Arguments, mode: str, *used: str) -> None:
    """Refuses what says nothing about what is done in place of training.

    Args:
      arguments: of the command line.
      mode: the flag that says so.
      used: dotted names that do say something, besides those of the user's own code.

    Raises:
      ConfigError: for the first of the others that is given.
    """
    others = {"resume": None, "config_file": None, "reset": (), "processes": ProcessOptions()}
    useless = [name for name, value in others.items() if getattr(arguments, name) != value]
    config = arguments.config
    given, usual = flatten(config), flatten(Config(agent=type(config.agent)()))
    useless += [n for n in given if given[n] != usual[n]]
    useless = [name for name in useless if name not in (*trust.NAMES, *used)]
    if useless:
        name = {"config_file": "config", "processes": "distributed"}.get(useless[0], useless[0])
        raise ConfigError(f"{flag(name)} is of no use with --{mode}: drop it")


def main() -> int:
    """Runs the command line; returns the exit status."""
    # What takes long to import is imported after the first line, and where it is needed.
    with one_line_errors("--resume goes on") as outcome:
        words = sys.argv[1:]
        arguments = parse(words)
        _check_modes(arguments)
        if arguments.list_tasks:
            import envs

            print("\n".join(envs.tasks()))
        elif arguments.evaluate is not None:
            _check_use(arguments, "evaluate", "num_evaluation_episodes")
            say(f"evaluating {arguments.evaluate}; loading ...")
            with still("loading"):
                from purejax_simba.runs.policies import evaluate_in_turn

            given = command_line.code(words)
            episodes = arguments.config.num_evaluation_episodes
            for seed, metrics in evaluate_in_turn(arguments.evaluate, episodes, given):
                step = read_diverged(arguments.evaluate).get(seed)
                print(
                    f"seed {seed}: return {metrics['avg_return']:.1f}, length "
                    f"{metrics['avg_length']:.0f}, success {metrics['avg_success']:.2f}"
                    + (f", as when it diverged at step {step:,}" if step is not None else ""),
                    flush=True,
                )
        elif arguments.video is not None:
            _check_use(arguments, "video")
            say(f"playing and drawing {arguments.video}; loading ...")
            with still("loading"):
                from purejax_simba.videos import make_videos

            for file in make_videos(arguments.video, given=command_line.code(words)):
                print(file, flush=True)
        elif arguments.compile_for:
            configuration = ("resume", "config_file", *flatten(arguments.config))
            _check_use(arguments, "compile-for", *configuration)
            with still("loading"):
                from purejax_simba.runs import targets

            targets.prepare()
            targets.show(arguments.compile_for, [(arguments.config, arguments.config.num_seeds)])
        else:
            train(arguments)
    return outcome.status

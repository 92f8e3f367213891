"""Lists the tasks, or draws one.

    python -m envs
    python -m envs brax
    python -m envs myosuite --host-python ~/myo/bin/python
    python -m envs render dmc/cheetah-run --policy random --output run.mp4

A command: it stands above all floors, so it may ask `purejax_simba` for a trained policy.
"""

if __name__ == "__main__":
    from purejax_simba import stopping

    stopping.hear()  # while the rest is imported, too

import argparse
import contextlib
import shutil
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import jax

import envs
from envs import rendering
from envs.adapters.hosted import check_interpreter
from purejax_simba.commands import one_line_errors
from purejax_simba.settings import flag
from purejax_simba.waiting import count_of, still

_COLUMNS = "{:34} {:>11} {:>6} {:>5} {:>6}  {}"


def list_tasks(suite: str | None, host_python: str) -> None:
    """Prints one line per task: sizes, steps of an episode, engines, or what is missing.

    Of other libraries' tasks only the names, unless a suite is asked for: to learn what they
    observe, each has to be traced, which takes minutes for all of them.
    """
    if host_python:
        check_interpreter(host_python, "numpy")
    chosen = envs.suites() if suite is None else {suite: envs.tasks(suite)}
    published = set(envs.tasks("all"))
    shown: set[str] = set()
    for name, tasks in chosen.items():
        new = [task for task in tasks if task not in shown]
        if not new:
            print(f"\n{name}: {count_of(len(tasks), 'task')}, listed above")
            continue
        shown.update(new)
        print(f"\n{name}")
        if suite is None and not published.issuperset(new):
            _list_names(name, new)
            continue
        print(_COLUMNS.format("task", "observation", "action", "steps", "repeat", "physics"))
        for task in new:
            print(_fill(_describe(task, host_python)), flush=True)
    if missing := envs.missing_for_warp():
        print(f"\n{missing}")
    print("\nAlso ids beyond these of:", ", ".join(envs.families()))


def _list_names(suite: str, tasks: list[str]) -> None:
    print(_fill(" ".join(tasks), 100))
    missing = {envs.spec(task).missing() for task in tasks} - {""}
    print(*missing or [f"Sizes: python -m envs {suite}"], sep="\n")


def _fill(text: str, most: int = sys.maxsize) -> str:
    """The text in lines that fit the terminal, of so many letters at most."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else most
    return textwrap.fill(text, min(width, most), break_on_hyphens=False)


def _describe(task: str, host_python: str) -> str:
    spec = envs.spec(task)
    elsewhere = spec.on_host or (host_python and spec.missing())
    host = envs.HostOptions(python=host_python) if elsewhere else None
    try:
        missing = spec.missing(host_python)
        environment = None if missing else envs.make(task, host=host)
    except envs.TaskError as error:
        environment, missing = None, str(error)
    if environment is None:
        return _COLUMNS.format(task, "", "", "", "", missing)
    return _COLUMNS.format(
        task,
        environment.observation_size,
        environment.action_size,
        environment.episode_length or "",
        spec.action_repeat,
        spec.engines(),
    )


def render(arguments: argparse.Namespace) -> None:
    """Plays an episode and writes it."""
    from purejax_simba.checks import check_seeds

    check_seeds("seed", arguments.seed)
    rendering.check_output(arguments.output)
    rendering.check_sizes(arguments.width, arguments.height, arguments.steps)
    given = {"agent.name": arguments.agent, "host_python": arguments.host_python}
    given = {name: value for name, value in given.items() if value is not None}
    if given and arguments.policy == "random":
        raise envs.TaskError(
            f"{flag(next(iter(given)))} is of no use with --policy random: drop it"
        )
    physics: str = "auto"
    with contextlib.suppress(envs.TaskError):  # not every task is drawn by MuJoCo
        rendering.choose_backend()  # before the module of a task imports it
    if envs.spec(arguments.task).physics:
        rendering.choose_backend()
        physics = "mujoco"
    if arguments.policy == "random":

        def policy(key: jax.Array, observation: jax.Array) -> jax.Array:
            return jax.random.uniform(key, (environment.action_size,), minval=-1.0)

        environment = envs.make(arguments.task, physics)
    else:
        from purejax_simba import load_policy
        from purejax_simba.defaults import make_environment
        from purejax_simba.videos import to_draw

        trained = load_policy(Path(arguments.policy), given=given | {"task": arguments.task})

        def policy(key: jax.Array, observation: jax.Array) -> jax.Array:
            return trained(observation, key)

        config = replace(trained.config, task=arguments.task)
        environment = make_environment(to_draw(config))
    if not rendering.can_draw(environment):
        _plot(environment, policy, arguments)
        return
    with still(f"playing and drawing {arguments.task}"):
        steps = rendering.render(
            environment,
            policy,
            arguments.output,
            arguments.seed,
            arguments.steps,
            arguments.camera,
            arguments.width,
            arguments.height,
        )
    print(f"{arguments.output}: {count_of(steps, 'step')} of {arguments.task}")


def _plot(
    environment: envs.Environment, policy: rendering.Policy, arguments: argparse.Namespace
) -> None:
    """What is observed and done, where there is nothing else to be seen."""
    if arguments.output.suffix != ".png":
        raise envs.TaskError(
            f"{arguments.task} has no MuJoCo model to draw: give --output x.png, and what is "
            "observed and done is plotted"
        )
    from purejax_simba.videos import draw_states

    with still(f"playing and drawing {arguments.task}"):
        episode = rendering.play_one(environment, policy, arguments.seed, arguments.steps)
        draw_states(arguments.output, {arguments.seed: episode})
    steps = count_of(int(episode.length), "step")
    print(f"{arguments.output}: {steps} of {arguments.task}, as plots")


def main() -> int:
    """Runs the command line; returns the exit status."""
    with one_line_errors("give the same command again") as outcome:
        if sys.argv[1:2] == ["render"]:
            render(_render_parser().parse_args(sys.argv[2:]))
        else:
            parser = argparse.ArgumentParser(
                prog="python -m envs", description=_summary(list_tasks)
            )
            parser.add_argument("suite", nargs="?", help="one suite only; or `render`, see there")
            parser.add_argument("--host-python", default="", help="interpreter that has MyoSuite")
            arguments = parser.parse_args()
            list_tasks(arguments.suite, arguments.host_python)
    return outcome.status


def _render_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m envs render", description=_summary(render))
    parser.add_argument("task")
    parser.add_argument("--policy", default="random", help="`random`, or the directory of a run")
    parser.add_argument("--agent.name", dest="agent", help="of that run, if it is your own")
    parser.add_argument("--host-python", help="interpreter of that run, if it had one")
    parser.add_argument("--output", type=Path, required=True, help="x.mp4, x.gif, or x.png (strip)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="at most; default: the whole episode")
    parser.add_argument("--camera", help="name or number; default: the model's first")
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--height", type=int, default=360)
    return parser


def _summary(function) -> str:
    return function.__doc__.splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())

"""MyoSuite: the ten tasks of the published results, by way of Gymnasium.

Hard are those whose goal is drawn for every episode. MyoSuite's own limit ends them where it is
lower (75 steps to hold, 50 to twirl), as it did there.
"""

import re
from functools import partial

from envs.adapters.gymnasium import find_source
from envs.adapters.hosted import build_hosted
from envs.base import Environment
from envs.registry import HostOptions, TaskError, register, spec


def _build(
    task_id: str, physics: str | None, episode_length: int | None, options: HostOptions
) -> Environment:
    known = spec(task_id)
    if missing := known.missing(options.python):
        raise TaskError(f"{missing}, or name another interpreter that has it (--host-python)")
    lift = episode_length != known.episode_length
    return build_hosted(
        "gymnasium", known.official, find_source, physics, episode_length, options, lift
    )


for _task in ("Reach", "Pose", "ObjHold", "KeyTurn", "PenTwirl"):
    for _goal, _ending in {"Fixed": "", "Random": "-hard"}.items():
        _id = "myosuite/myo" + re.sub("([A-Z])", r"-\1", _task).lower() + _ending
        register(
            _id,
            partial(_build, _id),
            suite="myosuite",
            published=True,
            action_repeat=2,
            episode_length=100,
            on_host=True,
            package="myosuite",
            install="pip install 'myosuite>=3,<4'",
            official=f"gymnasium/myosuite:myoHand{_task}{_goal}-v0",
        )

"""MyoSuite: the ten tasks of the published results.

Hard are those whose goal is drawn for every episode. A limit of MyoSuite's ends episodes where it
is lower (75 steps to hold, 50 to twirl), as it did there.
"""

import re
from functools import partial

from envs.base import Environment
from envs.native import PHYSICS, build_native
from envs.registry import TaskError, register, spec
from envs.wrappers import TimeLimit

PACKAGE = "myosuite"
INSTALL = "pip install 'purejax_simba[myosuite]'; pip install --no-deps 'myosuite>=3,<4'"
# task -> module of this package, and MyoSuite's limit where it is the lower one.
TASKS = {
    "Reach": ("free", None),
    "Pose": ("free", None),
    "ObjHold": ("objects", 75),
    "KeyTurn": ("objects", None),
    "PenTwirl": ("objects", 50),
}

# Task -> why MJX is not for it.
NOT_IN_MJX = {
    "ObjHold": "too many contacts",
    "KeyTurn": "no contacts of cylinders with boxes",
    "PenTwirl": "too many contacts",
}


class _OwnLimit(TimeLimit):
    """MyoSuite's own, in the place of which another may be asked for."""

    def with_limit(self, steps: int) -> Environment:
        """See `Environment.with_limit`."""
        return _OwnLimit(self.inner, steps)


def _build(task_id: str, module: str, limit: int | None, physics: str | None) -> Environment:
    if missing := spec(task_id).missing():
        raise TaskError(f"{missing}, or name another interpreter that has it (--host-python)")
    name = task_id.removeprefix("myosuite/myo-")
    environment = build_native(task_id, f"envs.myosuite.{module}", name, INSTALL, physics)
    return environment if limit is None else _OwnLimit(environment, limit)


for _task, (_module, _limit) in TASKS.items():
    for _goal, _ending in {"Fixed": "", "Random": "-hard"}.items():
        _id = "myosuite/myo" + re.sub("([A-Z])", r"-\1", _task).lower() + _ending
        register(
            _id,
            partial(_build, _id, _module, _limit),
            suite="myosuite",
            published=True,
            action_repeat=2,
            episode_length=100,
            physics=("mujoco", "warp") if _task in NOT_IN_MJX else PHYSICS,
            notes={"mjx": NOT_IN_MJX[_task]} if _task in NOT_IN_MJX else {},
            package=PACKAGE,
            install=INSTALL,
            official=f"gymnasium/myosuite:myoHand{_task}{_goal}-v0",
        )

"""The DeepMind Control Suite, one file per domain.

Observations are dm_control's, flattened in dm_control's own order. Behind Shimmy and Gymnasium's
`FlattenObservation` the parts come sorted by name instead, which is another order for dog,
finger, fish, hopper, humanoid, quadruped and walker.
"""

from envs.native import register_native

# suite -> domain -> tasks. The domains' modules, which import MuJoCo, are imported when needed.
SUITES = {
    "dmc_easy_medium": {
        "acrobot": ("swingup",),
        "ball_in_cup": ("catch",),
        "cartpole": ("balance", "balance_sparse", "swingup", "swingup_sparse"),
        "cheetah": ("run",),
        "finger": ("spin", "turn_easy", "turn_hard"),
        "fish": ("swim",),
        "hopper": ("hop", "stand"),
        "pendulum": ("swingup",),
        "quadruped": ("run", "walk"),
        "reacher": ("easy", "hard"),
        "walker": ("run", "stand", "walk"),
    },
    "dmc_hard": {"dog": ("run", "stand", "trot", "walk"), "humanoid": ("run", "stand", "walk")},
}

NOTES = {"dog": {"mjx": "feet may slip, and fewer parts collide"}}

# It has the model files of dm_control, which itself does not install on every Python.
PACKAGE = "envpool_assets"

for _suite, _domains in SUITES.items():
    for _domain, _tasks in _domains.items():
        for _task in _tasks:
            register_native(
                f"dmc/{_domain}-{_task}",
                f"envs.dmc.{_domain}",
                _task,
                suite=_suite,
                action_repeat=2,
                episode_length=1000,
                terminates=False,
                notes=NOTES.get(_domain, {}),
                package=PACKAGE,
                install="pip install envpool-assets",
            )

"""The locomotion tasks of Gymnasium MuJoCo, version 4, with version 4's defaults.

Gymnasium leaves derived quantities as the last substep used them and takes speeds from
differences of positions: the tasks read fields that way too (`Task.reading`, `Task.changes`).
"""

from envs.native import register_native

# name -> (module of this package, whether episodes can end before the limit).
TASKS = {
    "HalfCheetah-v4": ("planar", False),
    "Hopper-v4": ("planar", True),
    "Walker2d-v4": ("planar", True),
    "Ant-v4": ("ant", True),
    "Humanoid-v4": ("humanoid", True),
}

# Both are converged Newton instead of PGS stopped early: in 90% of steps within 4e-5 of it.
NOTES = {"Humanoid-v4": dict.fromkeys(("mjx", "warp"), "Newton for PGS, 4e-5 apart")}

for _name, (_module, _terminates) in TASKS.items():
    register_native(
        f"mujoco/{_name}",
        f"envs.gym_mujoco.{_module}",
        _name,
        suite="mujoco",
        episode_length=1000,
        terminates=_terminates,
        notes=NOTES.get(_name, {}),
        package="gymnasium",
        install="pip install gymnasium",
    )

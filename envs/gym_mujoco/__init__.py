"""The locomotion tasks of Gymnasium MuJoCo, version 4, with version 4's defaults.

Gymnasium leaves derived quantities as the last substep used them and takes speeds from
differences of positions: the tasks read fields that way too (`Task.reading`, `Task.changes`).
"""

# name -> (module of this package, whether episodes can end before the limit). Listed here so
# that the registry knows them without importing MuJoCo.
TASKS = {
    "HalfCheetah-v4": ("planar", False),
    "Hopper-v4": ("planar", True),
    "Walker2d-v4": ("planar", True),
    "Ant-v4": ("ant", True),
    "Humanoid-v4": ("humanoid", True),
}
PHYSICS = ("mujoco", "mjx")
EPISODE_LENGTH = 1000

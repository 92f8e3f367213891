"""The DeepMind Control Suite, one file per domain.

Observations are dm_control's, flattened in dm_control's own order. Behind Shimmy and Gymnasium's
`FlattenObservation` the parts come sorted by name instead, which is another order for dog,
finger, fish, hopper, humanoid, quadruped and walker.
"""

# domain -> tasks. Listed here so that the registry knows them without importing MuJoCo.
EASY_MEDIUM = {
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
}
HARD = {
    "dog": ("run", "stand", "trot", "walk"),
    "humanoid": ("run", "stand", "walk"),
}
PHYSICS = ("mujoco", "mjx")
EPISODE_LENGTH = 1000
ACTION_REPEAT = 2

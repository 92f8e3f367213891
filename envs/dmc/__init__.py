"""The DeepMind Control Suite, one file per domain.

Observations are dm_control's, flattened in dm_control's own order. Behind Shimmy and Gymnasium's
`FlattenObservation` the parts come sorted by name instead, which among these domains moves
`height` of the walker to the front and `touch` of the hopper before `velocity`.
"""

# domain -> tasks. Listed here so that the registry knows them without importing MuJoCo.
EASY_MEDIUM = {
    "acrobot": ("swingup",),
    "cartpole": ("balance", "balance_sparse", "swingup", "swingup_sparse"),
    "cheetah": ("run",),
    "hopper": ("hop", "stand"),
    "pendulum": ("swingup",),
    "reacher": ("easy", "hard"),
    "walker": ("run", "stand", "walk"),
}
PHYSICS = ("mujoco", "mjx")
EPISODE_LENGTH = 1000
ACTION_REPEAT = 2

"""The DeepMind Control Suite, one file per domain."""

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

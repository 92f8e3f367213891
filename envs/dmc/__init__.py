"""The DeepMind Control Suite, one file per domain."""

# domain -> tasks. Listed here so that the registry knows them without importing MuJoCo.
EASY_MEDIUM = {
    "cartpole": ("balance", "balance_sparse", "swingup", "swingup_sparse"),
    "cheetah": ("run",),
}
EPISODE_LENGTH = 1000
ACTION_REPEAT = 2

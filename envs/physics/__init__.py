"""Two interchangeable engines that step a MuJoCo model: `mujoco` (C) and `mjx` (XLA)."""

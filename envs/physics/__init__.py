"""Interchangeable engines that step a MuJoCo model: `mujoco` (C), `mjx` (XLA), `warp` (GPUs)."""

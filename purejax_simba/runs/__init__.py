"""Many runs of a program: devices, processes, compilation, checkpoints and result files."""

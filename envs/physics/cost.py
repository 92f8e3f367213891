"""What a step of many worlds costs with each engine, by calculation.

Nothing here was measured on an accelerator; `python -m benchmarks.accelerator` does so, and says
what to put in the place of these numbers.
"""

import math

# From a compiled program to the host and back, in seconds; measured on two CPU cores.
HOST_CALL = 250e-6
# A world in the C engine, on all cores of the host together: cheetah-run, 128 worlds on two cores,
# see results/throughput.md. Where a world takes longer, it takes more operations with MJX, too.
HOST_WORLD = 7e-6
# Operations of a step of cheetah-run with its solver, as compiled for an H100, by engine;
# `python -m benchmarks.targets` counts them. They are as many for any number of worlds.
LAUNCHES = {"mjx": 560}
# Between one operation on a GPU and the next, in seconds: assumed, as is usual where they are
# small. Until a GPU is full of worlds, these take no more.
LAUNCH = 5e-6


def seconds_per_step(engine: str, platform: str, worlds: int) -> float:
    """Of all worlds together; infinite for what is not chosen without being asked for.

    Args:
      engine: its name.
      platform: of the devices, `cpu`, `gpu` or `tpu`.
      worlds: that are stepped together.
    """
    if engine == "mujoco":
        # Whether programs of TPUs can call the host has not been tried.
        return math.inf if platform == "tpu" else HOST_CALL + worlds * HOST_WORLD
    # On CPUs the C engine is the faster one for any number of worlds, see results/throughput.md.
    return math.inf if platform == "cpu" else LAUNCHES.get(engine, math.inf) * LAUNCH

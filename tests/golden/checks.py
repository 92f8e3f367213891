"""What replays of all kinds of traces have in common."""

import jax
import numpy as np

# Compilation takes most of a replay's time; unoptimised code rounds no worse.
FAST_COMPILATION = {"xla_backend_optimization_level": 0}

# What was compared, the relative error, and how large it may be.
Check = tuple[str, float, float]


def relative_error(ours: jax.Array, theirs: np.ndarray) -> float:
    """||ours - theirs|| / ||theirs||, in l2."""
    theirs = np.asarray(theirs, np.float64)
    difference = np.linalg.norm((np.asarray(ours, np.float64) - theirs).ravel())
    return float(difference / max(np.linalg.norm(theirs.ravel()), 1e-30))

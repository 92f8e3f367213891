"""What several devices compute beside what one does."""

import re
from typing import Any

import jax
import numpy as np

# Operations of a compiled program in which devices talk to each other.
COLLECTIVES = re.compile("all-reduce|all-gather|all-to-all|collective|reduce-scatter")


def assert_near(one: Any, other: Any) -> None:
    """Equal but for rounding, which grows with the updates."""
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        a, b = (np.nan_to_num(np.asarray(leaf, np.float64)) for leaf in (a, b))
        assert a.shape == b.shape
        assert np.linalg.norm(a - b) <= 1e-3 * max(1e-2, np.linalg.norm(b))

"""Where in the unit cube samples lie."""

from typing import Literal

import numpy as np

Sampler = Literal["random", "latin-hypercube", "sobol", "tpe"]


def sample_positions(sampler: Sampler, count: int, dimensions: int, seed: int) -> np.ndarray:
    """Positions in [0, 1), `(count, dimensions)`; the same for the same seed.

    Args:
      sampler: `random` takes each by itself; `latin-hypercube` puts one sample into each of `count`
        slices of every dimension; `sobol` fills the cube evenly, best with a power of two. (What
        `tpe` takes depends on more than that, see `study`.)
      count: of samples.
      dimensions: of the cube.
      seed: of the random numbers.
    """
    numbers = np.random.default_rng(seed)
    if sampler == "random":
        return numbers.random((count, dimensions))
    from scipy.stats import qmc  # which takes a second

    if sampler == "latin-hypercube":
        return qmc.LatinHypercube(dimensions, rng=numbers).random(count)
    # The beginning of a sequence whose length is a power of two, which is what it is made for.
    return qmc.Sobol(dimensions, rng=numbers).random_base2(max(count - 1, 0).bit_length())[:count]

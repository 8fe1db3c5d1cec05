"""When two principal moments of a molecule in motion come near each other."""

import numpy as np
from jaxtyping import Float, Int

NEAR = 0.02
"""The gap of two principal moments, relative to the largest, below which they are said to cross."""


def minima(values: Float[np.ndarray, " steps"], below: float) -> Int[np.ndarray, " minima"]:
    """The steps at which a curve has a minimum below a value."""
    inner = values[1:-1]
    lowest = (inner <= values[:-2]) & (inner < values[2:]) & (inner < below)
    return 1 + np.flatnonzero(lowest)

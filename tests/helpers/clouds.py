"""Clouds of different sizes, as tests of frames take them."""

import jax.numpy as jnp
import numpy as np


def padded(clouds, dtype, count):
    """Clouds of different sizes as one batch with a mask."""
    x = np.zeros((len(clouds), count, next(iter(clouds.values())).shape[1]), dtype)
    mask = np.zeros((len(clouds), count), bool)
    for row, cloud in enumerate(clouds.values()):
        x[row, : len(cloud)], mask[row, : len(cloud)] = cloud, True
    return jnp.asarray(x), jnp.asarray(mask)

"""Clouds of different sizes, and their images under motions, as tests of frames take them."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np


def draw_cloud(seed, count, dim, gap=0.2):
    """A cloud of a known simple spectrum, as `generic_cloud`, in NumPy, which compiles nothing."""
    draws = np.random.default_rng(seed)
    columns = np.linalg.qr(np.column_stack([np.ones(count), draws.normal(size=(count, dim))]))[0]
    axes = np.linalg.qr(draws.normal(size=(dim, dim)))[0]
    spread = np.sqrt(1 - gap * np.arange(dim))
    return (columns[:, 1:] * spread) @ axes.T + draws.normal(size=(1, dim))


def padded(clouds, dtype, count):
    """Clouds of different sizes as one batch with a mask."""
    x = np.zeros((len(clouds), count, next(iter(clouds.values())).shape[1]), dtype)
    mask = np.zeros((len(clouds), count), bool)
    for row, cloud in enumerate(clouds.values()):
        x[row, : len(cloud)], mask[row, : len(cloud)] = cloud, True
    return jnp.asarray(x), jnp.asarray(mask)


class Motions(NamedTuple):
    """Isometries in NumPy, which compiles nothing and shares no code with what is tested."""

    linear: np.ndarray  # (motions, dim, dim)
    shift: np.ndarray  # (motions, dim)

    def move(self, x, shifts=True):
        """The images of clouds: one cloud, or one for each motion. Without shifts, of vectors."""
        turned = x @ np.swapaxes(self.linear, -1, -2)
        return turned + self.shift[:, None] if shifts else turned


def draw_motions(group, dim, count, seed=0):
    """Random elements of T, O, SO, E or SE; of O and E, every second one turns the hand around."""
    rng = np.random.default_rng(seed)
    linear, _ = np.linalg.qr(rng.normal(size=(count, dim, dim)))
    wanted = (-1) ** np.arange(count) if group in ("O", "E") else np.ones(count)
    linear[:, 0] *= (np.sign(np.linalg.det(linear)) * wanted)[:, None]
    if group == "T":
        linear[:] = np.eye(dim)
    shift = rng.normal(size=(count, dim)) * (group in ("T", "E", "SE"))
    return Motions(linear, shift)
